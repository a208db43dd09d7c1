"""The load of benchmarks/serve_load.py in small: nothing lost, nothing doubled, results as if made alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.served import served
from tests.toys import picture, toy_pipeline


@pytest.fixture(scope="module")
def load() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "serve_load.py"
    spec = importlib.util.spec_from_file_location("serve_load", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["serve_load"] = module  # where dataclasses look their module up
    with pytest.MonkeyPatch.context() as patches:
        patches.syspath_prepend(path.parent)  # as for a script, which finds those beside it
        spec.loader.exec_module(module)
    return module


def test_a_load_in_small(load):
    jobs = load.planned(24, [picture(60, 50, 1), picture(40, 80, 2), picture(80, 40, 3)], (20, 60))
    assert sorted(job.kind for job in jobs) == ["bad"] + ["good"] * 21 + ["left"] * 2
    expected = load.alone(toy_pipeline(), jobs)
    with served(max_queue=3) as server:  # so small that some are told to come back
        before = load.counts(server.url)
        answers = load.drive(server.url, jobs, 6)
        after = load.settled(server.url)
    assert load.compared(jobs, answers, expected) == []
    assert load.counted(jobs, answers, before, after) == []

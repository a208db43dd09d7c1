"""`varedit edit` on folders and lists, as a person or a script meets it; the model is a toy on disk."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.batches import INSTRUCTION, done_outputs, journal_lines, photographs, times
from tests.sentences import assert_one_sentence
from varedit.cli import cli


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: str) -> Path:
    """The working folder, with eight photographs in photos/, one of them damaged; the model is the toy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAREDIT_MODEL", toy)
    damaged = photographs(tmp_path / "photos", 8)[5]
    damaged.write_bytes(damaged.read_bytes()[:80])
    return tmp_path


def varedit(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["edit", *arguments], prog_name="varedit")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "varedit", "edit", *arguments]


def test_a_folder_is_edited_and_what_is_damaged_is_told(folder):
    result = varedit("photos", INSTRUCTION, "-o", "out", "--seed", "6", "--batch-size", "3")
    assert result.exit_code == 65
    assert sorted(result.stdout.splitlines()) == [f"out/0{index}.png" for index in range(8) if index != 5]
    error, *_, summary, seed = result.stderr.splitlines()
    assert error.startswith("error: ") and "photos/05.png cannot be read" in error
    assert summary.startswith("7 edited, 0 done before, 1 failed; ") and summary.endswith(" images/s")
    assert seed == "seed 6, journal out/edits-done.jsonl"


def test_the_same_command_again_goes_on_with_the_seed_of_the_first(folder):
    first = varedit("photos", INSTRUCTION, "-o", "out")
    before, seed = times(folder / "out"), first.stderr.splitlines()[-1]
    again = varedit("photos", INSTRUCTION, "-o", "out")
    assert (again.exit_code, again.stdout) == (65, "")
    told = again.stderr.splitlines()
    assert told[0] == "7 edits are done already, 1 are left" and told[-1] == seed
    assert times(folder / "out") == before


def test_an_edit_of_a_job_is_that_of_the_single_command(folder):
    varedit("photos", INSTRUCTION, "-o", "out", "--temperature", "0.5")
    line = next(line for line in journal_lines(folder / "out") if line["output"] == "06.png")
    assert line["settings"]["temperature"] == 0.5
    seed = str(line["settings"]["seed"])
    assert varedit("photos/06.png", INSTRUCTION, "-o", "6.png", "--seed", seed, "--temperature", "0.5").exit_code == 0
    with Image.open("out/06.png") as many, Image.open("6.png") as one:
        assert np.array_equal(np.asarray(many), np.asarray(one))
        told = [json.loads(image.info["varedit"]) for image in (many, one)]
        assert told[0].pop("batch") is not None and told[1].pop("batch") is None
        assert told[0] == told[1]


def test_a_list_has_its_own_instructions_and_json_tells_of_each_edit(folder):
    lines = [
        {"image": "photos/00.png", "instruction": "make it darker", "seed": 3, "id": "night"},
        {"image": "photos/01.png", "instruction": "make it warmer", "output": "deep/er.jpg"},
        {"image": "photos/05.png", "instruction": "make it warmer"},
    ]
    (folder / "edits.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    result = varedit("edits.jsonl", "-o", "out/", "--json", "--metadata", "none", "--quiet")
    assert result.exit_code == 65
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("error: ")
    told = {record["output"]: record for record in map(json.loads, result.stdout.splitlines())}
    assert set(told) == {"out/night.png", "out/deep/er.jpg", "out/05.png"}
    assert told["out/night.png"]["settings"]["instruction"] == "make it darker"
    assert told["out/night.png"]["settings"]["seed"] == 3
    assert told["out/05.png"]["state"] == "failed" and "ends early" in told["out/05.png"]["error"]
    with Image.open("out/night.png") as image:
        assert image.size == (12, 10) and "varedit" not in image.info


BAD_CALLS = {
    "no instruction": (["photos", "-o", "out"], 2, "an image and an instruction"),
    "empty instruction": (["photos", " ", "-o", "out"], 2, "the instruction is empty"),
    "instruction beside a list": (["edits.jsonl", "warmer", "-o", "out"], 2, "the instructions stand in edits.jsonl"),
    "no such list": (["none.jsonl", "-o", "out"], 66, "none.jsonl cannot be read"),
    "a bad line": (["edits.jsonl", "-o", "out"], 2, 'edits.jsonl line 1: it has no "instruction"'),
    "no pictures": (["empty", "warmer", "-o", "out"], 66, "no pictures in empty"),
    "a folder into a picture": (["photos", "warmer", "-o", "out.png"], 66, "need a folder"),
    "a folder into a pattern": (["photos", "warmer", "-o", "{stem}"], 2, "'{stem}'"),
    "a list into a picture": (["edits.jsonl", "-o", "out.png"], 2, "out.png"),
    "a list into stdout": (["edits.jsonl", "-o", "-"], 2, "'-'"),
    "over the photographs": (["photos", "warmer", "-o", "photos"], 2, "replace a photograph"),
    "comparison": (["photos", "warmer", "-o", "out", "--compare", "c.png"], 2, "--compare"),
    "change map": (["photos", "warmer", "-o", "out", "--show-region", "c.png"], 2, "--show-region"),
    "previews": (["photos", "warmer", "-o", "out", "--previews", "steps"], 2, "--previews"),
    "workers of nobody": (["photos", "warmer", "-o", "out", "--workers", "2"], 2, "--ray"),
    "guidance that is none": (["photos", "warmer", "-o", "out", "--guidance", "nan"], 2, "guidance"),
    "a result that is a file": (["photos", "warmer", "-o", "edits.jsonl/out"], 73, "edits.jsonl/out"),
    "no such model": (["photos", "warmer", "-o", "out", "-m", "./nowhere"], 69, "nowhere"),
    "batches of a single image": (["photos/00.png", "warmer", "-o", "o.png", "--batch-size", "2"], 2, "--batch-size"),
    "machines for a single image": (["photos/00.png", "warmer", "-o", "o.png", "--ray"], 2, "--ray"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_a_bad_call_is_one_sentence(folder, case):
    (folder / "edits.jsonl").write_text('{"image": "a.png"}', encoding="utf-8")
    (folder / "empty").mkdir()
    arguments, code, part = BAD_CALLS[case]
    assert_one_sentence(varedit(*arguments), code, part)


def test_without_ray_one_sentence_says_how_to_get_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # what the command sets is taken back after the test
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
    assert_one_sentence(varedit("photos", INSTRUCTION, "-o", "out", "--ray"), 69, "pip install 'varedit[ray]'")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system kills processes in another way")
def test_a_killed_command_goes_on_with_nothing_lost_and_nothing_done_twice(folder):
    photographs(folder / "photos", 40)
    call = command("photos", INSTRUCTION, "-o", "out", "--batch-size", "2")
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for _ in range(5):
            assert process.stdout.readline().startswith(b"out/")
        os.kill(process.pid, signal.SIGKILL)
    finished = set(done_outputs(folder / "out"))
    assert 5 <= len(finished) < 40
    before = times(folder / "out")
    result = varedit("photos", INSTRUCTION, "-o", "out", "--batch-size", "2")
    assert result.exit_code == 0, result.output
    assert f"{len(finished)} edits are done already" in result.stderr
    assert sorted(done_outputs(folder / "out")) == [f"{index:02d}.png" for index in range(40)]
    after = times(folder / "out")
    assert set(after) == {f"{index:02d}.png" for index in range(40)}
    assert {name: after[name] for name in finished & set(before)} == {
        name: before[name] for name in finished & set(before)
    }


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'varedit[ray]'")
def test_two_workers_of_a_local_ray_make_what_one_process_makes_and_go_on_where_it_stopped(folder):
    assert varedit("photos", INSTRUCTION, "-o", "here", "--seed", "9").exit_code == 65
    for name in ("00.png", "01.png"):
        (folder / "photos" / name).rename(folder / name)
    call = ("photos", INSTRUCTION, "-o", "out", "--seed", "9")
    assert varedit(*call, "--quiet").exit_code == 65
    before = times(folder / "out")
    for name in ("00.png", "01.png"):
        (folder / name).rename(folder / "photos" / name)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    on_ray = command(*call, "--ray", "--workers", "2")
    done = subprocess.run(on_ray, env=environment, capture_output=True, text=True)
    assert done.returncode == 65, done.stderr
    assert sorted(done.stdout.splitlines()) == ["out/00.png", "out/01.png"]
    assert done.stderr.splitlines()[0] == "5 edits are done already, 3 are left"
    assert "photos/05.png cannot be read" in done.stderr and "2 edited, 5 done before, 1 failed" in done.stderr
    assert sorted(done_outputs(folder / "out")) == [f"0{index}.png" for index in range(8) if index != 5]
    assert before.items() <= times(folder / "out").items()
    for name in times(folder / "here"):  # in other batches, as the files tell; the pictures are the same
        with Image.open(folder / "out" / name) as there, Image.open(folder / "here" / name) as here:
            assert np.array_equal(np.asarray(there), np.asarray(here))

"""Folders of small pictures and a toy model on disk, for tests of many edits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.toys import picture
from varedit.batch.journal import NAME
from varedit.batch.stream import EditSettings

SIZES = ((12, 10), (20, 9), (9, 17), (14, 14))  # (width, height): of three templates
INSTRUCTION = "make it warmer"


def photographs(folder: Path, count: int) -> list[Path]:
    """PNG pictures of unlike sizes, 00.png and on."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{index:02d}.png" for index in range(count)]
    for index, path in enumerate(paths):
        picture(*SIZES[index % len(SIZES)], seed=index).save(path)
    return paths


def settings_of(model: Path, **call: Any) -> EditSettings:
    """Settings of a job with a model folder."""
    return EditSettings(model=str(model), loading={"device": "cpu", "dtype": "float32"}, call=call, metadata="full")


def journal_lines(out: Path) -> list[dict[str, Any]]:
    """The journal of a folder of results, headers left out."""
    lines = (out / NAME).read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if "output" in line]


def done_outputs(out: Path) -> list[str]:
    """What the journal calls done, in its order, twice if it stands there twice."""
    return [line["output"] for line in journal_lines(out) if line["state"] == "done"]


def times(out: Path) -> dict[str, int]:
    """When each result was written, in ns."""
    paths = [path for path in out.rglob("*") if path.is_file() and path.name != NAME]
    return {path.relative_to(out).as_posix(): path.stat().st_mtime_ns for path in paths}

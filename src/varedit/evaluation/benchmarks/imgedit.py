"""ImgEdit-Bench (2505.20275), Benchmark.tar in hub sysuyy/ImgEdit and the JSON files of its repository.

The basic suite has 737 edits of nine kinds; the suite of understanding, grounding and editing ("uge") has 47.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from varedit.data.readers.fields import Place, text
from varedit.evaluation.benchmarks.files import file_below, json_rows
from varedit.evaluation.benchmarks.items import Benchmark, Item

_FILES = {"basic": "basic_edit.json", "uge": "UGE_edit.json"}
_PICTURES = {"basic": ("singleturn", "Basic"), "uge": ("hard", "uge", "UGE")}


def read(folder: Path, split: str) -> Iterator[Item]:
    """Items of a suite; results are named after its keys."""
    file = file_below(folder, _FILES[split])
    bases = (folder / "Benchmark", folder, file.parent)
    pictures = [base / name for base in bases for name in _PICTURES[split]] + list(bases)
    for key, row in json_rows(file).items():
        yield Item(
            id=key,
            category=text(row, "edit_type") if split == "basic" else "uge",
            instruction=text(row, "prompt"),
            source=Place(key, file, pictures).picture(text(row, "id")),
        )


IMGEDIT = Benchmark("imgedit", {"basic": 737, "uge": 47}, read)

"""The test set of Emu Edit (2311.10089), hub facebook/emu_edit_test_set: pictures and captions in parquet files.

It has no true results. The companion set of generations has its splits the other way round; the column tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from varedit.data.readers.fields import Place, optional_text, text
from varedit.data.readers.parquet_files import picture
from varedit.evaluation.benchmarks.files import table_rows
from varedit.evaluation.benchmarks.items import Benchmark, Item

_COLUMNS = ("instruction", "image", "task", "split", "idx", "input_caption", "output_caption")


def read(folder: Path, split: str) -> Iterator[Item]:
    """Rows of a split by the column `split`, whatever their file is called."""
    for row in table_rows(folder, _COLUMNS):
        if row["split"] == split:
            name = str(row["idx"])
            yield Item(
                id=name,
                category=text(row, "task").lower(),
                instruction=text(row, "instruction"),
                source=picture(row, "image", Place(name, folder, (folder,))),
                source_caption=optional_text(row, "input_caption"),
                target_caption=optional_text(row, "output_caption"),
            )


EMU_EDIT = Benchmark("emu-edit", {"test": 3589, "validation": 2022}, read, ("*.parquet",))

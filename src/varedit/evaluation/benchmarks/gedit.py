"""GEdit-Bench (2504.17761), hub stepfun-ai/GEdit-Bench: Arrow files; 606 instructions, each in English and Chinese.

Two keys come twice, so that a language has 604 unlike ones. The value of the column of languages is "cn" or "zh".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from varedit.data.readers.fields import Place, text
from varedit.data.readers.parquet_files import picture
from varedit.evaluation.benchmarks.files import table_rows
from varedit.evaluation.benchmarks.items import Benchmark, Item

_COLUMNS = ("task_type", "key", "instruction", "instruction_language", "input_image", "Intersection_exist")
_LANGUAGES = {"zh": "cn"}


def read(folder: Path, split: str) -> Iterator[Item]:
    """Items of one language, which is the split; results are named task_type/language/key."""
    for row in table_rows(folder, _COLUMNS):
        language = _LANGUAGES.get(row["instruction_language"], row["instruction_language"])
        if language == split:
            name = f"{text(row, 'task_type')}/{language}/{text(row, 'key')}"
            yield Item(
                id=name,
                category=text(row, "task_type"),
                instruction=text(row, "instruction"),
                language="zh" if language == "cn" else language,
                source=picture(row, "input_image", Place(name, folder, (folder,))),
                meta={"key": row["key"], "intersection": bool(row["Intersection_exist"])},
            )


GEDIT = Benchmark("gedit", {"en": 606, "cn": 606}, read, ("*.arrow", "*.parquet"))

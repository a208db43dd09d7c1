"""The tables of numbers that the VAREdit paper (2508.15772) states, beside which runs are set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("published.json")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number of a row.

    Attributes:
        measure: our name of it.
        category: that it is the mean of; None for all items.
    """

    heading: str
    measure: str
    category: str | None = None


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """What the paper says of one benchmark.

    Attributes:
        name: "overall", or the score that is told by category.
        split: that it is of; None for any.
        scheme: by which the judge's scores are made.
        judge: the paper's.
        clip: the model that its CLIP numbers look through; None if it has none.
        rows: by method, a number a column; None where the paper has none.
    """

    name: str
    benchmark: str
    split: str | None
    scheme: str
    judge: str
    clip: str | None
    columns: Sequence[Column]
    rows: Mapping[str, Sequence[float | None]]


def published_source() -> str:
    """Where the numbers stand."""
    source: str = _published()["source"]
    return source


def published_table(benchmark: str, split: str | None, name: str = "overall") -> PublishedTable | None:
    """A table; None where the paper has none."""
    for values in _published()["tables"]:
        table = PublishedTable(
            **values
            | {
                "columns": [Column(**column) for column in values["columns"]],
                "rows": {method: numbers for method, *numbers in values["rows"]},
            }
        )
        if (table.benchmark, table.name) == (benchmark, name) and table.split in (None, split):
            return table
    return None


def _published() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return values

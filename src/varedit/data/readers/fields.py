"""Taking values out of a set's rows, which may lack anything: whatever is amiss becomes a reason to skip the row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from varedit.data.records import Candidate, Reason, Skipped

Row = Mapping[str, Any]


class RowError(Exception):
    """A row cannot be used, for a reason that the report counts."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Place:
    """Where a row was found.

    Attributes:
        id: names the row if it has no name of its own.
        file: the file that holds it.
        pictures: the folders in which the row's paths are looked up, in this order.
    """

    id: str
    file: Path
    pictures: Sequence[Path]

    def picture(self, relative: str) -> Path:
        """The first of the folders' files of this name; if there is none, where it should have been."""
        if Path(relative).is_absolute() or ".." in Path(relative).parts:
            raise RowError("missing picture", f"{relative} lies outside the folder")
        paths = [folder / relative for folder in self.pictures]
        return next((path for path in paths if path.is_file()), paths[0])


Convert = Callable[[Any, Place], Iterable[Candidate]]  # a row to its editing examples; may raise RowError


def converted(convert: Convert, row: object, place: Place) -> Iterator[Candidate]:
    """What a row holds, or the one reason why it holds nothing."""
    try:
        yield from list(convert(row, place))
    except RowError as error:
        yield Skipped(place.id, error.reason, error.detail)


def parsed(line: bytes) -> object:
    """What JSON text says; None where it is damaged, which is no row of any set."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def mapping(row: object) -> Row:
    """The row itself, if it is a JSON object."""
    if not isinstance(row, dict):
        raise RowError("damaged row", "no JSON object")
    return row


def text(row: Row, name: str) -> str:
    """A value that must be a string; it may be empty."""
    value = row.get(name)
    if not isinstance(value, str):
        raise RowError("missing field", name)
    return value


def optional_text(row: Row, name: str | None) -> str | None:
    """A string, or None if the set has no such value; a number counts as its digits."""
    value = None if name is None else row.get(name)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def texts(row: Row, name: str) -> tuple[str, ...]:
    """A list of strings; empty if the row lacks it."""
    value = row.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RowError("damaged row", f"{name} is no list of texts")
    return tuple(value)


def rows(row: Row, name: str) -> list[Row]:
    """A list of JSON objects."""
    value = row.get(name)
    if not isinstance(value, list):
        raise RowError("missing field", name)
    return [mapping(item) for item in value]


def only(values: Sequence[str], name: str) -> str:
    """The one value of a list: a set that gives several source pictures is no matter of editing one."""
    if not values:
        raise RowError("missing field", name)
    if len(values) > 1:
        raise RowError("several inputs", f"{len(values)} {name}")
    return values[0]

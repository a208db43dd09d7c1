"""Parquet files whose rows hold the pictures themselves (spec "Hub parquet conventions").

A `ColumnMap` says which column is what, and one reader serves all sets of this kind. A picture is a struct of bytes and
path, or plain bytes. Files are read a few rows at a time, whatever the size of their row groups.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from varedit.data.readers.fields import Convert, Place, Row, RowError, converted, mapping, optional_text, text, texts
from varedit.data.records import Candidate, EncodedRecord, Skipped
from varedit.errors import InputMissing, MissingExtra

ROWS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """Which column of a set is what; None where it has no such column.

    Attributes:
        source, target: pictures.
        instruction: a text, or a list of texts of which all are wordings of the edit.
        inverse_instruction: the edit from target to source, which makes a second record of the row.
        coco_id: the number of the COCO photograph that the source is, kept in ``meta`` for deny lists.
        meta: columns to keep as they are.
        check: raises `RowError` for rows to leave out; reads the columns of ``check_columns``.
    """

    source: str
    target: str
    instruction: str
    inverse_instruction: str | None = None
    mask: str | None = None
    id: str | None = None
    category: str | None = None
    source_caption: str | None = None
    target_caption: str | None = None
    session: str | None = None
    turn: str | None = None
    coco_id: str | None = None
    meta: tuple[str, ...] = ()
    check: Callable[[Row], None] | None = None
    check_columns: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        """Columns that every file must have."""
        return tuple(name for name in (self.source, self.target, self.instruction, self.inverse_instruction) if name)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, if a file has it."""
        named = [value for item in fields(self) if isinstance(value := getattr(self, item.name), str)]
        return tuple(dict.fromkeys((*named, *self.meta, *self.check_columns)))

    def __call__(self, row: object, place: Place) -> Iterable[Candidate]:
        """The records of a row: one, or two where the set tells the inverse edit."""
        values = mapping(row)
        if self.check is not None:
            self.check(values)
        wordings = self._wordings(values)
        record = EncodedRecord(
            source=picture(values, self.source, place),
            target=picture(values, self.target, place),
            mask=None if self.mask is None or not values.get(self.mask) else picture(values, self.mask, place),
            instruction=wordings[0],
            other_instructions=wordings[1:],
            id=self._id(values) or place.id,
            category=optional_text(values, self.category),
            source_caption=optional_text(values, self.source_caption),
            target_caption=optional_text(values, self.target_caption),
            session=optional_text(values, self.session),
            turn=values.get(self.turn) if self.turn else None,
            meta=self._meta(values),
        )
        yield record
        if self.inverse_instruction is not None:
            yield inverse(record, text(values, self.inverse_instruction))

    def _wordings(self, values: Row) -> tuple[str, ...]:
        if isinstance(values.get(self.instruction), str):
            return (text(values, self.instruction),)
        if wordings := texts(values, self.instruction):
            return wordings
        raise RowError("missing field", self.instruction)

    def _id(self, values: Row) -> str | None:
        """The set's own name of the row; turns of one session share theirs."""
        name, turn = optional_text(values, self.id), optional_text(values, self.turn)
        return f"{name}-{turn}" if name and turn else name

    def _meta(self, values: Row) -> dict[str, Any]:
        kept = {name: values[name] for name in self.meta if values.get(name) is not None}
        coco_id = optional_text(values, self.coco_id)
        return {**kept, "coco_id": coco_id} if coco_id else kept


def inverse(record: EncodedRecord, instruction: str) -> EncodedRecord:
    """The record that leads back from the target to the source."""
    return EncodedRecord(
        source=record.target,
        target=record.source,
        mask=record.mask,
        instruction=instruction,
        id=f"{record.id}-inverse",
        category=record.category,
        source_caption=record.target_caption,
        target_caption=record.source_caption,
        meta=record.meta,
    )


def picture(row: Row, name: str, place: Place) -> bytes | Path:
    """A picture's file: its bytes, or its path if only that is told."""
    value = row.get(name)
    if isinstance(value, bytes):
        return value
    if not isinstance(value, dict):
        raise RowError("missing picture", name)
    if isinstance(value.get("bytes"), bytes):
        return bytes(value["bytes"])
    return place.picture(text(value, "path"))


@dataclass(frozen=True)
class ParquetFiles:
    """A `RecordSource` of parquet files; a shard is a file.

    Attributes:
        columns: what is read of each row, as far as a file has it; None for all.
        convert: makes records of a row; a `ColumnMap`, or another function for sets that hold paths.
        pictures: folders for paths in rows.
    """

    name: str
    files: Sequence[Path]
    convert: Convert
    columns: Sequence[str] | None = None
    pictures: Sequence[Path] = ()

    @property
    def num_shards(self) -> int:
        """One for each file."""
        return len(self.files)

    def candidates(self, shard: int, start: int = 0, stride: int = 1) -> Iterator[Candidate]:
        """See `RecordSource.candidates`. Raises MissingExtra without pyarrow."""
        return islice(self._all(self.files[shard]), start, None, stride)

    def _all(self, file: Path) -> Iterator[Candidate]:
        pyarrow = import_pyarrow()
        folders = self.pictures or (file.parent,)
        number = 0
        try:
            with pyarrow.parquet.ParquetFile(file) as parquet:
                for row in self._rows(parquet):
                    yield from converted(self.convert, row, Place(f"{file.name}#{number}", file, folders))
                    number += 1
        except (pyarrow.ArrowException, OSError) as error:
            yield Skipped(f"{file.name} from row {number} on", "damaged shard", str(error))

    def _rows(self, parquet: Any) -> Iterator[Row]:
        present = parquet.schema_arrow.names
        columns = None if self.columns is None else [name for name in self.columns if name in present]
        for batch in parquet.iter_batches(ROWS_AT_ONCE, columns=columns, use_threads=False):
            yield from batch.to_pylist()


def check_columns(file: Path, required: Sequence[str]) -> None:
    """Raise InputMissing if a file lacks a column, or is no parquet file: the kind or the path must be wrong."""
    pyarrow = import_pyarrow()
    try:
        names = pyarrow.parquet.read_schema(file).names
    except (pyarrow.ArrowException, OSError) as error:
        raise InputMissing(f"{file} cannot be read as a parquet file: {error}.") from error
    missing = [name for name in required if name not in names]
    if missing:
        raise InputMissing(f"{file} has no column {', '.join(missing)}; it has {', '.join(names)}. Name another kind.")


def import_pyarrow() -> ModuleType:
    """pyarrow with its parquet module. Raises MissingExtra."""
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise MissingExtra("Reading parquet files", "data") from error

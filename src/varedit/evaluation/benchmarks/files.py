"""Finding and reading a benchmark's own files: JSON, and tables whose rows hold pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from varedit.data.readers.fields import Row, RowError, mapping
from varedit.data.readers.parquet_files import ROWS_AT_ONCE, check_columns, import_pyarrow
from varedit.errors import InputMissing


def file_below(folder: Path, name: str) -> Path:
    """The one file of this name, in the folder or anywhere below it. Raises InputMissing."""
    if (folder / name).is_file():
        return folder / name
    found = sorted(folder.rglob(name))
    if not found:
        raise InputMissing(f"{folder} has no file {name}. Name the folder that the benchmark was unpacked to.")
    if len(found) > 1:
        raise InputMissing(f"{folder} has {len(found)} files {name}, such as {found[0]} and {found[1]}. Name one's.")
    return found[0]


def json_rows(path: Path) -> dict[str, Row]:
    """A file that is one JSON object of JSON objects. Raises InputMissing."""
    rows = json_object(path)
    return {str(key): mapping(row) for key, row in rows.items()}


def json_object(path: Path) -> dict[str, Any]:
    """A file that is one JSON object. Raises InputMissing."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputMissing(f"{path} cannot be read as JSON: {getattr(error, 'strerror', None) or error}.") from error
    if not isinstance(values, dict):
        raise RowError("damaged row", f"{path.name} is no JSON object")
    return values


def table_rows(folder: Path, required: Sequence[str]) -> Iterator[Row]:
    """All rows of the parquet files below a folder, or of its Arrow files, file by file in the order of their names.

    Raises: InputMissing where there is none, or one is damaged or lacks a column; MissingExtra without pyarrow.
    """
    pyarrow = import_pyarrow()
    parquet = sorted(folder.rglob("*.parquet"))
    arrow = sorted(folder.rglob("*.arrow"))
    if not parquet and not arrow:
        raise InputMissing(f"{folder} has no *.parquet or *.arrow file. Name the benchmark's own folder.")
    for file in parquet or arrow:
        try:
            batches = _parquet_batches(file, required) if parquet else _arrow_batches(file, required)
            for batch in batches:
                yield from batch.to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise InputMissing(f"{file} is damaged: {error}. Fetch it again.") from error


def _parquet_batches(file: Path, required: Sequence[str]) -> Iterator[Any]:
    check_columns(file, required)
    with import_pyarrow().parquet.ParquetFile(file) as parquet:
        yield from parquet.iter_batches(ROWS_AT_ONCE, use_threads=False)


def _arrow_batches(file: Path, required: Sequence[str]) -> Iterator[Any]:
    """Batches of a few rows of a stream, as the library `datasets` writes it."""
    pyarrow = import_pyarrow()
    with pyarrow.memory_map(str(file)) as mapped, pyarrow.ipc.open_stream(mapped) as stream:
        missing = [name for name in required if name not in stream.schema.names]
        if missing:
            raise InputMissing(f"{file} has no column {', '.join(missing)}; it has {', '.join(stream.schema.names)}.")
        for batch in stream:
            for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                yield batch.slice(start, ROWS_AT_ONCE)

"""Manifests beside folders of pictures: files with one JSON object a line, and files that are one JSON list.

Knows the files only; what a row means is told by a `Convert` function (see `varedit.data.readers.known_sets`).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from varedit.data.readers.fields import Convert, Place, converted, parsed
from varedit.data.records import Candidate, Skipped
from varedit.errors import MissingExtra

SHARD_BYTES = 2**20  # so that a single manifest of millions of lines is still shuffled, divided and resumed quickly
LONGEST_LINE = 2**24  # bytes; anything longer is no manifest, and must not fill the memory


@dataclass(frozen=True)
class Manifest:
    """A file of rows, and the folders in which their pictures lie."""

    file: Path
    pictures: Sequence[Path]


@dataclass(frozen=True)
class JsonLines:
    """A `RecordSource` of files with one JSON object a line; a shard is the lines that begin in one MiB of a file."""

    name: str
    manifests: Sequence[Manifest]
    convert: Convert

    @property
    def num_shards(self) -> int:
        """At least one."""
        return len(self._ranges)

    def candidates(self, shard: int, start: int = 0, stride: int = 1) -> Iterator[Candidate]:
        """See `RecordSource.candidates`."""
        return islice(self._all(*self._ranges[shard]), start, None, stride)

    @cached_property
    def _ranges(self) -> list[tuple[Manifest, int]]:
        """Manifest and first byte of every shard."""
        return [
            (manifest, begin)
            for manifest in self.manifests
            for begin in range(0, max(1, manifest.file.stat().st_size), SHARD_BYTES)
        ]

    def _all(self, manifest: Manifest, begin: int) -> Iterator[Candidate]:
        name = manifest.file.name
        try:
            for position, line in lines_between(manifest.file, begin, begin + SHARD_BYTES):
                place = Place(f"{name}@{position}", manifest.file, manifest.pictures)
                yield from converted(self.convert, parsed(line), place)
        except OSError as error:
            yield Skipped(name, "damaged shard", str(error))


def lines_between(file: Path, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The lines that begin at a byte from ``begin`` up to, not including, ``end``, with that byte; none is blank."""
    with file.open("rb") as lines:
        if begin:
            lines.seek(begin - 1)  # the line that is under way, if any, belongs to the range before
            lines.readline()
        position = lines.tell()
        while position < end and (line := lines.readline(LONGEST_LINE)):
            if line.strip():
                yield position, line
            position += len(line)


@dataclass(frozen=True)
class JsonList:
    """A `RecordSource` of files that are one JSON list each, read as a stream; a shard is a file."""

    name: str
    manifests: Sequence[Manifest]
    convert: Convert

    @property
    def num_shards(self) -> int:
        """One for each file."""
        return len(self.manifests)

    def candidates(self, shard: int, start: int = 0, stride: int = 1) -> Iterator[Candidate]:
        """See `RecordSource.candidates`. Raises MissingExtra without ijson."""
        return islice(self._all(self.manifests[shard]), start, None, stride)

    def _all(self, manifest: Manifest) -> Iterator[Candidate]:
        try:
            ijson = importlib.import_module("ijson")
        except ImportError as error:
            raise MissingExtra("Reading JSON lists", "data") from error
        name = manifest.file.name
        try:
            with manifest.file.open("rb") as file:
                for number, row in enumerate(ijson.items(file, "item", use_float=True)):
                    yield from converted(self.convert, row, Place(f"{name}#{number}", manifest.file, manifest.pictures))
        except (OSError, ijson.JSONError) as error:
            yield Skipped(name, "damaged shard", str(error))

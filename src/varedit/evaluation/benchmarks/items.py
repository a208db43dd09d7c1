"""What every benchmark gives: items, one edit each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from varedit.data.readers.fields import RowError
from varedit.errors import InputMissing, UsageError

Read = Callable[[Path, str], Iterator["Item"]]  # the folder as it comes from its publisher, and a split


@dataclass(frozen=True, eq=False, kw_only=True)
class Item:
    """One edit of a benchmark.

    Attributes:
        id: names the result (`results/ID.png` of a run), as the benchmark itself names results; may hold slashes.
        category: the benchmark's word for the kind of edit.
        instruction: what to do.
        language: of the instruction.
        source, target, mask: the bytes of a picture's file, or its path. The mask is white where the edit may change
            the source. None where the benchmark has none; of the source, where the item goes on from a result.
        after: the item before this one whose result is the source; None where the source is given.
        source_caption, target_caption: what the pictures show; None where the benchmark does not tell.
        meta: whatever else the benchmark says, as JSON values.
    """

    id: str
    category: str
    instruction: str
    language: str = "en"
    source: bytes | Path | None
    target: bytes | Path | None = None
    mask: bytes | Path | None = None
    source_caption: str | None = None
    target_caption: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    after: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """A benchmark by its name.

    Attributes:
        name: on the command line.
        splits: how many items each has as published; the first is measured unless another is asked for.
        read: see `Read`.
        hub_patterns: files to fetch where the folder is a name on the hub; empty if it is not published there.
    """

    name: str
    splits: Mapping[str, int]
    read: Read
    hub_patterns: tuple[str, ...] = ()

    def split(self, asked: str | None) -> str:
        """The split that is meant. Raises UsageError for one that does not exist."""
        if asked is None:
            return next(iter(self.splits))
        if asked not in self.splits:
            raise UsageError(f"{self.name} has no split {asked!r}; it has {', '.join(self.splits)}")
        return asked

    def items(self, folder: Path, split: str) -> Iterator[Item]:
        """All items of a split, in the benchmark's order.

        Raises: InputMissing where the folder does not hold the benchmark as it was published.
        """
        try:
            yield from self.read(folder, split)
        except RowError as error:
            raise InputMissing(f"{folder} does not hold {self.name} as published: {error}. Fetch it again.") from error

"""Records from outside, grouped into batches of one aspect ratio; resumes exactly, without keeping any picture.

A record goes to the template nearest to its aspect ratio, is resized to cover it, and loses what stands out. See
`varedit.data.mixture` for the order in which records come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from varedit.config import EditorConfig
from varedit.data.mixture import Mixture, WeightedSource
from varedit.data.pairs import PairBatch
from varedit.data.readers.known_sets import open_dataset
from varedit.data.records import Damage, EditRecord, RecordSource, Share, read_records
from varedit.errors import UsageError
from varedit.fit import cover_crop
from varedit.scales import Template
from varedit.training.recipe import DataSettings

# A bucket whose first record has seen so many batches pass is filled up with copies: what a resumed run must read again
# stays small, and rare aspect ratios are trained, too.
LONGEST_WAIT = 32


@dataclass(frozen=True)
class Bucket:
    """A full batch: pictures (B, 3, h, w) float32 in [-1, 1], and B instructions."""

    template: Template
    sources: NDArray[np.float32]
    targets: NDArray[np.float32]
    instructions: list[str]


@dataclass(frozen=True)
class _Waiting:
    """A record whose bucket is not full: its number in the stream, and the stream's state before it."""

    number: int
    before: Mapping[str, Any]
    record: EditRecord


class RecordBuckets(Iterator[Bucket]):
    """The endless batches of one reader.

    Args:
        mixture: where the records are from.
        share: which of several readers this is.
        editor: its templates are the buckets.
        batch_size: records of a batch.
        state: from an earlier reader of the same share; None begins anew.
    """

    def __init__(
        self,
        mixture: Mixture,
        share: Share,
        editor: EditorConfig,
        batch_size: int,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.editor, self.batch_size = editor, batch_size
        self.waiting: dict[str, list[_Waiting]] = {}
        self.number = 0
        self.stream = mixture.stream(share, state["stream"] if state else None)
        self.skipped_before: int = state["skipped"] if state else 0
        if state:
            self._read_again(state)

    def __next__(self) -> Bucket:
        """The next bucket that is full."""
        while True:
            late = self._overdue()
            if late is not None:
                return self._emptied(late)
            template = self._take()
            if len(self.waiting[template.name]) == self.batch_size:
                return self._emptied(template.name)

    def state(self) -> dict[str, Any]:
        """Where this reader stands, for JSON: the stream before the oldest record that waits, and which are done since.

        ``skipped`` counts the records that could not be used.
        """
        waiting = sorted((each for bucket in self.waiting.values() for each in bucket), key=lambda each: each.number)
        oldest = waiting[0].number if waiting else self.number
        numbers = {each.number for each in waiting}
        return {
            "stream": waiting[0].before if waiting else self.stream.state(),
            "read": self.number - oldest,
            "done": [number - oldest for number in range(oldest, self.number) if number not in numbers],
            "skipped": self.skipped_before + sum(damage.total for damage in self.stream.damage.values()),
        }

    def _take(self) -> Template:
        """Put the next record of the stream into its bucket."""
        before = self.stream.state()
        record = next(self.stream).record
        template = self.editor.templates.nearest(record.source.height, record.source.width)
        self.waiting.setdefault(template.name, []).append(_Waiting(self.number, before, record))
        self.number += 1
        return template

    def _read_again(self, state: Mapping[str, Any]) -> None:
        skipped = self.stream.damage
        done = set(state["done"])
        for number in range(state["read"]):
            template = self._take()
            if number in done:
                self.waiting[template.name].pop()
        for damage in skipped.values():
            self.skipped_before -= damage.total  # they were counted the first time

    def _overdue(self) -> str | None:
        """The bucket whose first record has waited too long."""
        first = {bucket[0].number: name for name, bucket in self.waiting.items() if bucket}
        if not first or self.number - min(first) < LONGEST_WAIT * self.batch_size:
            return None
        return first[min(first)]

    def _emptied(self, name: str) -> Bucket:
        records = [each.record for each in self.waiting.pop(name)]
        template = next(each for each in self.editor.templates.templates if each.name == name)
        size_hw = self.editor.picture_size(template.schedule)
        filled = [records[number % len(records)] for number in range(self.batch_size)]
        pairs = [fitted_pair(record, size_hw) for record in filled]
        sources, targets = (np.stack(pictures) for pictures in zip(*pairs, strict=True))
        return Bucket(template, sources, targets, [record.instruction for record in filled])


class RecordPairs:
    """The first usable records of a data set as pairs that are read by number, for validation."""

    def __init__(self, source: RecordSource) -> None:
        self.source = source

    def batch(self, indices: Sequence[int], size_hw: tuple[int, int]) -> PairBatch:
        """See `batches.PairSource`. Raises UsageError where there are too few records."""
        damage = Damage()
        records = [record for record, _ in islice(read_records(self.source, damage), max(indices) + 1)]
        if len(records) <= max(indices):
            raise UsageError(
                f"{self.source.name} has {len(records)} usable records, and validation needs {max(indices) + 1} "
                f"(skipped: {damage.total})"
            )
        pairs = [fitted_pair(records[index], size_hw) for index in indices]
        sources, targets = (_levels(np.stack(pictures)) for pictures in zip(*pairs, strict=True))
        return PairBatch(sources, [records[index].instruction for index in indices], targets)


def _levels(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(B, 3, h, w) in [-1, 1] as (B, h, w, 3) bytes."""
    return ((pixels.transpose(0, 2, 3, 1) + 1) * 127.5).round().astype(np.uint8)


def fitted_pair(record: EditRecord, size_hw: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Source and target at a template's size, (3, h, w) each; the target is first brought to the source's size."""
    target = record.target if record.target.size == record.source.size else record.target.resize(record.source.size)
    return cover_crop(np.asarray(record.source), size_hw), cover_crop(np.asarray(target), size_hw)


def record_mixture(data: Sequence[DataSettings], seed: int) -> Mixture | None:
    """All sources of a recipe that are no scenes; None where there are only scenes."""
    sources = [WeightedSource(dataset(each), each.weight) for each in data if each.path is not None]
    return Mixture(sources, seed) if sources else None


def dataset(settings: DataSettings) -> RecordSource:
    """The data set of a recipe's table. Raises UsageError, InputMissing."""
    name = f"{settings.kind} in {settings.path}"
    pictures = None if settings.pictures is None else Path(settings.pictures)
    return open_dataset(settings.kind, Path(str(settings.path)), pictures=pictures, split=settings.split, name=name)

"""An endless, shuffled stream of records from several sources, mixed by weight.

Everything follows from the seed, the epoch of each source and the reader's share, and a stream's state holds no record:
it is a small dict for JSON, from which the stream goes on exactly. Knows no file format and no tensors.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from varedit.data.records import (
    ALONE,
    ASPECT_TOLERANCE,
    Candidate,
    Damage,
    EditRecord,
    RecordSource,
    Share,
    Skipped,
    part_candidates,
    parts_of,
    usable_record,
)
from varedit.errors import UsageError

# A share of a very small source can be empty in one epoch and not in the next, since parts are dealt anew.
EMPTY_EPOCHS = 20


@dataclass(frozen=True)
class WeightedSource:
    """A source, and how often it is drawn relative to the others of a mixture."""

    source: RecordSource
    weight: float = 1.0


@dataclass(frozen=True)
class MixedRecord:
    """A record, and the name of the source that it is from."""

    record: EditRecord
    source: str


@dataclass(frozen=True)
class Mixture:
    """What is mixed, and how; picklable, so that a worker process opens its own stream.

    Attributes:
        sources: their names differ and their weights are positive. A weight counts records, not shards.
        seed: two seeds give two orders.
        shuffle_block: so many candidates of a part, still encoded, are held and shuffled; shards are shuffled too.
        aspect_tolerance: see `usable_record`.
    """

    sources: Sequence[WeightedSource]
    seed: int = 0
    shuffle_block: int = 100
    aspect_tolerance: float | None = ASPECT_TOLERANCE

    def __post_init__(self) -> None:
        names = [weighted.source.name for weighted in self.sources]
        if not names:
            raise UsageError("a mixture needs at least one source.")
        if len(set(names)) < len(names):
            raise UsageError(f"the sources of a mixture need names that differ; they are {', '.join(names)}.")
        for weighted in self.sources:
            if not 0 < weighted.weight < float("inf"):
                raise UsageError(f"the weight of {weighted.source.name} is {weighted.weight}; it must be positive.")
        if self.shuffle_block < 1:
            raise UsageError(f"shuffle_block ({self.shuffle_block}) must be at least 1.")

    def stream(self, share: Share = ALONE, state: Mapping[str, Any] | None = None) -> MixtureStream:
        """Open the stream of one reader, from its beginning or from a state that an earlier stream told.

        Raises: `UsageError` if the state is of another share or of other sources.
        """
        return MixtureStream(self, share, state)


class MixtureStream(Iterator[MixedRecord]):
    """The endless stream of one reader.

    Attributes:
        damage: what was skipped, by source; a record that stays damaged counts once in every epoch.
    """

    def __init__(self, mixture: Mixture, share: Share, state: Mapping[str, Any] | None = None) -> None:
        self._mixture = mixture
        self._share = share
        self._draws = 0
        weights = np.array([weighted.weight for weighted in mixture.sources])
        self._probabilities = weights / weights.sum()
        cursors = [_Cursor() for _ in mixture.sources]
        if state is not None:
            self._draws, cursors = self._restored(state)
        self._streams = [
            _SourceStream(weighted.source, mixture, share, cursor)
            for weighted, cursor in zip(mixture.sources, cursors, strict=True)
        ]
        self.damage: dict[str, Damage] = {stream.source.name: stream.damage for stream in self._streams}

    def __next__(self) -> MixedRecord:
        """The next record, in one of its wordings.

        Raises: `UsageError` where a source holds nothing usable.
        """
        random = np.random.default_rng((self._mixture.seed, self._share.index, self._draws))
        stream = self._streams[int(random.choice(len(self._streams), p=self._probabilities))]
        record = next(stream.records)
        self._draws += 1
        wordings = (record.instruction, *record.other_instructions)
        chosen = wordings[int(random.integers(len(wordings)))]
        return MixedRecord(replace(record, instruction=chosen), stream.source.name)

    def state(self) -> dict[str, Any]:
        """Where the stream stands after the record given last, ready for JSON."""
        return {
            "share": [self._share.index, self._share.count],
            "seed": self._mixture.seed,
            "shuffle_block": self._mixture.shuffle_block,
            "draws": self._draws,
            "sources": {stream.source.name: stream.cursor.as_dict() for stream in self._streams},
        }

    def _restored(self, state: Mapping[str, Any]) -> tuple[int, list[_Cursor]]:
        """Check that a state belongs to this stream, and read it."""
        names = [weighted.source.name for weighted in self._mixture.sources]
        own = {
            "share": [self._share.index, self._share.count],
            "seed": self._mixture.seed,
            "shuffle_block": self._mixture.shuffle_block,
            "sources": sorted(names),
        }
        for key, value in own.items():
            saved = sorted(state["sources"]) if key == "sources" else state[key]
            if saved != value:
                raise UsageError(
                    f"the saved position in the data is for {key} {saved}, but this run has {value}. "
                    "Use the old value, or begin the data anew."
                )
        return int(state["draws"]), [_Cursor(**state["sources"][name]) for name in names]


@dataclass
class _Cursor:
    """Where a source stands: ``inside`` of the candidates of a block are past, in their shuffled order."""

    epoch: int = 0
    part: int = 0
    block: int = 0
    inside: int = 0

    def as_dict(self) -> dict[str, int]:
        return dict(vars(self))


@dataclass
class _SourceStream:
    """The endless stream of one reader's share of one source."""

    source: RecordSource
    mixture: Mixture
    share: Share
    cursor: _Cursor
    damage: Damage = field(default_factory=Damage)

    def __post_init__(self) -> None:
        self.records = self._records()

    def _records(self) -> Iterator[EditRecord]:
        """Usable records, epoch after epoch; the cursor stands behind a record when it is given."""
        empty_epochs = 0
        while empty_epochs < EMPTY_EPOCHS:
            empty_epochs += 1
            for candidate in self._rest_of_epoch():
                record = usable_record(candidate, self.mixture.aspect_tolerance)
                if isinstance(record, Skipped):
                    self.damage.add(record)
                else:
                    empty_epochs = 0
                    yield record
            self.cursor = _Cursor(epoch=self.cursor.epoch + 1)
        reason = f"Skipped: {self.damage}" if self.damage.total else "It may have too few records for so many readers"
        reader = f"reader {self.share.index + 1} of {self.share.count}"
        raise UsageError(f"{self.source.name} gave no usable record to {reader}. {reason}.")

    def _rest_of_epoch(self) -> Iterator[Candidate]:
        cursor, size = self.cursor, self.mixture.shuffle_block
        parts = parts_of(self.source, self.share.count)
        order = self._random(cursor.epoch).permutation(len(parts))[self.share.index :: self.share.count]
        while cursor.part < len(order):
            part = int(order[cursor.part])
            candidates = part_candidates(self.source, parts[part], cursor.block * size)
            while block := list(islice(candidates, size)):
                shuffled = self._random(cursor.epoch, part, cursor.block).permutation(len(block))
                while cursor.inside < len(block):
                    cursor.inside += 1
                    yield block[shuffled[cursor.inside - 1]]
                cursor.block, cursor.inside = cursor.block + 1, 0
            cursor.part, cursor.block, cursor.inside = cursor.part + 1, 0, 0

    def _random(self, *position: int) -> np.random.Generator:
        """Draws for a place in the source: other sources, seeds and places get others."""
        return np.random.default_rng((self.mixture.seed, zlib.crc32(self.source.name.encode()), *position))

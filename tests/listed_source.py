"""A source of records in memory, whose shards a test chooses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from tests.editing_sets import picture_file
from varedit.data.records import Candidate, EncodedRecord, Skipped


@dataclass(frozen=True)
class ListedSource:
    """Records named after set, shard and number; those whose number in the shard is in ``damaged`` are skipped."""

    name: str
    lengths: Sequence[int]
    damaged: frozenset[int] = frozenset()
    other_instructions: tuple[str, ...] = ()

    @property
    def num_shards(self) -> int:
        return len(self.lengths)

    def candidates(self, shard: int, start: int = 0, stride: int = 1) -> Iterator[Candidate]:
        return islice((self._candidate(shard, number) for number in range(self.lengths[shard])), start, None, stride)

    def _candidate(self, shard: int, number: int) -> Candidate:
        name = f"{self.name}-{shard}-{number}"
        if number in self.damaged:
            return Skipped(name, "damaged row")
        picture = picture_file(shard, 8, 6)
        return EncodedRecord(
            source=picture, target=picture, instruction="x", id=name, other_instructions=self.other_instructions
        )

    @property
    def names(self) -> list[str]:
        """Of all usable records."""
        lengths = enumerate(self.lengths)
        return [f"{self.name}-{s}-{n}" for s, length in lengths for n in range(length) if n not in self.damaged]

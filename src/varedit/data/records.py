"""Editing records from outside: what every reader yields, what is skipped and why, and where a reader stands.

Knows no file format (see `varedit.data.readers`) and no mixing or shuffling (see `varedit.data.mixture`). A reader
gives candidates, cheap and still encoded; `usable_record` decodes one or says why it cannot be used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from PIL import Image

from varedit.errors import ImageError, InputMissing, MissingExtra, UsageError
from varedit.images import load_mask, read_image

LOG = logging.getLogger(__name__)

ASPECT_TOLERANCE = 0.05  # spec "WebDataset layout": a target of another shape would be squeezed
EXAMPLES_KEPT = 5  # names of skipped records that a report keeps for each reason

Reason = Literal[
    "damaged shard",
    "damaged row",
    "missing field",
    "empty instruction",
    "missing picture",
    "damaged picture",
    "picture too large",
    "mask does not fit",
    "aspect differs",
    "several inputs",
    "visual input",
    "refers to earlier turns",
    "repeated output",
]


@dataclass(frozen=True, eq=False, kw_only=True)
class Description:
    """What a set says about one editing example, besides its pictures.

    Attributes:
        instruction: a set's own words; never empty in an `EditRecord`.
        other_instructions: further wordings of the same edit.
        id: unique within its source, as far as the set allows; None if the record was made elsewhere.
        category: the set's own word for the kind of edit; None if it has none.
        source_caption, target_caption: what the pictures show; None if the set does not tell.
        session, turn: records of one session follow each other, turns count from 1; None for single edits.
        meta: whatever else the set says, ready for JSON.
    """

    instruction: str
    other_instructions: tuple[str, ...] = ()
    id: str | None = None
    category: str | None = None
    source_caption: str | None = None
    target_caption: str | None = None
    session: str | None = None
    turn: int | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class EditRecord(Description):
    """One editing example, upright and in sRGB.

    Attributes:
        source, target: RGB pictures of nearly one aspect ratio, but perhaps of unlike size.
        mask: L, the size of ``source``, 255 where the edit may change the picture; None if the set has none.
    """

    source: Image.Image
    target: Image.Image
    mask: Image.Image | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class EncodedRecord(Description):
    """An `EditRecord` whose pictures are still the bytes of files, or paths of files; its ``id`` is never None."""

    source: bytes | Path
    target: bytes | Path
    id: str
    mask: bytes | Path | None = None


@dataclass(frozen=True)
class Skipped:
    """A record that cannot be used: its name, why, and the reader's own words if it has any."""

    id: str
    reason: Reason
    detail: str = ""


Candidate = EncodedRecord | Skipped


class RecordSource(Protocol):
    """A set of records in shards, in a fixed order; a reader of `varedit.data.readers` or any other.

    It must be picklable, so that worker processes can read, and give equal answers to equal calls.
    """

    @property
    def name(self) -> str:
        """A short name for reports."""
        ...

    @property
    def num_shards(self) -> int:
        """At least 1."""
        ...

    def candidates(self, shard: int, start: int = 0, stride: int = 1) -> Iterator[Candidate]:
        """The candidates number ``start``, ``start + stride``, ... of a shard; those passed over are not decoded."""
        ...


class Position(NamedTuple):
    """Where a reader stands: the next candidate to read, counted within its part (see `parts_of`)."""

    part: int = 0
    offset: int = 0


BEGINNING = Position()


@dataclass(frozen=True)
class Share:
    """One of ``count`` readers that divide a source among them: every candidate is read by exactly one."""

    index: int = 0
    count: int = 1

    @classmethod
    def of(cls, *, rank: int, world_size: int, worker: int = 0, num_workers: int = 1) -> Share:
        """The share of one worker process of one rank."""
        if not (0 <= rank < world_size and 0 <= worker < num_workers):
            raise UsageError(f"rank {rank} of {world_size} with worker {worker} of {num_workers} does not exist.")
        return cls(rank * num_workers + worker, world_size * num_workers)


ALONE = Share()


class Part(NamedTuple):
    """A whole shard, or every ``stride``-th candidate of it."""

    shard: int
    first: int
    stride: int


def parts_of(source: RecordSource, count: int) -> list[Part]:
    """At least ``count`` parts that together are the source: whole shards where there are enough of them."""
    stride = -(-count // source.num_shards)
    return [Part(shard, first, stride) for shard in range(source.num_shards) for first in range(stride)]


def read_records(
    source: RecordSource,
    damage: Damage,
    *,
    start: Position = BEGINNING,
    share: Share = ALONE,
    aspect_tolerance: float | None = ASPECT_TOLERANCE,
) -> Iterator[tuple[EditRecord, Position]]:
    """Read a source once, in its own order.

    Args:
        source: what to read.
        damage: counts what is skipped.
        start: where to begin, as told by an earlier reading with the same ``share``.
        share: which of several readers this is.
        aspect_tolerance: see `usable_record`.

    Yields: a record, and the position after it.
    """
    parts = parts_of(source, share.count)[share.index :: share.count]
    for number in range(start.part, len(parts)):
        offset = start.offset if number == start.part else 0
        for candidate in part_candidates(source, parts[number], offset):
            offset += 1
            record = usable_record(candidate, aspect_tolerance)
            if isinstance(record, Skipped):
                damage.add(record)
            else:
                yield record, Position(number, offset)


def part_candidates(source: RecordSource, part: Part, offset: int = 0) -> Iterator[Candidate]:
    """The candidates of a part from its number ``offset`` on."""
    return source.candidates(part.shard, part.first + offset * part.stride, part.stride)


def usable_record(candidate: Candidate, aspect_tolerance: float | None = ASPECT_TOLERANCE) -> EditRecord | Skipped:
    """Decode a candidate's pictures and check that they make a pair.

    Args:
        candidate: what a reader gave.
        aspect_tolerance: the aspect ratios of source and target may differ by this factor minus 1; None for any.

    Returns: the record, or why there is none.
    """
    if isinstance(candidate, Skipped):
        return candidate
    if not candidate.instruction.strip():
        return Skipped(candidate.id, "empty instruction")
    try:
        source, target = decoded_picture(candidate.source), decoded_picture(candidate.target)
        if aspect_tolerance is not None and aspect_difference(source, target) > aspect_tolerance:
            sizes = f"{source.width}x{source.height} became {target.width}x{target.height}"
            return Skipped(candidate.id, "aspect differs", sizes)
        mask = None if candidate.mask is None else decoded_mask(candidate.mask, source)
    except InputMissing as error:
        return Skipped(candidate.id, "missing picture", str(error))
    except MissingExtra as error:
        return Skipped(candidate.id, "damaged picture", str(error))
    except ImageError as error:
        return Skipped(candidate.id, _REASON_OF_CODE.get(error.code, "damaged picture"), str(error))
    described = {item.name: getattr(candidate, item.name) for item in fields(Description)}
    return EditRecord(source=source, target=target, mask=mask, **described)


_REASON_OF_CODE: dict[str, Reason] = {"image_too_large": "picture too large", "invalid_mask": "mask does not fit"}


def decoded_picture(picture: bytes | Path) -> Image.Image:
    """An upright RGB picture. Raises what `read_image` does."""
    return Image.fromarray(read_image(picture).rgb)


def decoded_mask(mask: bytes | Path, source: Image.Image) -> Image.Image:
    """L, 255 where the edit may change the source; a mask with a transparent hole is understood (`load_mask`)."""
    weights = load_mask(mask, source.width, source.height)
    return Image.fromarray((weights * 255).round().astype("uint8"))


def aspect_difference(first: Image.Image, second: Image.Image) -> float:
    """The factor, minus 1, between two aspect ratios: 0 if they are equal."""
    ratio = first.width * second.height / (first.height * second.width)
    return max(ratio, 1 / ratio) - 1


@dataclass
class Damage:
    """What a reading skipped: for each reason how many records, and the names of the first few."""

    counts: dict[Reason, int] = field(default_factory=dict)
    examples: dict[Reason, list[str]] = field(default_factory=dict)

    def add(self, skipped: Skipped) -> None:
        """Count a skipped record; the log names each at DEBUG."""
        LOG.debug("skipped %s: %s %s", skipped.id, skipped.reason, skipped.detail)
        self.counts[skipped.reason] = self.counts.get(skipped.reason, 0) + 1
        named = self.examples.setdefault(skipped.reason, [])
        if len(named) < EXAMPLES_KEPT:
            named.append(skipped.id)

    @property
    def total(self) -> int:
        """All skipped records."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        """One line: reasons by falling count, with examples."""
        ordered = sorted(self.counts, key=lambda reason: (-self.counts[reason], reason))
        return "; ".join(f"{reason} {self.counts[reason]} ({', '.join(self.examples[reason])})" for reason in ordered)

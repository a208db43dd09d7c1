"""Looks at every record of a source, or at some from all over it, and reports what a training would meet.

Memory does not grow with the pictures: of a record stay two 64-bit hashes and a few counts, and the sheet's pictures
are shrunk and drawn from the stream by reservoir sampling (Vitter 1985, algorithm R).
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from varedit.data.material import picture_hash
from varedit.data.records import (
    ASPECT_TOLERANCE,
    EXAMPLES_KEPT,
    Candidate,
    Damage,
    EditRecord,
    RecordSource,
    Skipped,
    usable_record,
)
from varedit.data.shards import INDEX_NAME, damaged_shards
from varedit.errors import InputMissing, VAREditError

SHEET_SIDE = 192  # pixels, at most, of a picture on the sheet
NEAR_HASH = 4  # of 64 bits: a re-encoded or resized picture still has nearly the same hash
_COCO_NAME = re.compile(r"(?<!\d)(?:COCO_\w+?_)?(\d{12})(?!\d)")  # COCO files are numbers of twelve digits

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class DenyList:
    """Pictures that no training may see: those of benchmarks.

    Attributes:
        hashes: see `varedit.data.material.picture_hash`, uint64.
        coco_ids: numbers of COCO photographs.
    """

    hashes: NDArray[np.uint64]
    coco_ids: frozenset[int]

    @classmethod
    def read(cls, path: Path) -> DenyList:
        """Read a text file: a hash of 16 hexadecimal digits or a COCO number a line; `#` begins a comment.

        Raises: `InputMissing` if there is no such file, or a line is neither.
        """
        hashes, coco_ids = [], set()
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputMissing(f"{path} cannot be read: {error}.") from error
        for number, line in enumerate(lines, start=1):
            entry = line.partition("#")[0].strip()
            if re.fullmatch(r"[0-9a-fA-F]{16}", entry):
                hashes.append(int(entry, 16))
            elif entry.isdecimal() and len(entry) <= 12:
                coco_ids.add(int(entry))
            elif entry:
                raise InputMissing(
                    f"{path}, line {number}: {entry!r} is neither 16 hexadecimal digits nor a COCO number."
                )
        return cls(np.array(hashes, dtype=np.uint64), frozenset(coco_ids))

    def holds(self, record: EditRecord, source_hash: int) -> bool:
        """Whether the record's source is on the list, by its number or by a hash that differs in few bits."""
        differing = np.unpackbits((self.hashes ^ np.uint64(source_hash)).view(np.uint8)).reshape(-1, 64).sum(axis=1)
        return bool((differing <= NEAR_HASH).any()) or not self.coco_ids.isdisjoint(coco_ids(record))


def coco_ids(record: EditRecord) -> set[int]:
    """The COCO photographs that a record names, in ``meta`` or by the form of its id."""
    told = str(record.meta.get("coco_id", ""))
    return {int(number) for number in (*_COCO_NAME.findall(record.id or ""), told) if number.isdecimal()}


@dataclass(frozen=True)
class Thumbnail:
    """A record as the sheet shows it (a `SheetPair`)."""

    source: NDArray[np.uint8]
    target: NDArray[np.uint8]
    instruction: str


@dataclass
class Report:
    """What was found in a source.

    Attributes:
        num_records: usable ones.
        damage: what was skipped.
        short_sides: of sources, in pixels, how often each.
        words: of instructions, how often each number.
        categories: how often each; without those of records that have none.
        denied, num_denied: names of the first few records on the deny list, and how many there are.
        num_repeated_pairs, num_sources: records whose two pictures both came before, and sources that differ, by hash.
        thumbnails: records drawn at random.
    """

    name: str
    num_records: int = 0
    damage: Damage = field(default_factory=Damage)
    short_sides: Counter[int] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    denied: list[str] = field(default_factory=list)
    num_denied: int = 0
    num_repeated_pairs: int = 0
    num_sources: int = 0
    thumbnails: list[Thumbnail] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, without pictures."""
        return {
            "name": self.name,
            "records": self.num_records,
            "skipped": {
                reason: {"count": count, "examples": self.damage.examples[reason]}
                for reason, count in self.damage.counts.items()
            },
            "short_side": quantiles(self.short_sides),
            "instruction_words": quantiles(self.words),
            "categories": dict(self.categories.most_common()),
            "sources": self.num_sources,
            "repeated_pairs": self.num_repeated_pairs,
            "denied": {"count": self.num_denied, "examples": self.denied},
        }


def check_source(
    source: RecordSource,
    *,
    count: int | None = None,
    deny: DenyList | None = None,
    num_thumbnails: int = 24,
    aspect_tolerance: float | None = ASPECT_TOLERANCE,
    on_progress: OnProgress | None = None,
) -> Report:
    """Read a source and report on it.

    Args:
        source: what to read.
        count: so many candidates from all over the source; None for every one.
        deny: what the source must not hold.
        num_thumbnails: at most so many in the report.
        aspect_tolerance: see `usable_record`.
        on_progress: called with candidates seen and ``count``, or with shards begun and all shards.
    """
    report = Report(source.name)
    random = np.random.default_rng(0)
    hashes: tuple[array[int], array[int]] = (array("Q"), array("Q"))
    candidates = _all_candidates(source, on_progress) if count is None else _some(source, count, on_progress)
    for candidate in candidates:
        record = usable_record(candidate, aspect_tolerance)
        if isinstance(record, Skipped):
            report.damage.add(record)
            continue
        _count(report, record)
        pair = picture_hash(record.source), picture_hash(record.target)
        for seen, value in zip(hashes, pair, strict=True):
            seen.append(value)
        if deny is not None and deny.holds(record, pair[0]):
            report.num_denied += 1
            if len(report.denied) < EXAMPLES_KEPT:
                report.denied.append(str(record.id))
        _draw(report, record, num_thumbnails, random)
    sources, targets = (np.frombuffer(seen, dtype=np.uint64) for seen in hashes)
    report.num_sources = len(np.unique(sources))
    report.num_repeated_pairs = report.num_records - len(np.unique(np.stack((sources, targets)), axis=1).T)
    return report


def refuse_denied(report: Report) -> None:
    """Raise VAREditError if the source holds what the deny list names."""
    if report.num_denied:
        raise VAREditError(
            f"{report.name} holds {report.num_denied} records on the deny list, such as {', '.join(report.denied)}. "
            "Leave them out before training."
        )


def refuse_changed_shards(folder: Path) -> None:
    """Raise InputMissing if a folder of WebDataset shards has an index, and a file is not what it says."""
    changed = damaged_shards(folder) if (folder / INDEX_NAME).exists() else []
    if changed:
        raise InputMissing(
            f"{', '.join(changed)} in {folder} differ from what {INDEX_NAME} says. Fetch or write them again."
        )


def quantiles(counts: Counter[int]) -> dict[str, int]:
    """The least, middle and largest of counted numbers; empty if there are none."""
    if not counts:
        return {}
    middle, passed = counts.total() // 2, 0
    for value in sorted(counts):
        passed += counts[value]
        if passed > middle:
            return {"least": min(counts), "median": value, "most": max(counts)}
    raise AssertionError("the counts add up to their total")


def _all_candidates(source: RecordSource, on_progress: OnProgress | None) -> Iterator[Candidate]:
    for shard in range(source.num_shards):
        if on_progress is not None:
            on_progress(shard, source.num_shards)
        yield from source.candidates(shard)


def _some(source: RecordSource, count: int, on_progress: OnProgress | None) -> Iterator[Candidate]:
    """Equally many candidates from the beginnings of shards that lie evenly over the source."""
    num_shards = min(source.num_shards, count)
    for number in range(num_shards):
        shard = number * source.num_shards // num_shards
        wanted = (number + 1) * count // num_shards - number * count // num_shards
        if on_progress is not None:
            on_progress(number * count // num_shards, count)
        yield from islice(source.candidates(shard), wanted)


def _count(report: Report, record: EditRecord) -> None:
    report.num_records += 1
    report.short_sides[min(record.source.size)] += 1
    report.words[len(record.instruction.split())] += 1
    if record.category is not None:
        report.categories[record.category] += 1


def _draw(report: Report, record: EditRecord, num_thumbnails: int, random: np.random.Generator) -> None:
    """Keep the record with the chance that makes every sample of the stream equally likely."""
    place = int(random.integers(report.num_records))
    if len(report.thumbnails) < num_thumbnails:
        report.thumbnails.append(_thumbnail(record))
    elif place < num_thumbnails:
        report.thumbnails[place] = _thumbnail(record)


def _thumbnail(record: EditRecord) -> Thumbnail:
    return Thumbnail(_shrunk(record.source), _shrunk(record.target), record.instruction)


def _shrunk(picture: Image.Image) -> NDArray[np.uint8]:
    small = picture.copy()
    small.thumbnail((SHEET_SIDE, SHEET_SIDE))
    return np.asarray(small)

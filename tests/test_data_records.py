"""Shares divide a source without loss; positions resume it; what is skipped is counted and named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.editing_sets import picture_file, truncated
from tests.listed_source import ListedSource
from varedit.data.records import (
    EXAMPLES_KEPT,
    Damage,
    EncodedRecord,
    Reason,
    Share,
    Skipped,
    parts_of,
    read_records,
    usable_record,
)
from varedit.errors import UsageError

GOOD = EncodedRecord(source=picture_file(1), target=picture_file(2), instruction="make it red", id="good")


@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5), count=st.integers(1, 12))
def test_shares_read_each_record_once_however_many_there_are(lengths: list[int], count: int) -> None:
    source = ListedSource("x", lengths)
    read = [record.id for n in range(count) for record, _ in read_records(source, Damage(), share=Share(n, count))]
    assert sorted(map(str, read)) == sorted(source.names)
    assert len(parts_of(source, count)) >= count


def test_whole_shards_are_dealt_out_while_there_are_enough() -> None:
    source = ListedSource("x", (2, 3, 2, 3))
    assert {part.stride for part in parts_of(source, 4)} == {1}
    assert {part.stride for part in parts_of(source, 5)} == {2}


def test_a_position_counts_the_candidates_of_a_share() -> None:
    source = ListedSource("x", (5, 4), damaged=frozenset({2}))
    share = Share(2, 4)
    whole = [(record.id, position) for record, position in read_records(source, Damage(), share=share)]
    assert [name for name, _ in whole] == ["x-1-0"]
    rest = read_records(source, Damage(), share=share, start=whole[0][1])
    assert [record.id for record, _ in rest] == []


def test_the_share_of_a_worker_is_unique_over_all_ranks() -> None:
    shares = {Share.of(rank=r, world_size=3, worker=w, num_workers=2) for r in range(3) for w in range(2)}
    assert shares == {Share(n, 6) for n in range(6)}
    with pytest.raises(UsageError, match="does not exist"):
        Share.of(rank=3, world_size=3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"instruction": " \n"}, "empty instruction"),
        ({"source": b""}, "damaged picture"),
        ({"target": truncated()}, "damaged picture"),
        ({"target": Path("no such file.png")}, "missing picture"),
        ({"target": picture_file(2, 48, 64)}, "aspect differs"),
        ({"mask": picture_file(3, 9, 9)}, "mask does not fit"),
        ({"mask": b"no picture"}, "damaged picture"),
    ],
)
def test_what_makes_a_record_unusable_is_its_reason(change: dict[str, object], reason: Reason) -> None:
    skipped = usable_record(replace(GOOD, **change))  # type: ignore[arg-type]  # values of several types
    assert isinstance(skipped, Skipped)
    assert (skipped.id, skipped.reason) == ("good", reason)


def test_a_picture_with_too_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("varedit.images.MAX_SIDE", 60)
    skipped = usable_record(GOOD)
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "picture too large"


def test_a_description_is_kept_when_pictures_are_decoded() -> None:
    described = {"category": "add", "session": "s", "turn": 2, "source_caption": "a", "target_caption": "b"}
    record = usable_record(replace(GOOD, other_instructions=("more",), meta={"score": 3}, **described))  # type: ignore[arg-type]  # values of several types
    assert not isinstance(record, Skipped)
    assert {name: getattr(record, name) for name in described} == described
    assert (record.id, record.other_instructions, record.meta) == ("good", ("more",), {"score": 3})


def test_damage_names_the_first_few_and_counts_all() -> None:
    damage = Damage()
    for number in range(EXAMPLES_KEPT + 2):
        damage.add(Skipped(f"r{number}", "damaged row"))
    damage.add(Skipped("s", "empty instruction"))
    assert damage.total == EXAMPLES_KEPT + 3
    assert damage.examples["damaged row"] == [f"r{number}" for number in range(EXAMPLES_KEPT)]
    assert str(damage) == "damaged row 7 (r0, r1, r2, r3, r4); empty instruction 1 (s)"

"""A mixture keeps its weights, reads every record once an epoch, and goes on from a saved state exactly."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.listed_source import ListedSource
from varedit.data.mixture import Mixture, MixtureStream, WeightedSource
from varedit.data.records import Share
from varedit.errors import UsageError

SMALL = ListedSource("small", (3, 0, 4), damaged=frozenset({1}))
LARGE = ListedSource("large", (5, 7, 2, 6))


def mixture(seed: int = 5, block: int = 3) -> Mixture:
    return Mixture((WeightedSource(SMALL, 1.0), WeightedSource(LARGE, 3.0)), seed=seed, shuffle_block=block)


def names(stream: MixtureStream, count: int) -> list[str]:
    return [str(mixed.record.id) for mixed in islice(stream, count)]


@settings(max_examples=12)
@given(stop=st.integers(0, 60), index=st.integers(0, 2), block=st.integers(1, 8))
def test_a_restored_stream_goes_on_as_the_uninterrupted_one(stop: int, index: int, block: int) -> None:
    share, mixed = Share(index, 3), mixture(block=block)
    whole = names(mixed.stream(share), 80)
    stopped = mixed.stream(share)
    assert names(stopped, stop) == whole[:stop]
    state = json.loads(json.dumps(stopped.state()))
    assert names(mixed.stream(share, state), 80 - stop) == whole[stop:]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_epoch_of_all_shares_together_is_every_record_once(count: int) -> None:
    alone = Mixture((WeightedSource(LARGE),), seed=1, shuffle_block=4)
    read = []
    for index in range(count):
        stream = alone.stream(Share(index, count))
        for mixed in stream:
            if stream.state()["sources"]["large"]["epoch"] > 0:
                break
            read.append(mixed.record.id)
    assert sorted(map(str, read)) == sorted(LARGE.names)


def test_epochs_seeds_and_shares_have_orders_of_their_own() -> None:
    alone = Mixture((WeightedSource(LARGE),), seed=1, shuffle_block=100)
    first = names(alone.stream(), 40)
    assert sorted(first[:20]) == sorted(first[20:]) == sorted(LARGE.names)
    assert first[:20] != first[20:] != sorted(LARGE.names)
    assert names(alone.stream(), 40) == first
    assert names(Mixture((WeightedSource(LARGE),), seed=2).stream(), 40) != first


def test_a_weight_counts_records() -> None:
    drawn = Counter(mixed.source for mixed in islice(mixture().stream(), 1000))
    assert abs(drawn["large"] / 1000 - 0.75) < 0.055  # four standard deviations


def test_every_wording_is_used() -> None:
    source = ListedSource("worded", (2,), other_instructions=("y", "z"))
    drawn = Counter(mixed.record.instruction for mixed in islice(Mixture((WeightedSource(source),)).stream(), 300))
    assert set(drawn) == {"x", "y", "z"}
    assert min(drawn.values()) > 60


def test_skipped_records_are_counted_by_source() -> None:
    stream = Mixture((WeightedSource(SMALL),), shuffle_block=2).stream()
    names(stream, 2 * len(SMALL.names))
    assert 3 <= stream.damage["small"].counts["damaged row"] <= 4
    assert set(stream.damage["small"].examples["damaged row"]) == {"small-0-1", "small-2-1"}


@pytest.mark.parametrize(
    ("source", "words"),
    [(ListedSource("bad", (2,), frozenset({0, 1})), "damaged row"), (ListedSource("none", (0,)), "too few records")],
)
def test_a_source_without_usable_records_ends_with_a_sentence(source: ListedSource, words: str) -> None:
    with pytest.raises(UsageError, match=rf"{source.name} gave no usable record to reader 1 of 1.*{words}"):
        next(Mixture((WeightedSource(source),)).stream())


def test_a_state_of_another_reader_or_mixture_is_refused() -> None:
    state = mixture().stream(Share(1, 2)).state()
    for stranger, share in ((mixture(), Share(1, 4)), (mixture(seed=6), Share(1, 2)), (mixture(block=9), Share(1, 2))):
        with pytest.raises(UsageError, match="but this run has"):
            stranger.stream(share, state)
    with pytest.raises(UsageError, match="sources"):
        Mixture((WeightedSource(SMALL),), seed=5, shuffle_block=3).stream(Share(1, 2), state)


def test_a_mixture_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one source"):
        Mixture(())
    with pytest.raises(UsageError, match="names that differ"):
        Mixture((WeightedSource(SMALL), WeightedSource(SMALL)))
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="must be positive"):
            Mixture((WeightedSource(SMALL, weight),))
    with pytest.raises(UsageError, match="shuffle_block"):
        mixture(block=0)

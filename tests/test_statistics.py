"""Intervals, comparisons and agreement against cases worked by hand, published ones, and scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from varedit.evaluation.statistics import (
    Interval,
    alpha_interval,
    cohen_kappa,
    compare,
    holm,
    kendall,
    krippendorff_alpha,
    mean_interval,
    mean_intervals,
    mean_of_means,
    raw_agreement,
    spearman,
)

NAN = math.nan
FOUR_OBSERVERS = np.array(  # Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_the_published_example(level, alpha):
    assert krippendorff_alpha(FOUR_OBSERVERS, level) == pytest.approx(alpha, abs=5e-4)


def test_alpha_compares_all_pairs_within_units_with_all_pairs_there_are():
    generator = np.random.default_rng(3)
    ratings = generator.integers(0, 11, size=(3, 7)).astype(float)
    ratings[0, 2] = ratings[1, 5] = ratings[2, 5] = NAN  # the unit 5 has one rating and counts for nothing
    units = [column[~np.isnan(column)] for column in ratings.T]
    units = [unit for unit in units if len(unit) >= 2]
    everything = np.concatenate(units)
    pairs = [(a, b, len(unit) - 1) for unit in units for a, b in itertools.permutations(unit, 2)]
    observed = sum((a - b) ** 2 / others for a, b, others in pairs) / len(everything)
    expected = np.mean([(a - b) ** 2 for a, b in itertools.permutations(everything, 2)])
    assert krippendorff_alpha(ratings) == pytest.approx(1 - observed / expected)


def test_alpha_is_one_for_agreement_and_none_where_nothing_can_be_said():
    assert krippendorff_alpha(np.array([[1.0, 2.0, 9.0]] * 2)) == 1.0
    assert krippendorff_alpha(np.array([[3.0, 3.0]] * 2)) is None
    assert krippendorff_alpha(np.array([[1.0, NAN], [NAN, 2.0]])) is None
    assert alpha_interval(np.array([[1.0, NAN], [NAN, 2.0]])) is None


def test_the_interval_of_alpha_draws_units():
    found = alpha_interval(FOUR_OBSERVERS, resamples=200)
    assert found is not None and found.n == 11 and found.low is not None and found.high is not None
    assert found.value == pytest.approx(0.849, abs=5e-4)
    assert found.low < found.value < found.high <= 1.0
    alone = alpha_interval(np.array([[1.0, 5.0], [2.0, NAN]]))
    assert alone is not None and (alone.low, alone.high) == (None, None)


def test_kappa_is_worked_by_hand():
    # Squared differences: observed 0, 0, 0, 1; expected over all 16 pairs of (1, 2, 3, 4) with (1, 2, 3, 3): 32 / 16.
    assert cohen_kappa([1, 2, 3, 4], [1, 2, 3, 3]) == pytest.approx(1 - (1 / 4) / (32 / 16))
    assert cohen_kappa([0, 10], [10, 0]) == -1.0
    assert cohen_kappa([5, 5], [5, 5]) is None


def test_raw_agreement_counts_steps():
    assert raw_agreement([1, 2, 3, 4], [1, 3, 5, 4]) == 0.5
    assert raw_agreement([1, 2, 3, 4], [1, 3, 5, 4], within=1) == 0.75


def test_rank_correlations_handle_ties_and_constants():
    assert spearman([1, 2, 3, 4], [10, 20, 30, 5]) == pytest.approx(1 - 6 * (1 + 1 + 1 + 9) / (4 * 15))
    assert kendall([1, 2, 3], [1, 2, 2]) == pytest.approx(2 / math.sqrt(3 * 2))
    assert spearman([1, 1, 1], [1, 2, 3]) is None and kendall([1, 2, 3], [4, 4, 4]) is None


@pytest.mark.parametrize("steps", [4, 1000])
def test_the_interval_of_a_mean_is_that_of_scipys_bootstrap(steps):
    values = np.random.default_rng(1).integers(0, steps, size=400) / steps  # few values, or nearly all unlike
    found = mean_interval(values.tolist())
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=2000, rng=2, batch=200)
    assert found.value == pytest.approx(values.mean())
    ends, width = (found.low, found.high), theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ends == pytest.approx(tuple(theirs.confidence_interval), abs=width * 0.05)  # both are drawn


def test_intervals_hold_the_true_mean_in_about_95_of_100_cases():
    generator = np.random.default_rng(0)
    samples = generator.binomial(10, 0.7, size=(100, 60))
    found = [mean_interval(sample.tolist()) for sample in samples]
    share = np.mean([bool(one.low <= 7.0 <= one.high) for one in found])  # type: ignore[operator]  # both are there
    assert 0.90 <= share <= 0.99


def width(interval: Interval) -> float:
    assert interval.low is not None and interval.high is not None
    return interval.high - interval.low


def test_values_of_one_cluster_are_drawn_together():
    # Four copies of each value say no more than one copy.
    values = [1.0, 5.0, 7.0, 8.0, 2.0, 9.0]
    alone = mean_interval(values)
    copied = mean_interval(values * 4, [0, 1, 2, 3, 4, 5] * 4)
    assert (copied.value, copied.low, copied.high, copied.n) == (alone.value, alone.low, alone.high, 24)
    naive = mean_interval(values * 4)
    assert width(naive) < 0.6 * width(copied)


def test_one_value_or_one_cluster_has_no_interval():
    assert (mean_interval([3.0]).low, mean_interval([3.0]).high) == (None, None)
    assert mean_interval([3.0, 4.0], ["a", "a"]).low is None
    assert not mean_interval([3.0]).excludes_zero


def test_columns_that_are_drawn_together_have_the_intervals_that_each_has_alone():
    generator = np.random.default_rng(3)
    clusters = generator.integers(0, 40, size=200).tolist()
    whole, sparse = generator.random((2, 200))
    columns = {
        "whole": whole.tolist(),
        "sparse": [value if cluster % 3 else None for value, cluster in zip(sparse, clusters, strict=True)],
        "one cluster": [value if cluster == 5 else None for value, cluster in zip(whole, clusters, strict=True)],
        "nothing": [None] * 200,
    }
    found = mean_intervals(columns, clusters)
    assert set(found) == {"whole", "sparse", "one cluster"}
    for name in ("whole", "sparse"):
        there = [(value, cluster) for value, cluster in zip(columns[name], clusters, strict=True) if value is not None]
        alone = mean_interval([value for value, _ in there], [cluster for _, cluster in there])
        assert found[name].value == pytest.approx(alone.value) and found[name].n == alone.n
        ends = (found[name].low, found[name].high)
        assert ends == pytest.approx((alone.low, alone.high), abs=0.05 * width(alone))  # both are drawn
    assert found["one cluster"].low is None and found["one cluster"].n == clusters.count(5)


def test_groups_count_alike_whatever_their_size():
    found = mean_of_means({"a": [1.0, 3.0], "b": [5.0] * 9 + [7.0]})
    assert found.value == pytest.approx((2.0 + 5.2) / 2) and found.n == 12
    assert found.low == pytest.approx(3.05, abs=0.06) and found.high == pytest.approx(4.25, abs=0.06)
    assert mean_of_means({"a": [1.0], "b": [5.0, 6.0]}).low is None


def test_groups_are_drawn_independently():
    # Drawn alike, two opposite groups would always mean 0.
    found = mean_of_means({"a": [1.0, 0.0, 5.0], "b": [-1.0, 0.0, -5.0]})
    assert found.value == 0 and found.low is not None and found.low < -0.5


def test_editors_are_compared_on_the_items_that_both_have():
    first = {"a": 5.0, "b": 6.0, "c": 7.0, "only first": 0.0}
    second = {"c": 6.0, "a": 3.0, "b": 6.0, "only second": 9.0}
    found = compare(first, second)
    assert found is not None
    assert (found.wins, found.ties, found.losses, found.difference.n) == (2, 1, 0, 3)
    assert found.difference.value == 1.0
    assert found.p_value == pytest.approx(0.5)  # of 8 signs of (2, 0, 1), the sums 3, 3, -3 and -3
    assert compare({"a": 1.0}, {"b": 1.0}) is None


def test_a_real_difference_is_seen_and_none_is_not_claimed():
    generator = np.random.default_rng(5)
    base = generator.normal(size=60)
    first = {str(index): value for index, value in enumerate(base)}
    better = {str(index): value + 1 + generator.normal() for index, value in enumerate(base)}
    shuffled = {str(index): value + generator.normal() for index, value in enumerate(base)}
    told = compare(better, first)
    assert told is not None and told.words == "first is better" and told.p_value < 0.001
    told = compare(first, better)
    assert told is not None and told.words == "second is better"
    told = compare(shuffled, first)
    assert told is not None and told.words == "no difference shown" and told.p_value > 0.05


def test_holm_multiplies_step_by_step_and_never_reverses_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []

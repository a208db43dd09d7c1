"""How sure a number is: intervals, paired comparisons, and how far raters agree (spec "Statistics").

Pure functions of numbers. Randomness is seeded, so the same numbers give the same interval.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from varedit.errors import MissingExtra

Floats = NDArray[np.float64]
Level = Literal["nominal", "ordinal", "interval"]
CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 0
_BATCH = 500  # resamples at a time, which bounds memory
_MANY_KINDS = 300  # from here on single draws are faster than multinomial ones


@dataclass(frozen=True)
class Interval:
    """A number with the ends of its interval at `CONFIDENCE`.

    Attributes:
        n: values behind it.
        low, high: None where there is too little to resample.
    """

    value: float
    low: float | None
    high: float | None
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference of nothing lies outside; never without an interval."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Comparison:
    """Two editors on the same items.

    Attributes:
        difference: mean of first minus second.
        p_value: of the sign-flip permutation test, two-sided, against no difference.
        wins, ties, losses: items on which the first is better, as good, worse.
    """

    difference: Interval
    p_value: float
    wins: int
    ties: int
    losses: int

    @property
    def words(self) -> str:
        """What may be said of it."""
        if not self.difference.excludes_zero:
            return "no difference shown"
        return "first is better" if self.difference.value > 0 else "second is better"


def mean_interval(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Interval:
    """Mean of values with a percentile bootstrap interval (Efron, 1979).

    Args:
        values: at least one.
        clusters: what each value belongs to, such as its source picture. Whole clusters are drawn, as values of one
            are not independent. None: each value is its own.
    """
    assert values, "there is no value"
    sums, counts = _by_cluster(values, clusters)
    value = math.fsum(values) / len(values)
    if len(sums) < 2:
        return Interval(value, None, None, len(values))
    low, high = _percentiles(_resampled_means(sums, counts, np.random.default_rng(SEED)))
    return Interval(value, low, high, len(values))


def mean_intervals(columns: Mapping[str, Sequence[float | None]], clusters: Sequence[Hashable]) -> dict[str, Interval]:
    """`mean_interval` of many columns at once: every draw of items serves all of them, so that it is as fast as one.

    Args:
        columns: by name, a value of each item; None where an item has none.
        clusters: of the items, as for `mean_interval`.

    Returns: by name; columns without any value are left out.
    """
    filled = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    kinds = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    places = [kinds[cluster] for cluster in clusters]
    sums, counts = np.zeros((2, len(kinds), len(filled)))  # (clusters, columns)
    for column, values in enumerate(filled.values()):
        for place, value in zip(places, values, strict=True):
            if value is not None:
                sums[place, column] += value
                counts[place, column] += 1
    means = _resampled_columns(sums, counts, np.random.default_rng(SEED))
    found = {}
    for column, (name, values) in enumerate(filled.items()):
        there = [value for value in values if value is not None]
        ends: tuple[float | None, float | None] = (None, None)
        if np.count_nonzero(counts[:, column]) > 1:
            ends = _percentiles(means[~np.isnan(means[:, column]), column])
        found[name] = Interval(math.fsum(there) / len(there), *ends, len(there))
    return found


def mean_of_means(groups: Mapping[str, Sequence[float]]) -> Interval:
    """Plain mean of the groups' means; values are drawn anew within each group."""
    value = math.fsum(math.fsum(values) / len(values) for values in groups.values()) / len(groups)
    n = sum(map(len, groups.values()))
    if min(map(len, groups.values())) < 2:
        return Interval(value, None, None, n)
    seeds = np.random.SeedSequence(SEED).spawn(len(groups))  # or all groups would be drawn alike
    drawn = [
        _resampled_means(*_by_cluster(values, None), np.random.default_rng(seed))
        for values, seed in zip(groups.values(), seeds, strict=True)
    ]
    return Interval(value, *_percentiles(np.mean(drawn, axis=0)), n)


def compare(
    first: Mapping[str, float], second: Mapping[str, float], clusters: Mapping[str, Hashable] | None = None
) -> Comparison | None:
    """Compare two editors on the items that both have; None if there is no such item.

    Args:
        first, second: values by item.
        clusters: by item, as for `mean_interval`.
    """
    common = [name for name in first if name in second]
    if not common:
        return None
    differences = [first[name] - second[name] for name in common]
    groups = None if clusters is None else [clusters[name] for name in common]
    return Comparison(
        difference=mean_interval(differences, groups),
        p_value=_sign_flip_p(_by_cluster(differences, groups)[0]),
        wins=sum(1 for difference in differences if difference > 0),
        ties=sum(1 for difference in differences if difference == 0),
        losses=sum(1 for difference in differences if difference < 0),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p values of several comparisons (Holm, 1979): the share of families with any false claim stays p."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Rank correlation; None where one side is constant or there are fewer than two pairs."""
    if min(len(set(first)), len(set(second))) < 2:
        return None
    return float(_scipy_stats().spearmanr(first, second).statistic)


def kendall(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b; None as for `spearman`."""
    if min(len(set(first)), len(set(second))) < 2:
        return None
    return float(_scipy_stats().kendalltau(first, second).statistic)


def cohen_kappa(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Quadratically weighted kappa of two raters of the same units (Cohen, 1968).

    Returns: 1 for full agreement, 0 for that of chance; None where both gave one and the same rating to everything.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    observed = np.mean((a - b) ** 2)
    expected = np.mean((a[:, None] - b[None, :]) ** 2)
    return None if expected == 0 else float(1 - observed / expected)


def raw_agreement(first: Sequence[float], second: Sequence[float], *, within: float = 0.0) -> float:
    """Share of units on which two raters differ by no more than ``within``."""
    return float(np.mean(np.abs(np.asarray(first) - np.asarray(second)) <= within))


def krippendorff_alpha(ratings: Floats, level: Level = "interval") -> float | None:
    """Krippendorff's alpha, 1 - D_o / D_e (Content Analysis, 2004, section 11.3).

    Args:
        ratings: (raters, units), NaN where a rater did not rate a unit.
        level: what a difference of two ratings means.

    Returns: 1 for full agreement, 0 for that of chance; None if no unit has two ratings, or all are the same.
    """
    return _alpha_of_counts(*_rating_counts(ratings), level)


def alpha_interval(ratings: Floats, level: Level = "interval", resamples: int = 1000) -> Interval | None:
    """Alpha with a percentile bootstrap interval over units; None where there is no alpha."""
    counts, values = _rating_counts(ratings)
    alpha = _alpha_of_counts(counts, values, level)
    if alpha is None:
        return None
    if len(counts) < 2:
        return Interval(alpha, None, None, len(counts))
    generator = np.random.default_rng(SEED)
    drawn = (counts[generator.integers(len(counts), size=len(counts))] for _ in range(resamples))
    found = [value for rows in drawn if (value := _alpha_of_counts(rows, values, level)) is not None]
    return Interval(alpha, *_percentiles(np.array(found)), len(counts))


def _rating_counts(ratings: Floats) -> tuple[Floats, Floats]:
    """How often each unit with two ratings (row) was given each value (column), and the values."""
    values = np.unique(ratings[~np.isnan(ratings)])
    counts = (ratings[:, :, None] == values).sum(0).astype(np.float64)
    return counts[counts.sum(1) >= 2], values


def _alpha_of_counts(counts: Floats, values: Floats, level: Level) -> float | None:
    """Alpha of what `_rating_counts` gives."""
    if not len(counts):
        return None
    per_unit = counts.sum(1, keepdims=True)
    coincidences = (counts / (per_unit - 1)).T @ counts  # (values, values), each unit's pairs weigh 1 / (m - 1)
    coincidences -= np.diag((counts / (per_unit - 1)).sum(0))  # a rating makes no pair with itself
    totals = coincidences.sum(0)
    apart = _squared_differences(values, totals, level)
    expected = totals @ apart @ totals / (totals.sum() - 1)
    return None if expected == 0 else float(1 - (coincidences * apart).sum() / expected)


def _squared_differences(values: Floats, totals: Floats, level: Level) -> Floats:
    """(values, values): how far two ratings are apart, squared."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        return np.asarray(np.subtract.outer(values, values) ** 2)
    middles = np.cumsum(totals) - totals / 2  # a value's mean rank, so that a difference counts the ratings between
    return np.asarray(np.subtract.outer(middles, middles) ** 2)


def _by_cluster(values: Sequence[float], clusters: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Sum and number of the values of each cluster."""
    groups: defaultdict[Hashable, list[float]] = defaultdict(list)
    for name, value in zip(range(len(values)) if clusters is None else clusters, values, strict=True):
        groups[name].append(value)
    sums = np.array([math.fsum(group) for group in groups.values()])
    return sums, np.array([len(group) for group in groups.values()], dtype=np.float64)


def _resampled_means(sums: Floats, counts: Floats, generator: np.random.Generator) -> Floats:
    """(RESAMPLES,) means of as many clusters, drawn with replacement.

    Scores have few values: equal clusters are then drawn together, as a multinomial number of each kind, which is the
    same and some hundred times faster than `scipy.stats.bootstrap`.
    """
    clusters = np.stack((sums, counts), axis=1)  # (clusters, 2)
    kinds, numbers = np.unique(clusters, axis=0, return_counts=True)
    means = []
    for _ in range(RESAMPLES // _BATCH):
        if len(kinds) <= _MANY_KINDS:
            drawn = generator.multinomial(len(sums), numbers / len(sums), size=_BATCH) @ kinds  # (_BATCH, 2)
        else:
            drawn = clusters[generator.integers(len(sums), size=(_BATCH, len(sums)))].sum(1)
        means.append(drawn[:, 0] / drawn[:, 1])
    return np.concatenate(means)


def _resampled_columns(sums: Floats, counts: Floats, generator: np.random.Generator) -> Floats:
    """(RESAMPLES, columns) means of as many clusters, drawn with replacement; NaN where no drawn one has a value."""
    clusters, means = len(sums), []
    rows = np.arange(_BATCH)[:, None] * clusters
    for _ in range(RESAMPLES // _BATCH):
        drawn = generator.integers(clusters, size=(_BATCH, clusters)) + rows
        times = np.bincount(drawn.ravel(), minlength=_BATCH * clusters).reshape(_BATCH, clusters).astype(np.float64)
        with np.errstate(invalid="ignore"):  # 0 / 0
            means.append((times @ sums) / (times @ counts))
    return np.concatenate(means)


def _percentiles(resampled: Floats) -> tuple[float, float]:
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _sign_flip_p(sums: Floats) -> float:
    """How often random signs give a sum as far from 0 as the observed one; exact where there are few."""
    if len(sums) < 2:
        return 1.0

    def total(values: Floats, axis: int) -> Floats:
        return np.asarray(values.sum(axis))

    found = _scipy_stats().permutation_test(
        (sums,), total, permutation_type="samples", vectorized=True, n_resamples=RESAMPLES - 1, batch=_BATCH, axis=-1,
        rng=np.random.default_rng(SEED),
    )  # fmt: skip
    return float(found.pvalue)


def _scipy_stats() -> Any:
    try:
        import scipy.stats
    except ImportError as error:
        raise MissingExtra("statistics", "eval") from error
    return scipy.stats

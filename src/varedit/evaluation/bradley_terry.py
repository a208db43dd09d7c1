"""How strong editors are, from votes on pairs of their results (R. A. Bradley, M. E. Terry, 1952; spec "Human study").

A pure function of votes. The chance that i is preferred to j is 1 / (1 + exp(b_j - b_i)); a tie counts as half a vote
for either. Intervals are a bootstrap over items, as votes on one item are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from varedit.evaluation.statistics import CONFIDENCE, SEED, Interval

Floats = NDArray[np.float64]

RIDGE = 1e-2  # holds strengths together where an editor wins, or loses, every vote
RESAMPLES = 1000
_MAX_STEP = 1.0  # of Newton's method, in units of strength
_MAX_STEPS = 200
_EXACT = 1e-10


@dataclass(frozen=True)
class Vote:
    """One answer.

    Attributes:
        item: what was edited; votes on it are drawn together.
        left, right: names of the editors that were compared.
        left_score: 1 if the left one was preferred, 0 if the right one, 0.5 for a tie.
    """

    item: str
    left: str
    right: str
    left_score: float


@dataclass(frozen=True)
class Ranking:
    """Editors by strength, strongest first.

    Attributes:
        strengths: the b of each editor, of mean 0; ``n`` is the number of votes on it.
        wins: for each pair (winner, loser), votes, with half of the ties.
    """

    strengths: dict[str, Interval]
    wins: dict[tuple[str, str], float]

    def chance(self, first: str, second: str) -> float:
        """How likely the first editor is preferred to the second."""
        return float(1 / (1 + np.exp(self.strengths[second].value - self.strengths[first].value)))


def bradley_terry(votes: Sequence[Vote]) -> Ranking:
    """Rank editors by votes, at least one; intervals are None where there is one item only."""
    names = sorted({name for vote in votes for name in (vote.left, vote.right)})
    by_item = _wins_by_item(votes, names)
    total = by_item.sum(0)
    strengths = fitted_strengths(total[None])[0]
    lows, highs = _ends(by_item)
    played = total.sum(0) + total.sum(1)
    order = np.argsort(-strengths, kind="stable")
    return Ranking(
        strengths={names[i]: Interval(float(strengths[i]), lows[i], highs[i], round(played[i])) for i in order},
        wins={(names[i], names[j]): float(total[i, j]) for i in order for j in order if i != j},
    )


def fitted_strengths(wins: Floats) -> Floats:
    """(R, K) strengths of mean 0 that make R sets of wins (R, K, K), winner by loser, likeliest, under a small ridge.

    Newton's method on a concave function, with short steps so that it cannot overshoot for good.
    """
    played, count = wins + wins.transpose(0, 2, 1), wins.shape[-1]
    strengths = np.zeros(wins.shape[:2])
    for _ in range(_MAX_STEPS):
        chances = 1 / (1 + np.exp(strengths[:, None, :] - strengths[:, :, None]))  # of row against column
        slope = (wins - played * chances).sum(2) - RIDGE * strengths
        spread = played * chances * (1 - chances)
        curvature = np.eye(count) * (spread.sum(2) + RIDGE)[..., None] - spread
        step = np.linalg.solve(curvature, slope[..., None])[..., 0].clip(-_MAX_STEP, _MAX_STEP)
        strengths += step
        if np.abs(step).max() < _EXACT:
            break
    centred: Floats = strengths - strengths.mean(1, keepdims=True)
    return centred


def _wins_by_item(votes: Sequence[Vote], names: Sequence[str]) -> Floats:
    """(items, K, K), winner by loser."""
    items = {item: row for row, item in enumerate(dict.fromkeys(vote.item for vote in votes))}
    places = {name: place for place, name in enumerate(names)}
    wins = np.zeros((len(items), len(names), len(names)))
    for vote in votes:
        row, left, right = items[vote.item], places[vote.left], places[vote.right]
        wins[row, left, right] += vote.left_score
        wins[row, right, left] += 1 - vote.left_score
    return wins


def _ends(by_item: Floats) -> tuple[list[float | None], list[float | None]]:
    """Ends of the interval of each editor's strength; None where there is nothing to resample."""
    count, editors = by_item.shape[:2]
    if count < 2:
        return [None] * editors, [None] * editors
    draws = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    strengths = fitted_strengths(np.tensordot(draws.astype(np.float64), by_item, 1))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(strengths, (tail, 1 - tail), axis=0)
    return low.tolist(), high.tolist()

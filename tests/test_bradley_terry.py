"""Strengths from votes: by hand, against a general optimiser, and from simulated voters whose strengths are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from varedit.evaluation.bradley_terry import RIDGE, Vote, bradley_terry, fitted_strengths


def simulated(strengths: dict[str, float], items: int, seed: int) -> list[Vote]:
    random = np.random.default_rng(seed)
    votes = []
    for item, (left, right) in itertools.product(range(items), itertools.permutations(strengths, 2)):
        chance = 1 / (1 + math.exp(strengths[right] - strengths[left]))
        votes.append(Vote(str(item), left, right, float(random.random() < chance)))
    return votes


def test_two_editors_by_hand():
    """Three wins to one are a strength difference of log 3, but for the ridge, which pulls it together a little."""
    votes = [Vote(str(number), "a", "b", float(number % 4 != 0)) for number in range(400)]
    found = bradley_terry(votes)
    assert list(found.strengths) == ["a", "b"]
    assert found.strengths["a"].value == pytest.approx(math.log(3) / 2, abs=2e-4)
    assert found.strengths["a"].value == -found.strengths["b"].value
    assert found.chance("a", "b") == pytest.approx(0.75, abs=1e-4)
    assert found.wins == {("a", "b"): 300, ("b", "a"): 100}
    assert found.strengths["a"].n == 400


def test_the_fit_is_where_a_general_optimiser_ends():
    from scipy.optimize import minimize

    wins = np.array([[0, 5, 9, 0], [2, 0, 4, 1], [1, 3.5, 0, 0], [0, 6, 7, 0]])  # two never met; one loses to nobody

    def loss(b: np.ndarray) -> float:
        chances = 1 / (1 + np.exp(b[None] - b[:, None]))
        return float(-(wins * np.log(chances)).sum() + RIDGE / 2 * (b**2).sum())

    expected = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-7}).x
    np.testing.assert_allclose(fitted_strengths(wins[None])[0], expected - expected.mean(), atol=1e-4)


def test_known_strengths_lie_within_their_intervals():
    truth = {"weak": -1.0, "fair": 0.2, "strong": 0.8}
    found = bradley_terry(simulated(truth, 200, seed=3))
    assert list(found.strengths) == ["strong", "fair", "weak"]
    for name, strength in truth.items():
        each = found.strengths[name]
        assert each.low is not None and each.high is not None
        assert each.low < strength < each.high and each.high - each.low < 0.5


def test_intervals_hold_the_truth_about_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr("varedit.evaluation.bradley_terry.RESAMPLES", 200)
    held = 0
    for seed in range(60):
        each = bradley_terry(simulated({"a": 0.4, "b": -0.4}, 60, seed)).strengths["a"]
        held += each.low is not None and each.high is not None and each.low <= 0.4 <= each.high
    assert held >= 51  # of 60, at 95 %: fewer come in one case of a thousand


def test_ties_are_half_a_vote_for_either_and_sides_do_not_matter():
    votes = [Vote("1", "a", "b", 1.0), Vote("2", "a", "b", 0.5), Vote("3", "c", "a", 0.0)]
    turned = [Vote(vote.item, vote.right, vote.left, 1 - vote.left_score) for vote in votes]
    found = bradley_terry(votes)
    assert found == bradley_terry(turned)
    assert found.wins["a", "b"] == 1.5 and found.wins["b", "a"] == 0.5 and found.wins["b", "c"] == 0


def test_an_editor_that_always_wins_has_a_finite_strength():
    strengths = bradley_terry([Vote(str(number), "a", "b", 1.0) for number in range(50)]).strengths
    assert 2 < strengths["a"].value < 10


def test_votes_on_one_item_make_no_interval_and_repeated_raters_do_not_narrow_it():
    assert bradley_terry([Vote("1", "a", "b", 1.0)] * 5).strengths["a"].low is None
    votes = simulated({"a": 0.5, "b": -0.5}, 40, seed=1)
    once, thrice = (bradley_terry(votes * count).strengths["a"] for count in (1, 3))
    assert once.low is not None and once.high is not None and thrice.low is not None and thrice.high is not None
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.05)

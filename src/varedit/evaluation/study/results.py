"""What a study found: who is stronger by each question, how far raters can be trusted, and if a judge sees the same."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from varedit.errors import UsageError
from varedit.evaluation.bradley_terry import Ranking, Vote, bradley_terry
from varedit.evaluation.statistics import Interval, alpha_interval
from varedit.evaluation.study.plan import LEFT_SCORES, QUESTIONS, SOURCE
from varedit.evaluation.study.store import Answer

LEAST_CHECKS = 0.8  # share of attention checks that a rater has to pass
LEAST_SECONDS = 3.0  # median of a trial
_CHECKED = ("preservation", "overall")  # on these a ruined source is worse, whatever was asked for


@dataclass(frozen=True, kw_only=True)
class RaterReport:
    """How one rater did.

    Attributes:
        trials: with an answer to every question, checks and repeats included.
        checks, passed: attention checks that were answered, and answered right.
        consistency: share of answers to repeated pairs that are the earlier ones; None before there is one.
        median_seconds: of a trial; None before there is one.
        reasons: why the rater is left out by the rule; empty if they are not.
    """

    code: str
    trials: int
    checks: int
    passed: int
    consistency: float | None
    median_seconds: float | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class QuestionResult:
    """The answers to one question.

    Attributes:
        choices: how often each was given.
        alpha: Krippendorff's, between raters, over comparisons that two or more of them saw; None without such.
    """

    ranking: Ranking
    choices: Mapping[str, int]
    alpha: Interval | None

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        wins: dict[str, dict[str, float]] = defaultdict(dict)
        for (winner, loser), count in self.ranking.wins.items():
            wins[winner][loser] = count
        return {
            "strengths": {name: asdict(strength) for name, strength in self.ranking.strengths.items()},
            "wins": wins,
            "choices": dict(self.choices),
            "alpha": None if self.alpha is None else asdict(self.alpha),
        }


@dataclass(frozen=True)
class StudyResults:
    """Everything; questions without a vote are left out."""

    raters: Sequence[RaterReport]
    questions: Mapping[str, QuestionResult]

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "raters": [asdict(rater) for rater in self.raters],
            "questions": {name: result.to_json() for name, result in self.questions.items()},
        }


def study_results(answers: Sequence[Answer], *, keep_all: bool = False) -> StudyResults:
    """Analyse answers.

    Args:
        keep_all: count those too whom the rule of `LEAST_CHECKS` and `LEAST_SECONDS` leaves out.

    Raises: UsageError where no answer is left to count.
    """
    raters = rater_reports(answers)
    counted = counted_answers(answers, raters, keep_all=keep_all)
    if not counted:
        left_out = f"{len(raters)} raters so far, all left out by the rule" if raters else "no rater has come yet"
        raise UsageError(f"there is no answer to count: {left_out}. --all-raters counts everybody.")
    found = {}
    for question in QUESTIONS:
        own = [answer for answer in counted if answer.question == question]
        if own:
            found[question] = QuestionResult(
                ranking=bradley_terry([_vote(answer) for answer in own]),
                choices=Counter(answer.choice for answer in own),
                alpha=_between_raters(own),
            )
    return StudyResults(raters, found)


def rater_reports(answers: Sequence[Answer]) -> list[RaterReport]:
    """How each rater did, in the order of the answers."""
    by_rater: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_rater[answer.code].append(answer)
    return [_report(code, own) for code, own in by_rater.items()]


def counted_answers(answers: Sequence[Answer], raters: Sequence[RaterReport], *, keep_all: bool) -> list[Answer]:
    """The answers about pairs, without those of raters whom the rule leaves out."""
    left_out = set() if keep_all else {rater.code for rater in raters if rater.reasons}
    return [answer for answer in answers if answer.trial.kind == "pair" and answer.code not in left_out]


def first_score(answer: Answer) -> tuple[tuple[str, str, str], float]:
    """A comparison (item, first editor, second editor), whatever the sides were, and 1, 0.5 or 0 for the first one."""
    trial, score = answer.trial, LEFT_SCORES[answer.choice]
    if trial.left < trial.right:
        return (trial.item, trial.left, trial.right), score
    return (trial.item, trial.right, trial.left), 1 - score


def _report(code: str, answers: Sequence[Answer]) -> RaterReport:
    trials: dict[int, dict[str, Answer]] = defaultdict(dict)
    for answer in answers:
        trials[answer.number][answer.question] = answer
    whole = [trial for trial in trials.values() if len(trial) == len(QUESTIONS)]
    checks = [trial for trial in whole if trial["overall"].trial.kind == "check"]
    passed = sum(all(_is_right(trial[question]) for question in _CHECKED) for trial in checks)
    median = statistics.median(max(answer.seconds for answer in trial.values()) for trial in whole) if whole else None
    reasons = []
    if checks and passed < LEAST_CHECKS * len(checks):
        reasons.append(f"passed {passed} of {len(checks)} checks")
    if median is not None and median < LEAST_SECONDS:
        reasons.append(f"took {median:.1f} s a trial")
    return RaterReport(
        code=code,
        trials=len(whole),
        checks=len(checks),
        passed=passed,
        consistency=_consistency(answers),
        median_seconds=median,
        reasons=tuple(reasons),
    )


def _is_right(answer: Answer) -> bool:
    return answer.choice == ("left" if answer.trial.left == SOURCE else "right")


def _consistency(answers: Sequence[Answer]) -> float | None:
    kinds: dict[str, dict[Any, float]] = {"pair": {}, "repeat": {}, "check": {}}
    for answer in answers:
        comparison, score = first_score(answer)
        kinds[answer.trial.kind][comparison, answer.question] = score
    both = [(kinds["pair"][asked], score) for asked, score in kinds["repeat"].items() if asked in kinds["pair"]]
    return sum(before == after for before, after in both) / len(both) if both else None


def _vote(answer: Answer) -> Vote:
    return Vote(answer.trial.item, answer.trial.left, answer.trial.right, LEFT_SCORES[answer.choice])


def _between_raters(answers: Sequence[Answer]) -> Interval | None:
    given = [(answer.code, *first_score(answer)) for answer in answers]
    codes = {code: row for row, code in enumerate(dict.fromkeys(code for code, _, _ in given))}
    units = {unit: column for column, unit in enumerate(dict.fromkeys(unit for _, unit, _ in given))}
    ratings = np.full((len(codes), len(units)), math.nan)
    for code, unit, score in given:
        ratings[codes[code], units[unit]] = score
    return alpha_interval(ratings, "ordinal")

"""Whether a judge prefers what people prefer (spec "Is the judge any good", "Human study").

A judge scores each edit alone. Of two editors' edits of one item it prefers the one with the higher score, by more than
`TIE`; people prefer what most of them chose. Both become ratings of comparisons, which agree or do not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from varedit.errors import UsageError
from varedit.evaluation.judges.agreement import PairAgreement, Ratings, agreement
from varedit.evaluation.statistics import Interval
from varedit.evaluation.study.results import first_score
from varedit.evaluation.study.store import Answer

TIE = 0.5  # points of a judge's scale
SCORES = {  # of all schemes, that stand for what a question asks; the first one that a judge has counts
    "instruction": ("success", "consistency", "score"),
    "preservation": ("over_editing", "consistency", "score"),
    "overall": ("balance", "overall", "score"),
}
Comparisons = Mapping[tuple[str, str, str], float]  # (item, first, second): 1 for the first, 0 for the second


@dataclass(frozen=True, kw_only=True)
class JudgeAgreement:
    """A judge and people, on one question.

    Attributes:
        decided: comparisons on which most people chose a side and the judge did too.
        right: those of them on which it is the same side.
        abstained: comparisons that people decided and the judge did not.
        alpha, pair: over all comparisons that both have, as 0, 0.5 and 1 of the judge and the mean of people.
    """

    question: str
    judge: str
    score: str
    decided: int
    right: int
    abstained: int
    alpha: Interval | None
    pair: PairAgreement

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def judge_agreement(answers: Sequence[Answer], folders: Mapping[str, Path], file: str) -> list[JudgeAgreement]:
    """Hold one judge against people, question by question.

    Args:
        answers: about pairs, of the raters that count.
        folders: of each editor's run.
        file: the name of the judge's file, which every folder has.

    Raises: InputMissing; UsageError where the judge has no score of a comparison that people made.
    """
    files = {editor: Ratings.read(folder / file) for editor, folder in folders.items()}
    found = []
    for question, names in SCORES.items():
        score = next((name for name in names if all(name in own.scores for own in files.values())), None)
        people = _people(answers, question)
        if score is None or not people:
            continue
        judge = _judge(people, {editor: own.scores[score] for editor, own in files.items()})
        raters = [_ratings(name, question, own) for name, own in (("people", people), (file, judge))]
        agreed = agreement(raters)
        sides = [(people[each], side) for each, side in judge.items() if people[each] != 0.5]
        decided = [(theirs > 0.5, side > 0.5) for theirs, side in sides if side != 0.5]
        found.append(
            JudgeAgreement(
                question=question,
                judge=file,
                score=score,
                decided=len(decided),
                right=sum(theirs == its for theirs, its in decided),
                abstained=len(sides) - len(decided),
                alpha=agreed.alphas[question],
                pair=agreed.pairs[0],
            )
        )
    if not found:
        raise UsageError(f"{file} has none of the scores that the study's questions stand for. Give another --judge.")
    return found


def _people(answers: Sequence[Answer], question: str) -> Comparisons:
    """Mean of all raters."""
    given: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for answer in answers:
        if answer.question == question:
            comparison, score = first_score(answer)
            given[comparison].append(score)
    return {comparison: sum(scores) / len(scores) for comparison, scores in given.items()}


def _judge(comparisons: Comparisons, scores: Mapping[str, Mapping[str, float]]) -> Comparisons:
    """The judge's side of the comparisons of which it has both scores."""
    sides = {}
    for item, first, second in comparisons:
        if item in scores[first] and item in scores[second]:
            difference = scores[first][item] - scores[second][item]
            sides[item, first, second] = 0.5 if abs(difference) <= TIE else float(difference > 0)
    return sides


def _ratings(name: str, question: str, comparisons: Comparisons) -> Ratings:
    scores = {" / ".join(comparison): score for comparison, score in comparisons.items()}
    return Ratings(name, None, {question: scores}, {each: each for each in scores})

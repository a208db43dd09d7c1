"""How far judges agree with each other and with people, and which editor one judge likes better.

Reads the files of `varedit eval judge`, and files of people's scores of the same form:
{"items": {"ID": {"scores": {"success": 8, ...}}, ...}}.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from varedit.errors import InputMissing, UsageError
from varedit.evaluation.statistics import (
    Comparison,
    Interval,
    alpha_interval,
    cohen_kappa,
    compare,
    holm,
    kendall,
    raw_agreement,
    spearman,
)

WITHIN = 1.0  # steps of a scale that count as agreement in practice


@dataclass(frozen=True)
class Ratings:
    """One rater's scores of one editor's results.

    Attributes:
        name: of the file.
        judge: who judged and how; None of people.
        scores: by score, then by item. Items without a score are left out.
        sources: by item, what its source picture is; the item itself where the file does not tell.
    """

    name: str
    judge: Mapping[str, Any] | None
    scores: Mapping[str, Mapping[str, float]]
    sources: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file. Raises InputMissing."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            scores: dict[str, dict[str, float]] = {}
            for item, row in values["items"].items():
                for name, value in (row["scores"] or {}).items():
                    scores.setdefault(name, {})[item] = _finite(value)
            sources = {item: str(row.get("source") or item) for item, row in values["items"].items()}
            return cls(path.stem, values.get("judge"), scores, sources)
        except OSError as error:
            raise InputMissing(f"{path} cannot be read: {error.strerror or error}.") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            form = '{"items": {"ID": {"scores": {"success": 8}}}}'
            raise InputMissing(f"{path} holds no scores; it needs the form {form}.") from error


@dataclass(frozen=True)
class PairAgreement:
    """Two raters on the items that both scored.

    Attributes:
        first, second: positions among the raters.
        equal, near: share of items with the same score, and with scores no more than `WITHIN` apart.
        difference: mean of first minus second; a judge may be lenient and rank well.
        spearman, kendall, kappa: None where one rater gave one score to everything.
    """

    score: str
    first: int
    second: int
    n: int
    equal: float
    near: float
    difference: float
    spearman: float | None
    kendall: float | None
    kappa: float | None


@dataclass(frozen=True)
class Agreement:
    """All raters on all scores that they share.

    Attributes:
        alphas: Krippendorff's, by score, over all raters; None where there is none.
    """

    alphas: Mapping[str, Interval | None]
    pairs: Sequence[PairAgreement]

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        alphas = {score: None if alpha is None else asdict(alpha) for score, alpha in self.alphas.items()}
        return {"alphas": alphas, "pairs": [asdict(pair) for pair in self.pairs]}


@dataclass(frozen=True)
class EditorComparison:
    """The first editor against another one, by one judge.

    Attributes:
        second: position of the other one among the files.
        adjusted_p: the p value after Holm's correction over all comparisons of the table.
    """

    score: str
    second: int
    comparison: Comparison
    adjusted_p: float

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "words": self.comparison.words}


def agreement(raters: Sequence[Ratings]) -> Agreement:
    """How far raters of the same results agree. Raises UsageError where they share no score of any item."""
    shared = _shared_scores(raters)
    alphas = {score: _alpha(score, raters) for score in shared}
    pairs = [
        pair
        for score in shared
        for first, second in itertools.combinations(range(len(raters)), 2)
        if (pair := _pair(score, raters, first, second)) is not None
    ]
    if not pairs:
        raise UsageError("no two of these files have a score of the same item. Give files of the same results.")
    return Agreement(alphas, pairs)


def compare_editors(raters: Sequence[Ratings]) -> list[EditorComparison]:
    """Compare the first file's editor with each other one on the items that both have.

    Raises: UsageError where the files are of different judges, or share no item.
    """
    first = raters[0]
    for other in raters[1:]:
        if _rules(other) != _rules(first):
            raise UsageError(f"{first.name} and {other.name} are of different judges; compare within one judge.")
    found = [
        (score, index, comparison)
        for score in _shared_scores(raters)
        for index, other in enumerate(raters[1:], start=1)
        if (comparison := compare(first.scores[score], other.scores[score], first.sources)) is not None
    ]
    if not found:
        raise UsageError("these files have no judged item in common. Give files of the same benchmark.")
    adjusted = holm([comparison.p_value for _, _, comparison in found])
    return [
        EditorComparison(score, index, comparison, p)
        for (score, index, comparison), p in zip(found, adjusted, strict=True)
    ]


def _shared_scores(raters: Sequence[Ratings]) -> list[str]:
    return [name for name in raters[0].scores if all(name in rater.scores for rater in raters)]


def _alpha(score: str, raters: Sequence[Ratings]) -> Interval | None:
    items = sorted(set().union(*(rater.scores[score] for rater in raters)))
    rows = [[rater.scores[score].get(item, math.nan) for item in items] for rater in raters]
    return alpha_interval(np.array(rows))


def _pair(score: str, raters: Sequence[Ratings], first: int, second: int) -> PairAgreement | None:
    left, right = raters[first].scores[score], raters[second].scores[score]
    common = [item for item in left if item in right]
    if not common:
        return None
    a, b = [left[item] for item in common], [right[item] for item in common]
    return PairAgreement(
        score=score,
        first=first,
        second=second,
        n=len(common),
        equal=raw_agreement(a, b),
        near=raw_agreement(a, b, within=WITHIN),
        difference=math.fsum(a) / len(a) - math.fsum(b) / len(b),
        spearman=spearman(a, b),
        kendall=kendall(a, b),
        kappa=cohen_kappa(a, b),
    )


def _rules(rater: Ratings) -> tuple[Any, Any]:
    """What makes two judges one: the scheme and the model, wherever it runs. People are one judge."""
    return (None, None) if rater.judge is None else (rater.judge["scheme"], rater.judge["model"])


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no score")
    return float(value)

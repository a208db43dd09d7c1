"""From judged scenes to numbers: rates with their intervals, by family, by category and overall."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, median
from typing import Literal

from varedit.evaluation.scenes import JudgedScene
from varedit.evaluation.success import Score

Level = Literal["overall", "family", "category"]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Rate:
    """How often something held, with Wilson's score interval (E. B. Wilson, 1927) at `CONFIDENCE`."""

    successes: int
    count: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.successes / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high end. Scenes count as independent, though several may show one photograph."""
        z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
        n, p = self.count, self.share
        middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        reach = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        return max(0.0, middle - reach), min(1.0, middle + reach)


@dataclass(frozen=True)
class Summary:
    """One contestant on one group of scenes.

    Attributes:
        name: "all", a family, or a category.
        family: the family, "" overall.
        success: the headline: nearest to the target after restoring, and preserved before and after it.
        nearest: nearest to the target after restoring.
        preserved: preserved before and after restoring.
        raw_success: the same as success for the decoder's own picture, before restoring.
        target_psnr: median in dB between the restored result and the target.
        outside_count: scenes that have an outside.
        outside_raw_l1, outside_raw_psnr, outside_restored_psnr: medians over these; None where there is none.
    """

    level: Level
    name: str
    family: str
    success: Rate
    nearest: Rate
    preserved: Rate
    raw_success: Rate
    target_psnr: float
    outside_count: int
    outside_raw_l1: float | None
    outside_raw_psnr: float | None
    outside_restored_psnr: float | None

    @property
    def count(self) -> int:
        """Scenes of the group."""
        return self.success.count


def summaries(scenes: Sequence[JudgedScene], contestant: str) -> list[Summary]:
    """Overall, then each family followed by its categories, in alphabetical order. At least one scene is needed."""
    assert scenes, "no scene was judged"
    rows = [_summary("overall", "all", "", scenes, contestant)]
    for family in sorted({scene.family for scene in scenes}):
        members = [scene for scene in scenes if scene.family == family]
        rows.append(_summary("family", family, family, members, contestant))
        for category in sorted({scene.category for scene in members}):
            kind = [scene for scene in members if scene.category == category]
            rows.append(_summary("category", category, family, kind, contestant))
    return rows


def _summary(level: Level, name: str, family: str, scenes: Sequence[JudgedScene], contestant: str) -> Summary:
    scores = [scene.scores[contestant] for scene in scenes]
    outsides = [score.outside for score in scores if score.outside is not None]

    def rate(holds: Callable[[Score], bool]) -> Rate:
        return Rate(sum(holds(score) for score in scores), len(scores))

    return Summary(
        level=level,
        name=name,
        family=family,
        success=rate(lambda score: score.is_success),
        nearest=rate(lambda score: score.restored.is_target),
        preserved=rate(lambda score: score.is_preserved),
        raw_success=rate(lambda score: score.is_raw_success),
        target_psnr=median(score.target_psnr for score in scores),
        outside_count=len(outsides),
        outside_raw_l1=_median(outside.raw_l1 for outside in outsides),
        outside_raw_psnr=_median(outside.raw_psnr for outside in outsides),
        outside_restored_psnr=_median(outside.restored_psnr for outside in outsides),
    )


def _median(values: Iterable[float]) -> float | None:
    listed = list(values)
    return median(listed) if listed else None

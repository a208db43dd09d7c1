"""Who is shown what, in which order and on which side: a pure function of a seed and a rater's number.

All comparisons, each item with each pair of editors, stand in one list in which neighbours are of different items and
pairs take turns. Each rater gets the next stretch of it, and after its end it begins anew with all sides exchanged. So
however many raters come, pairs, items and sides differ by one turn at most; a rater's own order is random.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from varedit.errors import UsageError

Kind = Literal["pair", "check", "repeat"]
QUESTIONS = {
    "instruction": "Which one follows the instruction better?",
    "preservation": "Which one keeps everything else as it was?",
    "overall": "Which one is better overall?",
}
CHOICES = {"left": "Left", "right": "Right", "both good": "Both good", "both bad": "Both bad"}
LEFT_SCORES = {"left": 1.0, "right": 0.0, "both good": 0.5, "both bad": 0.5}
SOURCE, RUINED = "<source>", "<ruined>"  # in place of editors, in an attention check
CHECKS, REPEATS = 0.10, 0.12  # of a rater's pairs; about 8 and 10 % of all trials


@dataclass(frozen=True)
class Trial:
    """One comparison as a rater sees it.

    Attributes:
        kind: "check" has a known answer, the source against a ruined source; "repeat" is an earlier pair with sides
            exchanged.
        left, right: names of editors, or `SOURCE` and `RUINED`.
    """

    kind: Kind
    item: str
    left: str
    right: str


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """What a study's seed is applied to.

    Attributes:
        items: ids, in the order in which raters get them.
        pairs: comparisons of editors that a rater is asked for; checks and repeats come on top.
    """

    editors: tuple[str, ...]
    items: tuple[str, ...]
    pairs: int
    seed: int

    def __post_init__(self) -> None:
        """Raises UsageError where there is nothing to compare."""
        if len(self.editors) < 2:
            raise UsageError("a study compares at least two editors; give two folders or more.")
        if len(set(self.editors)) < len(self.editors):
            raise UsageError(f"two of the folders are called the same ({', '.join(self.editors)}). Rename one.")
        if not self.items:
            raise UsageError("the folders share no item that each has a readable result of, so there is no pair.")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(**{**values, "editors": tuple(values["editors"]), "items": tuple(values["items"])})

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)

    @property
    def matches(self) -> list[tuple[str, str]]:
        """All pairs of editors."""
        return list(itertools.combinations(self.editors, 2))

    def comparison(self, place: int) -> Trial:
        """The comparison at a place, from 0, of the endless list that raters share."""
        matches, count = self.matches, len(self.items)
        turn, place = divmod(place, count * len(matches))
        block, position = divmod(place, count)
        # Matches take turns from place to place. Where that would lead an item to the same match in another block, the
        # turns are shifted by one, which happens seldom.
        shift = block // (len(matches) // math.gcd(count, len(matches)))
        match = (place + shift) % len(matches)
        left, right = matches[match]
        if (place // len(matches) + match + turn) % 2:
            left, right = right, left
        return Trial("pair", self.items[position], left, right)

    def trials(self, rater: int) -> list[Trial]:
        """Everything that a rater, numbered from 0 in the order of coming, is shown."""
        draws = random.Random(f"{self.seed}/{rater}")
        count = min(self.pairs, len(self.items) * len(self.matches))
        trials = [self.comparison(rater * count + place) for place in range(count)]
        draws.shuffle(trials)
        again = draws.sample(trials[: count // 2], min(round(REPEATS * count), count // 2))
        for seen in again:
            exchanged = Trial("repeat", seen.item, seen.right, seen.left)
            trials.insert(draws.randint(count // 2 + 1, len(trials)), exchanged)
        for number, item in enumerate(draws.sample(self.items, min(max(1, round(CHECKS * count)), len(self.items)))):
            sides = (SOURCE, RUINED) if (number + rater) % 2 else (RUINED, SOURCE)
            trials.insert(draws.randint(0, len(trials)), Trial("check", item, *sides))
        return trials

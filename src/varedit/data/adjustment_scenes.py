"""Scenes of photo adjustments: one for the whole picture, one for a part of it, or two in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from varedit.data.adjustments import ALL_ADJUSTMENTS, PIXELATE, UNGRADED, Adjustment, Bytes, Kind, Strength, to_bytes
from varedit.data.crops import PhotographCrops, mean_change
from varedit.data.draws import one_of, shuffled
from varedit.data.language import Phrasing
from varedit.data.phrases import instruction, local_instruction, pair_instruction
from varedit.data.places import REGIONS, Region, region_mask
from varedit.data.scene import Scene, distinct

LOCAL_SHARE = 0.28  # of the scenes; those that are neither local nor pairs adjust the whole picture
PAIR_SHARE = 0.14  # of the scenes that are scored
NUM_WRONG = 10

# Mean change per channel, in bytes, that an instruction must make: "darker" says nothing about a black crop, nor
# "black and white" about a grey one. Crops are drawn anew until the change is large enough.
SMALLEST_CHANGE = 3.0
SMALLEST_LOCAL_CHANGE = 1.2
CROP_ATTEMPTS = 8

_KINDS: tuple[Kind, ...] = get_args(Kind)
_STRENGTHS: tuple[Strength, ...] = get_args(Strength)
_TINTS = tuple(kind for kind in _KINDS if kind.endswith("_tint"))
# What is drawn first; "tint" then takes one of its colours, so that five tints do not count five times.
GROUPS: tuple[tuple[Kind, ...], ...] = (*((kind,) for kind in _KINDS if kind not in _TINTS), _TINTS)
_NOT_LOCAL: frozenset[Kind] = frozenset(("mirror", "vignette", "fade"))
_OPPOSITES: tuple[frozenset[Kind], ...] = (
    frozenset(("brighter", "darker")),
    frozenset(("more_contrast", "less_contrast")),
    frozenset(("more_saturation", "less_saturation", "black_and_white", "sepia")),
    frozenset(("warmer", "cooler", "black_and_white", "sepia")),
    frozenset(("blur", "pixelate")),
    frozenset(_TINTS),
)

Edit = Callable[[Bytes], Bytes]


@dataclass(frozen=True)
class _Request:
    """What shall be done to a crop that is yet to be drawn.

    Attributes:
        wrong: makes edits that one might take for it, the likeliest first.
        smallest_change: that the crop must show, see `SMALLEST_CHANGE`.
        squares: see `Scene.squares`.
    """

    edit: Edit
    text: str
    category: str
    wrong: Callable[[np.random.Generator], list[Edit]]
    smallest_change: float = SMALLEST_CHANGE
    squares: int | None = None


class AdjustmentScenes:
    """Photo adjustments on crops of photographs.

    Args:
        crops: where sources are cut from.
        phrasing: which wordings the instructions take, see `varedit.data.language`.
        nothing_share: share of the scenes that ask for no change; 0 where scenes are scored.
        pair_share: share of the scenes that ask for two adjustments.
        repeated: kinds that are drawn more often, each once more for every time that it stands here.
    """

    def __init__(
        self,
        crops: PhotographCrops,
        *,
        phrasing: Phrasing,
        nothing_share: float,
        pair_share: float,
        repeated: Sequence[Kind] = (),
    ) -> None:
        self.crops, self.phrasing = crops, phrasing
        self.nothing_share, self.pair_share = nothing_share, pair_share
        self.groups = (*GROUPS, *((kind,) for kind in repeated))

    def scene(self, random: np.random.Generator, size_hw: tuple[int, int]) -> Scene:
        """See `scene.SceneFamily`."""
        kind = random.random()
        if kind < self.nothing_share:
            return self._nothing(random, size_hw)
        if kind > 1 - LOCAL_SHARE:
            request = self._local(random)
        elif kind > 1 - LOCAL_SHARE - self.pair_share:
            request = self._pair(random)
        else:
            request = self._whole(random)
        return self._granted(request, random, size_hw)

    def _nothing(self, random: np.random.Generator, size_hw: tuple[int, int]) -> Scene:
        source, stem = self.crops.crop(random, size_hw)
        text = instruction(None, random, self.phrasing)

        def wrong(random: np.random.Generator) -> list[Bytes]:
            return distinct([each.apply_to_bytes(source) for each in ALL_ADJUSTMENTS], source, at_most=NUM_WRONG)

        return Scene(source, text, source.copy(), "adjustment", "nothing", stem, wrong)

    def _whole(self, random: np.random.Generator) -> _Request:
        adjustment = random_adjustment(random, self.groups)
        text = instruction(adjustment, random, self.phrasing)
        category = "tint" if adjustment.kind in _TINTS else adjustment.kind

        def wrong(random: np.random.Generator) -> list[Edit]:
            others = (*other_strengths(adjustment), *shuffled(ALL_ADJUSTMENTS, random))
            return [other.apply_to_bytes for other in others]

        return _Request(adjustment.apply_to_bytes, text, category, wrong, squares=_squares(adjustment))

    def _pair(self, random: np.random.Generator) -> _Request:
        first, second = random_adjustment(random, self.groups), random_adjustment(random, self.groups)
        while are_at_odds(first.kind, second.kind):
            second = random_adjustment(random, self.groups)

        def wrong(random: np.random.Generator) -> list[Edit]:
            half = [first.apply_to_bytes, second.apply_to_bytes]
            graded = [_then(first, other) for other in other_strengths(second)]
            graded += [_then(other, second) for other in other_strengths(first)]
            return half + graded + [_then(first, other) for other in shuffled(ALL_ADJUSTMENTS, random)]

        text = pair_instruction(first, second, random, self.phrasing)
        return _Request(_then(first, second), text, "pair", wrong, squares=_squares(first) or _squares(second))

    def _local(self, random: np.random.Generator) -> _Request:
        adjustment = random_adjustment(random, self.groups)
        while adjustment.kind in _NOT_LOCAL:
            adjustment = random_adjustment(random, self.groups)
        region = one_of(REGIONS, random)

        def wrong(random: np.random.Generator) -> list[Edit]:
            places = [_within(adjustment, other) for other in shuffled(REGIONS, random) if other != region]
            others = (*other_strengths(adjustment), *shuffled(ALL_ADJUSTMENTS, random))
            return [adjustment.apply_to_bytes, *places[:4], *(_within(other, region) for other in others)]

        text = local_instruction(adjustment, region, random, self.phrasing)
        edit = _within(adjustment, region)
        return _Request(edit, text, "local", wrong, SMALLEST_LOCAL_CHANGE, _squares(adjustment))

    def _granted(self, request: _Request, random: np.random.Generator, size_hw: tuple[int, int]) -> Scene:
        """Crops are drawn until the edit shows; after the last attempt the one that shows it best is taken."""
        drawn = []
        for _ in range(CROP_ATTEMPTS):
            source, stem = self.crops.crop(random, size_hw)
            target = request.edit(source)
            drawn.append((mean_change(source, target), source, target, stem))
            if drawn[-1][0] >= request.smallest_change:
                break
        _, source, target, stem = max(drawn, key=lambda attempt: attempt[0])

        def wrong(random: np.random.Generator) -> list[Bytes]:
            return distinct([other(source) for other in request.wrong(random)], source, target, at_most=NUM_WRONG)

        squares = request.squares
        return Scene(source, request.text, target, "adjustment", request.category, stem, wrong, squares=squares)


def random_adjustment(random: np.random.Generator, groups: Sequence[Sequence[Kind]] = GROUPS) -> Adjustment:
    """All groups of kinds alike often, all kinds of a group, and for each all strengths."""
    kind = one_of(one_of(groups, random), random)
    strength = one_of(_STRENGTHS, random)
    return Adjustment(kind) if kind in UNGRADED else Adjustment(kind, strength)


def _squares(adjustment: Adjustment) -> int | None:
    return PIXELATE[adjustment.strength] if adjustment.kind == "pixelate" else None


def other_strengths(adjustment: Adjustment) -> list[Adjustment]:
    """The same adjustment, slighter and stronger; none where there is nothing to grade."""
    return [other for other in ALL_ADJUSTMENTS if other.kind == adjustment.kind and other != adjustment]


def are_at_odds(first: Kind, second: Kind) -> bool:
    """Whether nobody asks for both: the same kind, or two that undo or hide each other."""
    return first == second or any(first in group and second in group for group in _OPPOSITES)


def locally_adjusted(source: Bytes, adjustment: Adjustment, region: Region) -> Bytes:
    """The adjusted picture inside the region, the source outside, blended linearly over the region's border."""
    mask = region_mask(region, source.shape[:2])
    adjusted = adjustment.apply_to_bytes(source).astype(np.float32)
    return to_bytes((source + mask * (adjusted - source)) / np.float32(255))


def _within(adjustment: Adjustment, region: Region) -> Edit:
    return lambda source: locally_adjusted(source, adjustment, region)


def _then(first: Adjustment, second: Adjustment) -> Edit:
    return lambda source: second.apply_to_bytes(first.apply_to_bytes(source))

"""Scenes of colours by name: the parts of a photograph that have a colour get another one, or lose or keep theirs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from varedit.data.adjustments import Adjustment, Bytes, Pixels, to_bytes
from varedit.data.colours import COLOUR_NAMES, ColourName, colour_shares, drained, hue_rotated, recoloured
from varedit.data.crops import PhotographCrops, mean_change
from varedit.data.draws import one_of, shuffled
from varedit.data.edit_phrases import ColourEdit, colour_instruction
from varedit.data.language import Phrasing
from varedit.data.scene import Scene, distinct

# Recolouring is half of the scenes.
KINDS: tuple[ColourEdit, ...] = ("recolour_part", "recolour_part", "keep_only", "drain_part")
LEAST_SHARE, MOST_SHARE = 0.06, 0.85  # of the picture that a colour must have to be spoken of
SMALLEST_CHANGE = 2.0  # mean change per channel, in bytes
CROP_ATTEMPTS = 10
NUM_WRONG = 10

Shares = dict[ColourName, Pixels]


class ColourScenes:
    """Colours by name on crops of photographs.

    Args:
        crops: where sources are cut from.
        phrasing: which wordings the instructions take.
        rotated_share: share of the sources whose hues are turned by a random angle first, so that training meets
            every colour often; 0 leaves photographs as they are.
    """

    def __init__(self, crops: PhotographCrops, *, phrasing: Phrasing, rotated_share: float) -> None:
        self.crops, self.phrasing, self.rotated_share = crops, phrasing, rotated_share

    def scene(self, random: np.random.Generator, size_hw: tuple[int, int]) -> Scene:
        """See `scene.SceneFamily`. Crops are drawn until one has enough of a colour; else the best one is taken."""
        kind = one_of(KINDS, random)
        best_change, best = -1.0, None
        for _ in range(CROP_ATTEMPTS):
            scene, change = self._attempt(kind, random, size_hw)
            if change > best_change:
                best_change, best = change, scene
            if change >= SMALLEST_CHANGE:
                break
        assert best is not None
        return best

    def _attempt(self, kind: ColourEdit, random: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Scene, float]:
        """A scene, and its mean change in bytes (0 where no colour has its share of the picture)."""
        source, stem = self.crops.crop(random, size_hw)
        rgb = source.astype(np.float32) / np.float32(255)
        if random.random() < self.rotated_share:
            rgb = hue_rotated(rgb, 360 * random.random())
            source = to_bytes(np.clip(rgb, 0, 1))
        shares = colour_shares(rgb)
        present = [name for name in COLOUR_NAMES if LEAST_SHARE <= shares[name].mean() <= MOST_SHARE]
        part = one_of(present or [max(COLOUR_NAMES, key=lambda name: float(shares[name].mean()))], random)
        colour = one_of([name for name in COLOUR_NAMES if name != part], random) if kind == "recolour_part" else None
        target = _edited(rgb, shares, kind, part, colour)

        def wrong(random: np.random.Generator) -> list[Bytes]:
            made = [edit() for edit in _wrong_edits(rgb, shares, kind, part, colour, present, random)]
            return distinct([*made, *_whole_picture(source)], source, target, at_most=NUM_WRONG)

        text = colour_instruction(kind, part, colour, random, self.phrasing)
        scene = Scene(source, text, target, "colour", kind, stem, wrong)
        return scene, mean_change(source, target) if present else 0.0


def _edited(rgb: Pixels, shares: Shares, kind: ColourEdit, part: ColourName, colour: ColourName | None) -> Bytes:
    share = shares[part]
    match kind:
        case "recolour_part":
            assert colour is not None
            edited = recoloured(rgb, share, colour)
        case "keep_only":
            edited = drained(rgb, 1 - share)
        case "drain_part":
            edited = drained(rgb, share)
    return to_bytes(np.clip(edited, 0, 1))


def _wrong_edits(
    rgb: Pixels,
    shares: Shares,
    kind: ColourEdit,
    part: ColourName,
    colour: ColourName | None,
    present: list[ColourName],
    random: np.random.Generator,
) -> list[Callable[[], Bytes]]:
    """Other colours for the same part, the same for other parts, other edits of the part."""

    def edit(kind: ColourEdit, part: ColourName, colour: ColourName | None) -> Callable[[], Bytes]:
        return lambda: _edited(rgb, shares, kind, part, colour)

    colours = [name for name in shuffled(COLOUR_NAMES, random) if name not in (part, colour)]
    others = [name for name in present if name != part]
    same_edit = [edit(kind, name, colour) for name in others[:3]]
    same_part = [edit("recolour_part", part, name) for name in colours[:5]]
    return [*same_edit, edit("keep_only", part, None), edit("drain_part", part, None), *same_part]


def _whole_picture(source: Bytes) -> list[Bytes]:
    kinds = (
        Adjustment("black_and_white"),
        Adjustment("less_saturation", "strong"),
        Adjustment("more_saturation", "strong"),
        Adjustment("sepia"),
        Adjustment("negative"),
        Adjustment("darker"),
        Adjustment("brighter"),
    )
    return [adjustment.apply_to_bytes(source) for adjustment in kinds]

"""Scenes: editing pairs made on the fly, with exact ground truth, out of photographs, textures, shapes and cut-outs.

Every scene follows from (seed, index) alone, so that an epoch needs no files and a run can go on where it stopped. The
families are described in `adjustment_scenes`, `colour_scenes` and `object_scenes`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from varedit.data.adjustment_scenes import PAIR_SHARE, AdjustmentScenes
from varedit.data.adjustments import Bytes, Kind
from varedit.data.colour_scenes import ColourScenes
from varedit.data.crops import PhotographCrops, photograph_files
from varedit.data.cutouts import load_cutouts
from varedit.data.object_scenes import ObjectScenes
from varedit.data.pairs import PairBatch, TrueLayers
from varedit.data.scene import FAMILIES, SPRITE_SIDE, Family, Scene, SceneFamily
from varedit.data.splits import Split, split_of
from varedit.errors import InputMissing, UsageError

SceneSplit = Literal["train", "validation", "test", "generalisation"]

# "generalisation" scenes stand on test photographs; their wordings, and the things that they edit, are new to a model.
_PHOTOGRAPHS: dict[SceneSplit, Split] = {
    "train": "train",
    "validation": "validation",
    "test": "test",
    "generalisation": "test",
}
HELD_OUT_SEEDS: dict[SceneSplit, int] = {"validation": 9_100_001, "test": 9_200_001, "generalisation": 9_300_001}

TRAINING_SHARES: dict[Family, float] = {"adjustment": 0.22, "colour": 0.28, "object": 0.5}
NOTHING_SHARE = 0.06  # of the training adjustments: instructions that ask for no change
TRAINING_PAIRS = 0.3  # of the training adjustments: two at once, of which there are hundreds of kinds
REPEATED_KINDS: tuple[Kind, ...] = 3 * ("blur", "pixelate")  # in training, where they are learned slowest
CROP_DETAIL = 3  # photographs are held in memory at so many times the pairs' shorter side
ROTATED_SHARE = 0.5  # of the training colours: photographs with turned hues


class Scenes:
    """An endless, reproducible supply of scenes of one split.

    Args:
        material: the folder that `varedit data fetch` fills.
        split: in "train" the families come as often as ``shares`` says; in the others they take turns.
        size_hw: height and width of the pairs in pixels.
        seed: two seeds give two independent supplies.
        shares: of the families in training; they add up to one.

    Raises: `InputMissing` where the material lacks photographs of the split, or cut-outs; `UsageError` for shares that
    are not shares.
    """

    def __init__(
        self,
        material: Path,
        *,
        split: SceneSplit,
        size_hw: tuple[int, int],
        seed: int,
        shares: dict[Family, float] | None = None,
    ) -> None:
        self.size_hw, self.seed, self.split = size_hw, seed, split
        self._family_ends = _family_ends(shares or TRAINING_SHARES)
        short_side = CROP_DETAIL * min(size_hw)
        photographs = PhotographCrops(of_split(material / "photographs", split), short_side=short_side)
        textures = PhotographCrops(of_split(material / "textures", split), short_side=short_side)
        phrasing: Literal["train", "held_out"] = "held_out" if split == "generalisation" else "train"
        is_training = split == "train"
        self.families: dict[Family, SceneFamily] = {
            "adjustment": AdjustmentScenes(
                photographs,
                phrasing=phrasing,
                nothing_share=NOTHING_SHARE if is_training else 0.0,
                pair_share=TRAINING_PAIRS if is_training else PAIR_SHARE,
                repeated=REPEATED_KINDS if is_training else (),
            ),
            "colour": ColourScenes(photographs, phrasing=phrasing, rotated_share=ROTATED_SHARE if is_training else 0.0),
            "object": ObjectScenes(
                photographs,
                textures if textures.files else None,
                load_cutouts(material / "cutouts"),
                phrasing=phrasing,
                held_out=split == "generalisation",
            ),
        }

    def scene(self, index: int, *, size_hw: tuple[int, int] | None = None) -> Scene:
        """The scene number ``index`` (0, 1, ...), the same at every call; ``size_hw`` overrides the usual size."""
        random = np.random.default_rng((self.seed, index))
        return self.families[self._family(index, random)].scene(random, size_hw or self.size_hw)

    def alternatives(self, index: int) -> list[Bytes]:
        """At least seven wrong results for a scene, (H, W, 3), none equal to its source or target."""
        return self.scene(index).wrong(np.random.default_rng((self.seed, index, 1)))

    def batch(self, indices: Sequence[int], size_hw: tuple[int, int] | None = None) -> PairBatch:
        """The pairs of these indices, stacked in their order."""
        scenes = [self.scene(index, size_hw=size_hw) for index in indices]
        return PairBatch(
            sources=np.stack([scene.source for scene in scenes]),
            instructions=[scene.instruction for scene in scenes],
            targets=np.stack([scene.target for scene in scenes]),
            layers=_true_layers(scenes),
        )

    def _family(self, index: int, random: np.random.Generator) -> Family:
        if self.split != "train":
            return FAMILIES[index % len(FAMILIES)]
        return FAMILIES[int(self._family_ends.searchsorted(random.random(), side="right"))]


def held_out_scenes(material: Path, split: SceneSplit, size_hw: tuple[int, int]) -> Scenes:
    """The fixed scenes that models are compared on: validation to choose by, test and generalisation to report."""
    assert split != "train", "training scenes take the seed of their recipe"
    return Scenes(material, split=split, size_hw=size_hw, seed=HELD_OUT_SEEDS[split])


def _true_layers(scenes: Sequence[Scene]) -> TrueLayers:
    changed = np.stack([scene.mask for scene in scenes])
    things = [np.zeros_like(scene.mask) if scene.thing is None else scene.thing for scene in scenes]
    placements = np.array([scene.placement_numbers for scene in scenes], np.float32)
    sprites = np.zeros((len(scenes), SPRITE_SIDE, SPRITE_SIDE, 4), np.uint8)
    for sprite, scene in zip(sprites, scenes, strict=True):
        if scene.placement is not None and scene.placement.sprite is not None:
            sprite[:] = scene.placement.sprite
    squares = np.array([scene.squares or 0 for scene in scenes], np.float32)
    return TrueLayers(changed, np.stack(things), placements, sprites, squares)


def _family_ends(shares: dict[Family, float]) -> NDArray[np.float64]:
    """Where each family ends if all of them divide [0, 1] among each other."""
    if set(shares) != set(FAMILIES) or min(shares.values()) < 0 or not math.isclose(sum(shares.values()), 1):
        raise UsageError(f"The shares of the families are {shares}; give {', '.join(FAMILIES)} one each, 1 in all.")
    ends: NDArray[np.float64] = np.cumsum([shares[family] for family in FAMILIES], dtype=np.float64)
    ends /= ends[-1]
    return ends


def of_split(folder: Path, split: SceneSplit) -> list[Path]:
    """The photographs of a folder that belong to a split."""
    files = photograph_files(folder)
    chosen = [file for file in files if split_of(file.stem) == _PHOTOGRAPHS[split]]
    if folder.name == "photographs" and not chosen:
        raise InputMissing(f"None of the {len(files)} photographs in {folder} belongs to the split {split!r}.")
    return chosen

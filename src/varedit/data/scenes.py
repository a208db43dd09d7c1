"""Editing pairs made on the fly: a crop of a photograph, an instruction, and the crop adjusted as it says.

Every pair follows from (seed, index) alone, so that an epoch needs no files and a run can go on where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from PIL import Image

from varedit.data.adjustments import (
    ALL_ADJUSTMENTS,
    GREY_RAMP,
    UNGRADED,
    Adjustment,
    Bytes,
    Kind,
    Strength,
    look_up,
    to_bytes,
    with_gains,
)
from varedit.data.phrases import Phrasing, instruction
from varedit.data.splits import Split, split_of
from varedit.errors import InputMissing

NOTHING_SHARE = 0.04  # pairs that ask for no change
CROP_SCALES = (0.35, 1.0)  # side of the crop, relative to the largest of its aspect ratio that fits
LARGEST_STRETCH = 1.15  # aspect ratio of the crop against that of the pair
SOURCE_EXPOSURE = 0.3  # stops, at most, that a source is made brighter or darker
SOURCE_WHITE_BALANCE = 0.08  # logarithm, at most, of the gains on its red and on its blue

# Mean change per channel, in bytes, that an instruction must make: "darker" says nothing about a black crop, nor
# "black and white" about a grey one. Crops are drawn anew until the change is large enough.
SMALLEST_CHANGE = 3.0
CROP_ATTEMPTS = 8

_KINDS: tuple[Kind, ...] = get_args(Kind)
_STRENGTHS: tuple[Strength, ...] = get_args(Strength)


@dataclass(frozen=True, eq=False)
class EditPair:
    """One editing example.

    Attributes:
        source, target: uint8 sRGB, (H, W, 3), of the same size.
        category: the kind of adjustment, or "nothing" where the instruction asks for no change.
        adjustment: None exactly for the category "nothing".
        photograph: stem of the file that the source was cut from.
    """

    source: Bytes
    instruction: str
    target: Bytes
    category: str
    adjustment: Adjustment | None
    photograph: str


class PairBatch(NamedTuple):
    """Pairs of one size, stacked: uint8 sRGB (B, H, W, 3) and B instructions."""

    sources: Bytes
    instructions: list[str]
    targets: Bytes


class AdjustmentScenes:
    """An endless, reproducible supply of photo adjustments on the photographs of one split.

    Args:
        photographs: a folder of JPEG or PNG files, or the files; `split_of` their stems says which belong to the split.
        size_hw: height and width of the pairs in pixels.
        seed: two seeds give two independent supplies.
        phrasing: which wordings the instructions take, see `varedit.data.phrases`.
        short_side: photographs are held in memory, uint8, with at most this short side in pixels.

    Raises: `InputMissing` where the split holds no photograph.
    """

    def __init__(
        self,
        photographs: Path | Sequence[Path],
        *,
        split: Split,
        size_hw: tuple[int, int],
        seed: int,
        phrasing: Phrasing = "train",
        short_side: int = 320,
    ) -> None:
        files = photograph_files(photographs) if isinstance(photographs, Path) else list(photographs)
        self.files = sorted((file for file in files if split_of(file.stem) == split), key=lambda file: file.stem)
        if not self.files:
            raise InputMissing(f"None of the {len(files)} photographs in {photographs} belongs to the split {split!r}.")
        self.size_hw = size_hw
        self.seed = seed
        self.phrasing = phrasing
        self.short_side = short_side
        self._decoded: dict[Path, Image.Image] = {}

    def pair(self, index: int, *, size_hw: tuple[int, int] | None = None) -> EditPair:
        """The pair number ``index`` (0, 1, ...), the same at every call; ``size_hw`` overrides the usual size."""
        random = np.random.default_rng((self.seed, index))
        adjustment = None if random.random() < NOTHING_SHARE else random_adjustment(random)
        wanted = instruction(adjustment, random, self.phrasing)
        source, target, file = self._source_and_target(adjustment, random, size_hw or self.size_hw)
        category = "nothing" if adjustment is None else adjustment.kind
        return EditPair(source, wanted, target, category, adjustment, file.stem)

    def batch(self, indices: Sequence[int], size_hw: tuple[int, int] | None = None) -> PairBatch:
        """The pairs of these indices, stacked in their order."""
        pairs = [self.pair(index, size_hw=size_hw) for index in indices]
        return PairBatch(
            sources=np.stack([pair.source for pair in pairs]),
            instructions=[pair.instruction for pair in pairs],
            targets=np.stack([pair.target for pair in pairs]),
        )

    def _source_and_target(
        self, adjustment: Adjustment | None, random: np.random.Generator, size_hw: tuple[int, int]
    ) -> tuple[Bytes, Bytes, Path]:
        """Crops are drawn until the adjustment shows; after the last attempt the one that shows it best is taken."""
        best_change, best = -1.0, None
        for _ in range(CROP_ATTEMPTS):
            file = self.files[int(random.integers(len(self.files)))]
            source = jittered(random_crop(self._photograph(file), random, size_hw), random)
            if adjustment is None:
                return source, source.copy(), file
            target = adjustment.apply_to_bytes(source)
            change = mean_change(source, target)
            if change > best_change:
                best_change, best = change, (source, target, file)
            if change >= SMALLEST_CHANGE:
                break
        assert best is not None
        return best

    def _photograph(self, file: Path) -> Image.Image:
        """Decoded once, then kept: decoding costs more than everything else about a pair."""
        if file not in self._decoded:
            self._decoded[file] = read_photograph(file, self.short_side)
        return self._decoded[file]


def photograph_files(folder: Path) -> list[Path]:
    """The JPEG and PNG files of a folder."""
    if not folder.is_dir():
        raise InputMissing(f"{folder} is no folder of photographs. Fetch some first.")
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png"))


def read_photograph(file: Path, short_side: int) -> Image.Image:
    """An RGB picture whose short side is at most ``short_side`` pixels."""
    with Image.open(file) as image:
        image.draft("RGB", (2 * short_side, 2 * short_side))  # JPEG can skip detail while decoding; stays larger
        picture = image.convert("RGB")
    scale = short_side / min(picture.size)
    if scale >= 1:
        return picture
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)


def random_adjustment(random: np.random.Generator) -> Adjustment:
    """All kinds alike often, and for each all strengths alike often."""
    kind = _KINDS[int(random.integers(len(_KINDS)))]
    strength = _STRENGTHS[int(random.integers(len(_STRENGTHS)))]
    return Adjustment(kind) if kind in UNGRADED else Adjustment(kind, strength)


def random_crop(photograph: Image.Image, random: np.random.Generator, size_hw: tuple[int, int]) -> Bytes:
    """Cut, stretch a little and perhaps mirror: (H, W, 3) bytes of a random part of the photograph."""
    height, width = size_hw
    scale, stretch, left, top, mirror = random.random(5)
    aspect = width / height * math.exp((2 * stretch - 1) * math.log(LARGEST_STRETCH))
    crop_height = min(photograph.height, photograph.width / aspect)
    crop_height *= CROP_SCALES[0] + scale * (CROP_SCALES[1] - CROP_SCALES[0])
    crop_width = crop_height * aspect
    x = left * (photograph.width - crop_width)
    y = top * (photograph.height - crop_height)
    box = (x, y, min(x + crop_width, photograph.width), min(y + crop_height, photograph.height))
    crop = np.asarray(photograph.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0))
    return np.ascontiguousarray(crop[:, ::-1]) if mirror < 0.5 else crop


def jittered(pixels: Bytes, random: np.random.Generator) -> Bytes:
    """A little more or less light and another white balance, as cameras differ; otherwise sources would be few."""
    stops, red, blue = 2 * random.random(3) - 1
    exposure = 2 ** (SOURCE_EXPOSURE * stops)
    balance = (math.exp(SOURCE_WHITE_BALANCE * red), 1.0, math.exp(SOURCE_WHITE_BALANCE * blue))
    gains = (exposure * balance[0], exposure, exposure * balance[2])
    return look_up(to_bytes(np.clip(with_gains(GREY_RAMP, gains), 0.0, 1.0)), pixels)


def mean_change(source: Bytes, target: Bytes) -> float:
    """Mean absolute difference per channel, in bytes."""
    return float(np.abs(source.astype(np.int16) - target).mean())


def alternatives(pair: EditPair) -> list[Bytes]:
    """What all other adjustments would have made of the source, in the order of `ALL_ADJUSTMENTS`."""
    return [other.apply_to_bytes(pair.source) for other in ALL_ADJUSTMENTS if other != pair.adjustment]

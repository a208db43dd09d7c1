"""Parts of photographs: read once, cut at random, and varied a little as cameras differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from varedit.data.adjustments import GREY_RAMP, Bytes, look_up, to_bytes, with_gains
from varedit.data.draws import one_of
from varedit.errors import InputMissing

CROP_SCALES = (0.35, 1.0)  # side of the crop, relative to the largest of its aspect ratio that fits
LARGEST_STRETCH = 1.15  # aspect ratio of the crop against that of the pair
SOURCE_EXPOSURE = 0.3  # stops, at most, that a source is made brighter or darker
SOURCE_WHITE_BALANCE = 0.08  # logarithm, at most, of the gains on its red and on its blue


class PhotographCrops:
    """Random crops out of some photographs, held in memory as uint8 with at most ``short_side`` pixels.

    Args:
        files: JPEG or PNG pictures; at least one.
    """

    def __init__(self, files: Sequence[Path], *, short_side: int) -> None:
        self.files = sorted(files, key=lambda file: file.stem)
        self.short_side = short_side
        self._decoded: dict[Path, Image.Image] = {}

    def crop(self, random: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Bytes, str]:
        """Pixels (H, W, 3) of a random part of a random photograph, and the photograph's file stem."""
        file = one_of(self.files, random)
        return jittered(random_crop(self._photograph(file), random, size_hw), random), file.stem

    def _photograph(self, file: Path) -> Image.Image:
        """Decoded once, then kept: decoding costs more than everything else about a pair."""
        if file not in self._decoded:
            self._decoded[file] = read_photograph(file, self.short_side)
        return self._decoded[file]


def photograph_files(folder: Path) -> list[Path]:
    """The JPEG and PNG files of a folder."""
    if not folder.is_dir():
        raise InputMissing(f"{folder} is no folder of photographs. Fetch some with: varedit data fetch -o material")
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png"))


def read_photograph(file: Path, short_side: int) -> Image.Image:
    """An RGB picture whose short side is at most ``short_side`` pixels. Raises `InputMissing` if it is damaged."""
    try:
        with Image.open(file) as image:
            image.draft("RGB", (2 * short_side, 2 * short_side))  # JPEG can skip detail while decoding; stays larger
            picture = image.convert("RGB")
    except OSError as error:
        raise InputMissing(f"The photograph {file} is missing or damaged. Fetch it again, or remove it.") from error
    scale = short_side / min(picture.size)
    if scale >= 1:
        return picture
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)


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

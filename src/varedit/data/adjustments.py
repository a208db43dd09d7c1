"""Photo adjustments with exact definitions: what "slightly brighter", "black and white" or "blur it" does to a picture.

Pixels are sRGB in [0, 1], channels last. Exposure and temperature multiply the light itself, in linear light; what
photo programs define on the encoded values (luma, sepia, contrast, saturation, fade, tint) is computed on those.
Lengths are shares of the picture's shorter side, so that an adjustment means the same at every resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from varedit.errors import UsageError
from varedit.mosaic import pixelated

Kind = Literal[
    "black_and_white",
    "sepia",
    "negative",
    "brighter",
    "darker",
    "more_contrast",
    "less_contrast",
    "more_saturation",
    "less_saturation",
    "warmer",
    "cooler",
    "fade",
    "vignette",
    "blur",
    "pixelate",
    "mirror",
    "red_tint",
    "yellow_tint",
    "green_tint",
    "blue_tint",
    "purple_tint",
]
Strength = Literal["slight", "plain", "strong"]
Pixels = NDArray[np.floating]
Bytes = NDArray[np.uint8]

LUMA = (0.299, 0.587, 0.114)  # Rec. 601, as in Pillow's convert("L")

# The matrix of Microsoft's GDI+ samples, which the CSS filter sepia(1) took over; rows are the new R, G, B.
SEPIA = ((0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131))

# EV: stops of exposure, so that +1 doubles the light.
EXPOSURE: dict[Strength, float] = {"slight": 0.35, "plain": 0.7, "strong": 1.2}

# Factors on the distance from middle grey (0.5 of the encoded range).
MORE_CONTRAST: dict[Strength, float] = {"slight": 1.2, "plain": 1.45, "strong": 1.9}
LESS_CONTRAST: dict[Strength, float] = {"slight": 0.82, "plain": 0.62, "strong": 0.4}

# Factors on the distance from the pixel's own luma.
MORE_SATURATION: dict[Strength, float] = {"slight": 1.35, "plain": 1.8, "strong": 2.6}
LESS_SATURATION: dict[Strength, float] = {"slight": 0.7, "plain": 0.45, "strong": 0.2}

# Warmer multiplies linear red by this gain and divides linear blue by it; cooler does the reverse. A gain g moves the
# encoded values by about g ** (1 / 2.2): 9, 20 and 43 %.
TEMPERATURE: dict[Strength, float] = {"slight": 1.2, "plain": 1.5, "strong": 2.2}

# Faded paper: saturation falls by this share, and white covers the picture with this opacity.
FADE: dict[Strength, float] = {"slight": 0.2, "plain": 0.35, "strong": 0.55}

# What a corner of the picture loses of its encoded value; nothing is lost within VIGNETTE_START of the half diagonal.
VIGNETTE: dict[Strength, float] = {"slight": 0.45, "plain": 0.7, "strong": 0.95}
VIGNETTE_START = 0.3

# Standard deviation of the Gaussian.
BLUR: dict[Strength, float] = {"slight": 1 / 72, "plain": 1 / 36, "strong": 1 / 18}

# Blocks along the shorter side.
PIXELATE: dict[Strength, int] = {"slight": 24, "plain": 14, "strong": 8}

# Opacity of a coat of colour over the picture.
TINT: dict[Strength, float] = {"slight": 0.12, "plain": 0.25, "strong": 0.42}
TINT_COLOURS: dict[Kind, tuple[float, float, float]] = {
    "red_tint": (1.0, 0.0, 0.0),
    "yellow_tint": (1.0, 0.9, 0.0),
    "green_tint": (0.0, 0.8, 0.1),
    "blue_tint": (0.0, 0.2, 1.0),
    "purple_tint": (0.6, 0.0, 0.9),
}

UNGRADED: frozenset[Kind] = frozenset(("black_and_white", "sepia", "negative", "mirror"))
SPATIAL: frozenset[Kind] = frozenset(("vignette", "blur", "pixelate", "mirror"))  # a pixel alone does not decide
_MIXES_CHANNELS: frozenset[Kind] = frozenset(("black_and_white", "sepia", "more_saturation", "less_saturation", "fade"))


@dataclass(frozen=True)
class Adjustment:
    """One adjustment of a whole picture; ``strength`` is "plain" where there is nothing to grade (`UNGRADED`)."""

    kind: Kind
    strength: Strength = "plain"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UsageError(f"{self.kind!r} is no adjustment; there are {', '.join(get_args(Kind))}.")
        if self.strength not in get_args(Strength):
            raise UsageError(f"{self.strength!r} is no strength; there are {', '.join(get_args(Strength))}.")
        if self.kind in UNGRADED and self.strength != "plain":
            raise UsageError(f"{self.kind} has no grades, but strength {self.strength!r} was given.")

    def apply(self, rgb: Pixels) -> Pixels:
        """Adjust sRGB pixels in [0, 1], (..., 3), or (H, W, 3) for the `SPATIAL` kinds; same shape, dtype and range."""
        return np.clip(self._unclipped(rgb), 0.0, 1.0).astype(rgb.dtype)

    def apply_to_bytes(self, pixels: Bytes) -> Bytes:
        """`apply` for 8-bit pixels, rounded to the nearest byte."""
        if self.kind == "mirror":
            return np.ascontiguousarray(pixels[:, ::-1])
        if self.kind in _MIXES_CHANNELS | SPATIAL:
            return to_bytes(self.apply(pixels.astype(np.float32) / np.float32(255)))
        return look_up(_byte_table(self), pixels)

    def _unclipped(self, rgb: Pixels) -> Pixels:
        strength = self.strength
        match self.kind:
            case "black_and_white":
                return np.repeat(luma(rgb), 3, axis=-1)
            case "sepia":
                return rgb @ np.array(SEPIA, dtype=rgb.dtype).T
            case "negative":
                return 1 - rgb
            case "brighter":
                return with_gains(rgb, 2 ** EXPOSURE[strength])
            case "darker":
                return with_gains(rgb, 2 ** -EXPOSURE[strength])
            case "more_contrast":
                return 0.5 + MORE_CONTRAST[strength] * (rgb - 0.5)
            case "less_contrast":
                return 0.5 + LESS_CONTRAST[strength] * (rgb - 0.5)
            case "more_saturation":
                return luma(rgb) + MORE_SATURATION[strength] * (rgb - luma(rgb))
            case "less_saturation":
                return luma(rgb) + LESS_SATURATION[strength] * (rgb - luma(rgb))
            case "warmer":
                return with_gains(rgb, (TEMPERATURE[strength], 1.0, 1 / TEMPERATURE[strength]))
            case "cooler":
                return with_gains(rgb, (1 / TEMPERATURE[strength], 1.0, TEMPERATURE[strength]))
            case "fade":
                muted = luma(rgb) + (1 - FADE[strength]) * (rgb - luma(rgb))
                return muted + FADE[strength] * (1 - muted)
            case "vignette":
                return rgb * (1 - VIGNETTE[strength] * _distance_from_centre(rgb))
            case "blur":
                return blurred(rgb, BLUR[strength] * min(rgb.shape[:2]))
            case "pixelate":
                return pixelated(rgb, PIXELATE[strength])
            case "mirror":
                return rgb[:, ::-1]
            case "red_tint" | "yellow_tint" | "green_tint" | "blue_tint" | "purple_tint":
                coat = np.array(TINT_COLOURS[self.kind], dtype=rgb.dtype)
                return rgb + TINT[strength] * (coat - rgb)


ALL_ADJUSTMENTS: tuple[Adjustment, ...] = tuple(
    Adjustment(kind, strength)
    for kind in get_args(Kind)
    for strength in (("plain",) if kind in UNGRADED else get_args(Strength))
)


def blurred(rgb: Pixels, sigma: float) -> Pixels:
    """Gaussian blur of (H, W, 3) with a standard deviation in pixels, cut at 3 sigma; edges are mirrored."""
    reach = max(1, math.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(rgb.dtype)
    weights /= weights.sum()
    for axis in (0, 1):
        widths = [(reach, reach) if each == axis else (0, 0) for each in range(3)]
        padded = np.pad(rgb, widths, mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis)
        rgb = windows @ weights
    return rgb


def _distance_from_centre(rgb: Pixels) -> Pixels:
    """(H, W, 1): 0 within `VIGNETTE_START`, 1 in the corners, smooth between; distance in half diagonals."""
    y, x = (np.abs((np.arange(side) + 0.5) / side * 2 - 1).astype(rgb.dtype) for side in rgb.shape[:2])
    radius = np.sqrt((y[:, None] ** 2 + x**2) / 2)
    share: Pixels = np.clip((radius - VIGNETTE_START) / (1 - VIGNETTE_START), 0, 1)[..., None]
    return share * share * (3 - 2 * share)


def luma(rgb: Pixels) -> Pixels:
    """Rec. 601 luma of encoded pixels: (..., 3) to (..., 1)."""
    grey: Pixels = rgb @ np.array(LUMA, dtype=rgb.dtype)[:, None]
    return grey


def with_gains(rgb: Pixels, gains: float | tuple[float, float, float]) -> Pixels:
    """Multiply the light of each channel: sRGB pixels are decoded, multiplied and encoded again, unclipped above 1."""
    return srgb_encoded(srgb_decoded(rgb) * np.asarray(gains, dtype=rgb.dtype))


def srgb_decoded(encoded: Pixels) -> Pixels:
    """Linear light of sRGB values (IEC 61966-2-1)."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def srgb_encoded(linear: Pixels) -> Pixels:
    """sRGB values of linear light (IEC 61966-2-1), the inverse of `srgb_decoded`."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def to_bytes(rgb: Pixels) -> Bytes:
    """Pixels in [0, 1] as bytes, rounded to the nearest."""
    return (rgb * 255 + 0.5).astype(np.uint8)


def look_up(table: Bytes, pixels: Bytes) -> Bytes:
    """Replace each byte by its entry in a table (256, 3) of its channel; pixels are (..., 3)."""
    replaced = np.empty_like(pixels)
    for channel in range(3):  # twice as fast as one lookup by pixel and channel
        replaced[..., channel] = table[:, channel].take(pixels[..., channel])
    return replaced


@lru_cache(maxsize=len(ALL_ADJUSTMENTS))
def _byte_table(adjustment: Adjustment) -> Bytes:
    """(256, 3): where the adjustment sends each byte of each channel, if channels do not mix."""
    return to_bytes(adjustment.apply(GREY_RAMP))


GREY_RAMP: Pixels = np.repeat(np.linspace(0.0, 1.0, 256)[:, None], 3, axis=1)  # (256, 3) float64: every byte / 255

"""Colours by name: which pixels of a photograph count as "the blue parts", and what they become in another colour.

Hue, saturation and lightness are those of HSL (the CSS definition): hue in degrees, the others in [0, 1]. A colour's
share of a pixel is soft: it falls linearly at the ends of the colour's range of hues, and towards grey, black and
white.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from varedit.data.adjustments import Pixels, luma

ColourName = Literal["red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink"]
COLOUR_NAMES: tuple[ColourName, ...] = get_args(ColourName)

# Where each colour's hues begin and end; the middle of a range is the hue that a part takes when it gets this colour.
HUES: dict[ColourName, tuple[float, float]] = {
    "red": (-14.0, 14.0),
    "orange": (18.0, 42.0),
    "yellow": (46.0, 66.0),
    "green": (75.0, 155.0),
    "turquoise": (163.0, 195.0),
    "blue": (203.0, 255.0),
    "purple": (263.0, 297.0),
    "pink": (305.0, 340.0),
}
HUE_BORDER = 8.0  # degrees beyond a range within which the share falls to 0
SATURATION_BORDER = (0.15, 0.3)  # no colour below, full above
LIGHTNESS_BORDER = 0.1  # at 0 and at 1 no colour; full from this distance on
LEAST_SATURATION = 0.45  # a part that is given a colour has at least this much of it


def colour_shares(rgb: Pixels) -> dict[ColourName, Pixels]:
    """How far each pixel counts as having each colour: sRGB in [0, 1], (H, W, 3), to maps (H, W, 1) in [0, 1]."""
    hue, saturation, lightness = hue_saturation_lightness(rgb)
    low, high = SATURATION_BORDER
    by_saturation = np.clip((saturation - low) / (high - low), 0, 1)
    by_lightness = np.clip(np.minimum(lightness, 1 - lightness) / LIGHTNESS_BORDER, 0, 1)
    vivid = by_saturation * by_lightness
    return {name: vivid * _hue_share(hue, *HUES[name]) for name in COLOUR_NAMES}


def _hue_share(hue: Pixels, start: float, end: float) -> Pixels:
    apart = np.abs(hue - (start + end) / 2)
    distance = np.minimum(apart, 360 - apart)
    share: Pixels = np.clip(1 - (distance - (end - start) / 2) / HUE_BORDER, 0, 1)
    return share


def recoloured(rgb: Pixels, share: Pixels, name: ColourName) -> Pixels:
    """Where ``share`` (H, W, 1) says so, the hue of a colour, at the pixels' own lightness and saturation."""
    _, saturation, lightness = hue_saturation_lightness(rgb)
    hue = np.full_like(lightness, sum(HUES[name]) / 2)
    return rgb + share * (rgb_of(hue, np.maximum(saturation, LEAST_SATURATION), lightness) - rgb)


def drained(rgb: Pixels, share: Pixels) -> Pixels:
    """Where ``share`` (H, W, 1) says so, grey of the pixels' own luma."""
    return rgb + share * (luma(rgb) - rgb)


def hue_rotated(rgb: Pixels, degrees: float) -> Pixels:
    """All hues turned by an angle, saturation and lightness kept."""
    hue, saturation, lightness = hue_saturation_lightness(rgb)
    return rgb_of((hue + degrees) % 360, saturation, lightness)


def hue_saturation_lightness(rgb: Pixels) -> tuple[Pixels, Pixels, Pixels]:
    """HSL of sRGB in [0, 1]: (..., 3) to three arrays (..., 1). Hue is 0 for greys."""
    red, green, blue = (np.ascontiguousarray(channel) for channel in np.split(rgb, 3, axis=-1))
    highest, lowest = (np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue))
    spread = highest - lowest
    divisor = np.where(spread > 0, spread, 1)
    sector = np.where(
        highest == red,
        (green - blue) / divisor,
        np.where(highest == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    lightness = (highest + lowest) / 2
    room = 1 - np.abs(2 * lightness - 1)
    saturation = np.where(room > 1e-6, spread / np.maximum(room, 1e-6), 0)
    return np.where(sector < 0, sector + 6, sector) * 60, np.clip(saturation, 0, 1), lightness


def rgb_of(hue: Pixels, saturation: Pixels, lightness: Pixels) -> Pixels:
    """sRGB (..., 3) in [0, 1] of HSL, each (..., 1), hue in [0, 360]: the inverse of `hue_saturation_lightness`."""
    reach = saturation * np.minimum(lightness, 1 - lightness)
    rgb = np.empty((*hue.shape[:-1], 3), dtype=lightness.dtype)
    for channel, offset in enumerate((0, 8, 4)):
        k = offset + hue / 30
        k = np.where(k >= 12, k - 12, k)  # k modulo 12, which would be slow
        rgb[..., channel : channel + 1] = lightness - reach * np.clip(np.minimum(k - 3, 9 - k), -1, 1)
    return rgb

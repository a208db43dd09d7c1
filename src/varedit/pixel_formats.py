"""Bring a decoded Pillow image of any mode and colour space to 8-bit sRGB with its transparency kept aside.

Knows nothing of files or of their dangers: that is `images`. Pillow's own ``convert("RGB")`` is not enough, since it
clips 16-bit data at 255, shows the colours hidden under transparent pixels and ignores colour profiles.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 4 * 2**20
_SPACE_OF_MODE = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}


class NonFinitePixels(ValueError):
    """A floating-point picture holds NaN or infinity."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Pixels:
    """What a picture shows."""

    rgb: NDArray[np.uint8]  # (H, W, 3) sRGB, composited over white
    rgb16: NDArray[np.uint16] | None  # (H, W, 3) the same in 16 bits; None if the image had 8
    alpha: NDArray[np.uint8] | None  # (H, W), 255 is opaque; None if every pixel is
    notes: tuple[str, ...]  # what was lost or guessed, a phrase each


def normalised_pixels(image: Image.Image, *, white_level: int = 65535) -> Pixels:
    """Convert a loaded image of any Pillow mode.

    Args:
        image: upright already; its ``info`` may hold "icc_profile" and "transparency".
        white_level: the number that is white in 16-bit modes, 4095 for 12-bit data.

    Returns: `Pixels`; ``rgb16`` is there only for 16-bit grey without a colour profile.

    Raises:
        NonFinitePixels: a floating-point picture holds NaN or infinity.
    """
    notes: list[str] = []
    profile = image.info.get("icc_profile")
    rgb16 = None
    if image.mode.startswith("I;16"):
        grey16, alpha = _grey16(image, white_level)
        rgb16 = None if profile else np.repeat(_over_white16(grey16, alpha)[..., None], 3, axis=2)
        base = Image.fromarray(_eight_bits(grey16))
    elif image.mode in ("I", "F"):
        base, alpha = Image.fromarray(_stretched(np.asarray(image), notes)), None
    else:
        base, alpha = _split_alpha(image)
    rgb = _to_srgb(base, profile, notes)
    if alpha is not None and alpha.getextrema()[0] == 255:
        alpha = None
    if alpha is not None:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
    return Pixels(rgb=np.array(rgb), rgb16=rgb16, alpha=None if alpha is None else np.array(alpha), notes=tuple(notes))


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Separate colour (mode L, RGB or CMYK) from transparency (mode L; None if there is none)."""
    if image.mode in ("La", "LA"):
        image = image.convert("LA") if image.mode == "La" else image
        return image.getchannel("L"), image.getchannel("A")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return image.convert("RGB"), image.getchannel("A")
    if image.mode == "1":
        return image.convert("L"), None
    return (image if image.mode in _SPACE_OF_MODE else image.convert("RGB")), None


def _grey16(image: Image.Image, white_level: int) -> tuple[NDArray[np.uint16], Image.Image | None]:
    """16-bit grey stretched to 0..65535, and its transparency: PNG may name one value as see-through."""
    values = np.asarray(image).astype(np.uint32)  # 65535 * 65535 + 32767 just fits
    clear = image.info.get("transparency")
    alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)) if isinstance(clear, int) else None
    scaled = (np.minimum(values, white_level) * 65535 + white_level // 2) // white_level
    return scaled.astype(np.uint16), alpha


def _over_white16(grey: NDArray[np.uint16], alpha: Image.Image | None) -> NDArray[np.uint16]:
    """Paint the see-through pixels white; 16-bit transparency is all or nothing."""
    return grey if alpha is None else np.where(np.asarray(alpha) == 0, np.uint16(65535), grey)


def _eight_bits(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Round 0..65535 to 0..255: 65535 = 257 * 255."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _stretched(values: NDArray[np.generic], notes: list[str]) -> NDArray[np.uint8]:
    """Bring 32-bit integers or floats, which have no agreed white, to 0..255."""
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise NonFinitePixels
    low, high = float(numbers.min()), float(numbers.max())
    if low < 0 or high > 1:
        notes.append(f"values from {low:g} to {high:g} were stretched to black and white")
        numbers = (numbers - low) / max(high - low, np.finfo(np.float64).tiny)
    return np.rint(numbers * 255).astype(np.uint8)


def _to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """Convert L, RGB or CMYK to RGB, by its colour profile where that is usable."""
    if profile and len(profile) > MAX_PROFILE_BYTES:
        notes.append("the colour profile is too large and was ignored")
    elif profile:
        try:
            return _through_profile(image, profile)
        # lcms reports damage as PyCMSError or OSError, Pillow's own argument checks as ValueError or TypeError
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            notes.append("the colour profile cannot be used and was ignored")
    if image.mode == "CMYK":
        notes.append("printing colours without a usable profile were converted by a plain formula")
    return image.convert("RGB")


def _through_profile(image: Image.Image, profile_bytes: bytes) -> Image.Image:
    """Apply an ICC profile, leaving pixels alone where it is sRGB under whatever name."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(profile_bytes))
    if profile.profile.xcolor_space != _SPACE_OF_MODE[image.mode]:
        raise ValueError(f"a profile for {profile.profile.xcolor_space} cannot describe {image.mode}")
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        image.mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if image.mode != "CMYK" and _is_near_identity(transform, image.mode):
        return image.convert("RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None, "applyTransform returns an image unless asked to work in place"
    return converted


def _is_near_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform moves no colour of a coarse grid by more than 2 of 255: rounding inside lcms.

    Most files carry one of several sRGB profiles; rounding through them would change every pixel of an untouched place.
    """
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None]
    else:
        probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    image = Image.fromarray(probe)
    moved = ImageCms.applyTransform(image, transform)
    assert moved is not None, "applyTransform returns an image unless asked to work in place"
    return int(np.abs(np.asarray(moved).astype(int) - np.asarray(image.convert("RGB"))).max()) <= 2

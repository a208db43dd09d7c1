"""Bring a picture to the model's own pixel size and the model's output back, without cropping anything.

Two ways: "template" stretches the whole picture to a scale schedule's size, so that every model pixel is used; "square"
is the released models' way, a white square with the picture in its top left corner (spec of the model, section 3).
Knows nothing of files and of schedules: the caller names the size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from varedit.errors import ImageError, UsageError

FitMode = Literal["template", "square"]
MAX_STRETCHED_ASPECT = 3  # beyond it the picture is padded: schedules end near 1:3 and 3:1
MAX_ASPECT = 16
_THIN_SIDE = 32  # a thinner picture counts as this thick, so that a line of 1x500 pixels can be edited


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Where a picture lies among the model's pixels. All sizes in pixels, origin at the top left.

    The picture is placed at ``offset`` in a padded canvas, which is then resized to the model's size edge to edge:
    padded coordinate x + 0.5 is model coordinate (x + 0.5) * model_width / padded_width.
    """

    mode: FitMode
    width: int  # of the picture
    height: int
    padded_width: int
    padded_height: int
    model_width: int
    model_height: int
    offset: tuple[int, int]  # (left, top) of the picture in the padded canvas

    @property
    def source_box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the picture in the padded canvas, as in PIL."""
        left, top = self.offset
        return left, top, left + self.width, top + self.height

    @property
    def model_box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the picture in model pixels; edges may fall inside a pixel."""
        across, down = self.model_width / self.padded_width, self.model_height / self.padded_height
        left, top, right, bottom = self.source_box
        return left * across, top * down, right * across, bottom * down

    def undo(self, pixels: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Bring the model's output back to the picture's width and height.

        Args:
            pixels: (3, h, w) of the model's size, RGB; clamped to [-1, 1].

        Returns: (H, W, 3) uint8. In mode "square" as the released code does it: truncated to 8 bits, then resized. In
            mode "template" resized in floating point and rounded once.
        """
        assert pixels.shape == (3, self.model_height, self.model_width), f"output is {pixels.shape}, not {self}"
        levels = (np.clip(pixels, -1, 1).astype(np.float32) + 1) / 2 * 255
        if self.mode == "square":
            image = Image.fromarray(levels.transpose(1, 2, 0).astype(np.uint8))
            image = image.resize((self.padded_width, self.padded_height), Image.Resampling.LANCZOS)
            return np.array(image.crop(self.source_box))
        size = (self.padded_width, self.padded_height)
        planes = (Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS) for plane in levels)
        cut = [np.asarray(plane.crop(self.source_box)) for plane in planes]
        return np.stack([np.rint(np.clip(plane, 0, 255)).astype(np.uint8) for plane in cut], axis=-1)

    def to_model(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map (H, W) of the picture as its averages over model pixels, (h, w); 0 where the canvas is padding."""
        left, top, right, bottom = self.source_box
        canvas = np.pad(plane, ((top, self.padded_height - bottom), (left, self.padded_width - right)))
        size = (self.model_width, self.model_height)
        return np.array(Image.fromarray(canvas.astype(np.float32)).resize(size, Image.Resampling.BOX))


def fit_picture(
    rgb: NDArray[np.uint8], size: tuple[int, int], *, mode: FitMode, name: str = "the image"
) -> tuple[NDArray[np.float32], Fit]:
    """Bring a whole picture to the model's size.

    Args:
        rgb: (H, W, 3).
        size: (width, height) in model pixels; equal for mode "square".
        mode: "template" pads pictures beyond 3:1 to exactly that by repeating their edges, and stretches; "square"
            pads with white at the right or bottom.
        name: how messages call the picture.

    Returns: pixels (3, h, w) float32 in [-1, 1] and the `Fit` that brings results back.

    Raises:
        ImageError: "unsupported_aspect" if the picture is more than 16 times as long as wide.
        UsageError: mode "square" with a size that is none.
    """
    height, width = rgb.shape[:2]
    padded_width, padded_height = _padded_size(width, height, size, mode, name)
    offset = (0, 0) if mode == "square" else ((padded_width - width) // 2, (padded_height - height) // 2)
    fit = Fit(
        mode=mode,
        width=width,
        height=height,
        padded_width=padded_width,
        padded_height=padded_height,
        model_width=size[0],
        model_height=size[1],
        offset=offset,
    )
    return _model_pixels(Image.fromarray(_padded(rgb, fit)).resize(size, Image.Resampling.LANCZOS)), fit


def cover_crop(rgb: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a training picture to cover the model's size and cut its middle out (spec of the model, section 3).

    Args:
        rgb: (H, W, 3).
        size_hw: (height, width) in model pixels.

    Returns: (3, h, w) in [-1, 1].
    """
    height, width = size_hw
    aspect = rgb.shape[1] / rgb.shape[0]
    # max: rounding may leave the covering side a hair under the integer that it must reach
    if aspect <= width / height:
        covering = (width, max(height, int(width / aspect)))
    else:
        covering = (max(width, int(aspect * height)), height)
    left, top = (covering[0] - width) // 2, (covering[1] - height) // 2
    resized = Image.fromarray(rgb).resize(covering, Image.Resampling.LANCZOS)
    return _model_pixels(resized.crop((left, top, left + width, top + height)))


def _padded_size(width: int, height: int, size: tuple[int, int], mode: FitMode, name: str) -> tuple[int, int]:
    """(width, height) of the canvas that is resized to the model's size."""
    short, long = sorted((width, height))
    if long > MAX_ASPECT * max(short, _THIN_SIDE):
        limit = f"pictures up to {MAX_ASPECT} times as long as wide are supported"
        raise ImageError("unsupported_aspect", f"{name} is {width}x{height}; {limit}. Crop it first.")
    if mode == "square":
        if size[0] != size[1]:
            raise UsageError(f"This model edits squares; a size of {size[0]}x{size[1]} is none.")
        return long, long
    shortest = -(-long // MAX_STRETCHED_ASPECT)
    return max(width, shortest), max(height, shortest)


def _padded(rgb: NDArray[np.uint8], fit: Fit) -> NDArray[np.uint8]:
    """Place the picture in its canvas: white around it in mode "square", its own edges repeated in "template"."""
    left, top, right, bottom = fit.source_box
    around = ((top, fit.padded_height - bottom), (left, fit.padded_width - right), (0, 0))
    if fit.mode == "square":
        return np.pad(rgb, around, constant_values=255)
    return np.pad(rgb, around, mode="edge")


def _model_pixels(image: Image.Image) -> NDArray[np.float32]:
    """(h, w) RGB image to (3, h, w) in [-1, 1]."""
    values = np.arange(256, dtype=np.float32) / np.float32(255) * 2 - 1  # of every level there is
    return values.take(np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)))

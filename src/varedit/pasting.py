"""Things that an edit shows over all else, pasted at the photograph's own size and not at the model's.

A thing that is moved or resized is in the photograph already, with all its detail; what the decoder drew of it has the
model's few pixels, and its losses. A new thing has no more detail than the model gave it, but keeps its own edges.
Knows nothing of models.

A canvas is what lies under a picture that was padded to the model's shape, see `fit.Fit`; a share is one of its sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from varedit.fit import Fit
from varedit.windows import Array, dilated, smooth_step

EDGE = (0.5, 0.9)  # cover: nothing below, all above; inside the edge, so that little of what was behind comes along
INSET = 1  # pixels of the cover: an outline that is off by one would change what is around the thing
LEAST_COVER = np.float32(1e-3)
LARGEST_DIFFERENCE = 0.3  # root mean square over RGB in [-1, 1], between what was drawn and what would be pasted

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of a canvas


@dataclass(frozen=True, eq=False)
class Pasted:
    """A thing, and where it is shown.

    Attributes:
        cover: (a, b) in [0, 1], how far it covers what is under it.
        colours: (3, a, b) in [-1, 1], multiplied by the cover; None for those of the photograph, of which the cover
            then tells where in the canvas the thing is.
        across, down: gain and offset: which share of the cover's side is read at a share of the canvas's.
    """

    cover: Array
    colours: Array | None
    across: tuple[float, float]
    down: tuple[float, float]

    def is_drawn_in(self, result: Array, fitted: Array) -> bool:
        """Whether an edit shows it. Result and source are (3, h, w), of the model's size."""
        height, width = result.shape[1:]
        canvas = (0, 0, width, height)
        box = self._box(canvas, canvas, self.across, self.down)
        if box is None:
            return False
        cover = self._read(self.cover, canvas, canvas, box)
        sure = smooth_step(cover, *EDGE)
        shown = result[:, box[1] : box[3], box[0] : box[2]]
        off = [sure * (one - self._coloured(k, fitted[k], canvas, canvas, box, cover)) for k, one in enumerate(shown)]
        return float(np.square(off).mean(axis=0).sum()) < LARGEST_DIFFERENCE**2 * float(sure.sum())

    def paste(
        self, picture: NDArray[Any], change: NDArray[np.uint8], photograph: NDArray[Any], fit: Fit, limit: Array | None
    ) -> None:
        """Paste it into a picture (H, W, 3), and note in (H, W) where, as `restore.Restored` has it.

        Args:
            photograph: the untouched one, of the picture's size and type.
            fit: how that lies in its canvas.
            limit: (H, W) in [0, 1], where the picture may change; None is everywhere.
        """
        canvas, within = (0, 0, fit.padded_width, fit.padded_height), fit.source_box
        box = self._box(canvas, within, self.across, self.down)
        taken_from = self._box(canvas, within, (1.0, 0.0), (1.0, 0.0)) if self.colours is None else box
        if box is None or taken_from is None:
            return
        window, origin = (_window(each, fit.offset) for each in (box, taken_from))
        cover, inner = (self._read(plane, canvas, canvas, box) for plane in (self.cover, _narrowed(self.cover)))
        sure = smooth_step(inner, *EDGE)
        if limit is not None:
            sure = sure * limit[window]
        half = np.float32(np.iinfo(photograph.dtype).max / 2)  # levels of one unit of [-1, 1]
        for k in range(3):
            own = photograph[(*origin, k)].astype(np.float32) / half - 1 if self.colours is None else None
            part = picture[(*window, k)]
            levels = half * (self._coloured(k, own, canvas, taken_from, box, cover) + 1)
            part[:] = np.rint(part + sure * (levels - part))
        change[window] = np.maximum(change[window], np.ceil(255 * sure).astype(np.uint8))

    def _coloured(self, k: int, photograph: Array | None, canvas: Box, within: Box, box: Box, cover: Array) -> Array:
        """Channel k of its colours in a box of the canvas, in [-1, 1]; of no meaning where it covers nothing."""
        if self.colours is None:
            assert photograph is not None, "a thing of the photograph takes its colours from there"
            return self._read(photograph, canvas, within, box)
        return np.clip(self._read(self.colours[k], canvas, canvas, box) / np.maximum(cover, LEAST_COVER), -1, 1)

    def _read(self, plane: Array, canvas: Box, over: Box, box: Box) -> Array:
        """A plane that lies over a part of a canvas, as the thing shows it in a box of that canvas."""
        coefficients: list[float] = []
        for axis, (gain, offset) in enumerate((self.across, self.down)):
            density = plane.shape[1 - axis] / (over[2 + axis] - over[axis])
            start = (gain * box[axis] + offset * canvas[2 + axis] - over[axis]) * density
            coefficients += [gain * density, 0.0, start] if axis == 0 else [0.0, gain * density, start]
        image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
        size = (box[2] - box[0], box[3] - box[1])
        read = image.transform(size, Image.Transform.AFFINE, coefficients, resample=Image.Resampling.BILINEAR)
        return np.array(read)

    def _box(self, canvas: Box, within: Box, across: tuple[float, float], down: tuple[float, float]) -> Box | None:
        """What of a part of the canvas it may cover, read as `Pasted.across` and `down` say; None if nothing."""
        rows, columns = (np.flatnonzero(self.cover.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return None
        ends = []
        for axis, (places, (gain, offset)) in enumerate(((columns, across), (rows, down))):
            count, side = self.cover.shape[1 - axis], canvas[2 + axis]
            first, last = ((share / count - offset) / gain * side for share in (places[0] - 1, places[-1] + 2))
            ends.append((max(int(np.floor(first)), within[axis]), min(int(np.ceil(last)), within[2 + axis])))
        (left, right), (top, bottom) = ends
        return (left, top, right, bottom) if left < right and top < bottom else None


def _narrowed(cover: Array) -> Array:
    """A cover (a, b) without its outermost pixels; beyond its sides nothing is covered."""
    beyond = np.pad(1 - cover, INSET, constant_values=1)
    narrowed: Array = 1 - dilated(torch.from_numpy(beyond), INSET).numpy()[INSET:-INSET, INSET:-INSET]
    return narrowed


def _window(box: Box, offset: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a box of the canvas in a picture that lies at an offset, (left, top), in it."""
    left, top = offset
    return slice(box[1] - top, box[3] - top), slice(box[0] - left, box[2] - left)

"""An edit, described at the model's resolution, applied to a photograph at its own.

Knows nothing of how the edit was found (that is `restore`). Letters: h, w model resolution; H, W the photograph's;
colours are RGB in [-1, 1] unless a line says levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from varedit.colour_tables import ColourTable
from varedit.windows import Array

PIXELS_AT_ONCE = 1 << 20  # of the photograph: arrays of so many are made again without asking the system for memory


class Upsample(Protocol):
    """Brings maps (C, h, w) into the photograph's geometry, (C, H, W), or to some rows of it."""

    def __call__(self, maps: Array, rows: slice = ...) -> Array:
        """(C, h, w) -> (C, rows, W)."""


CHANGE, NEW, TABLE = 12, 13, 14  # the layers of an edit that follow its colour maps


@dataclass(frozen=True, eq=False)
class Edit:
    """What becomes of a photograph.

    Attributes:
        layers: (15, h, w). First the colour maps of the three output channels, 4 layers each: what a channel becomes is
            three gains times the colour, plus an offset, clipped. Then, in [0, 1], how much of the photograph gives way
            to that, how much of what it gives way to is the decoded result instead of the photograph under its map, and
            how much of the photograph follows the table instead of all this.
        table: the colour table of the whole picture, on the CPU.
    """

    layers: Array
    table: ColourTable


def applied(
    edit: Edit, photograph: NDArray[Any], decoded_result: Array, upsample: Upsample, mask: Array | None
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """The edited photograph and where it was touched, as in `restore.Restored`.

    Works some rows at a time, so that no other array has the photograph's size.

    Args:
        photograph: (H, W, 3) uint8 or uint16.
        decoded_result: (3, h, w) in [-1, 1].
        upsample: see `restore.restore`.
        mask: (H, W) in [0, 1]; None limits nothing.
    """
    height, width = photograph.shape[:2]
    restored, change = photograph.copy(), np.empty((height, width), np.uint8)
    step = max(1, PIXELS_AT_ONCE // width)
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        limit = None if mask is None else mask[rows]
        change[rows] = _apply_to(restored[rows], edit, decoded_result, partial(upsample, rows=rows), limit)
    return restored, change


def _apply_to(
    picture: NDArray[Any], edit: Edit, decoded_result: Array, upsample: Callable[[Array], Array], mask: Array | None
) -> NDArray[np.uint8]:
    """Edit some rows of the photograph in place, given those of what ``upsample`` gives and of the mask: the change."""
    layers = edit.layers
    limit = np.float32(1) if mask is None else mask.astype(np.float32)
    change = upsample(layers[CHANGE : CHANGE + 1])[0] * limit
    by_table = upsample(layers[TABLE:])[0] * limit if layers[TABLE].any() else None
    touched = _bounding_box(change > 0 if by_table is None else (change > 0) | (by_table > 0))
    if touched is None:
        return np.zeros(change.shape, np.uint8)

    def full(layer: Array) -> Array:
        plane: Array = upsample(layer[None])[0][touched]
        return plane

    window = change[touched]
    new = full(layers[NEW]) if layers[NEW].any() else None
    half = np.float32(np.iinfo(picture.dtype).max / 2)  # levels of one unit of [-1, 1]
    planes = np.ascontiguousarray(picture[touched].transpose(2, 0, 1))
    colours = np.divide(planes, half, dtype=np.float32)
    colours -= 1
    steps = None if by_table is None else _table_steps(edit.table, colours, half * by_table[touched])
    for k in range(3):
        levels = planes[k].astype(np.float32)
        if layers[CHANGE].any():
            value = _mapped_channel(layers, k, colours, full)
            if new is not None:
                value += new * (np.clip(full(decoded_result[k]), -1, 1) - value)
            levels += window * (value * half + half - levels)  # exact where window is 0
        if steps is not None:
            levels += steps[k]
        picture[(*touched, k)] = np.rint(levels, out=levels)
    if steps is not None and by_table is not None:
        change[touched] += by_table[touched] * (np.abs(steps, out=steps).max(axis=0) >= 0.5)
    levels_of_change: NDArray[np.uint8] = np.ceil(np.clip(change, 0, 1) * 255).astype(np.uint8)
    return levels_of_change


def _table_steps(table: ColourTable, colours: Array, weight: Array) -> Array:
    """What the table adds to the colours (3, H, W), times the weight (H, W); exactly 0 where it adds nothing."""
    steps: Array = table.change_of(torch.from_numpy(colours)).numpy()
    for step, colour in zip(steps, colours, strict=True):
        step += colour
        np.clip(step, -1, 1, out=step)
        step -= colour
        step *= weight
    return steps


def _mapped_channel(layers: Array, k: int, colours: Array, full: Callable[[Array], Array]) -> Array:
    """Channel k of the photograph's colours (3, H, W) under their colour maps: (H, W) in [-1, 1]."""
    value = full(layers[4 * k + 3])
    for j in range(3):
        value += full(layers[4 * k + j]) * colours[j]
    return np.clip(value, -1, 1, out=value)


def _bounding_box(where: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if len(rows) else None

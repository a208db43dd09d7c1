"""Colour tables: what an edit adds to a colour, for edits that go by the colour of each pixel ("the blue parts red").

A table is a lattice over the RGB cube, fitted to pairs of a colour and its change by splatting and read by trilinear
interpolation: the bilateral grid (Chen, Paris, Durand, "Real-time edge-aware image processing with the bilateral
grid", SIGGRAPH 2007) without its two axes of place. Applied to a photograph it has the photograph's own edges, and
pixels between changed ones stay if the edit does not touch their colour. Colours and changes are RGB in [-1, 1]. Knows
nothing of where in a picture a table holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from varedit.windows import Array, smooth_step

# Nodes an axis, coarse to fine: a level corrects what the coarser ones leave, and has the say where colours are many.
LEVELS = (5, 9, 17, 33)
LEAST_EVIDENCE = 0.2  # samples a node; the pull towards the coarser level, at the coarsest towards no change
MOST_SAMPLES_A_SIDE = 128  # of a picture: plenty for a table
# A change is none, RMS over RGB, below this, this share of the noise, or this share of the picture's strongest changes.
SMALLEST_CHANGE, NOISE_SHARE, PEAK_SHARE = 0.01, 0.4, 0.08
PIXELS_AT_ONCE = 1 << 18  # read at once: they stay in the cache


@dataclass(frozen=True, eq=False)
class ColourTable:
    """What is added to each colour.

    Attributes:
        nodes: (3, n, n, n): change of red, green and blue over the blue, green and red of the colour, each evenly
            spaced from -1 to 1.
    """

    nodes: Array

    @classmethod
    def of(cls, colour_map: Array) -> ColourTable:
        """The table of an affine map (3, 4)."""
        return cls(_map_nodes(colour_map, 2))

    def change_of(self, colours: Array) -> Array:
        """The change of each of the colours (3, h, w), of the same shape."""
        table = torch.from_numpy(self.nodes)[None]
        places, change = torch.from_numpy(colours).reshape(3, -1), torch.empty(3, colours[0].size)
        for some, read in zip(places.split(PIXELS_AT_ONCE, 1), change.split(PIXELS_AT_ONCE, 1), strict=True):
            where = some.T.contiguous()[None, None, None]
            read[:] = F.grid_sample(table, where, padding_mode="border", align_corners=True)[0, :, 0, 0]
        return cast(Array, change.reshape(colours.shape).numpy())


def fitted_table(
    colours: Array, rest: Array, colour_map: Array, *, noise: float, weight: Array | None = None
) -> ColourTable:
    """The table that explains, by the colours (3, h, w), the rest (3, h, w) that an affine map (3, 4) of them leaves.

    Where there is too little evidence for anything else, the table is the map; where map and rest together come to
    nothing, it is exactly nothing.

    Args:
        noise: variance of the rest that is no edit.
        weight: (h, w), how much each pixel has to say; None: all alike.
    """
    departure = _departure(colours, rest, np.ones_like(rest[0]) if weight is None else weight)
    strongest = float(np.quantile(np.sqrt((rest**2).mean(axis=0)), 0.99))
    smallest = max(SMALLEST_CHANGE + NOISE_SHARE * noise**0.5, PEAK_SHARE * strongest)
    departs = _beyond(departure, smallest)
    nodes = _map_nodes(colour_map, LEVELS[-1]) + departure * departs
    return ColourTable(nodes * (1 - departs * (1 - _beyond(nodes, smallest))))


def unseen_change(colours: Array, rest: Array, colour_map: Array, *, noise: float) -> Array:
    """What tables say of the rest (3, h, w) that a map leaves, at pixels that they were not fitted to.

    The picture is divided like a chessboard of 8 x 8 squares; each colour of the board is told by the other, so that a
    table which merely repeats the noise explains nothing.
    """
    height, width = rest.shape[1:]
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    is_black = (rows[:, None] + columns) % 2 == 0
    white, black = (
        fitted_table(colours, rest, colour_map, noise=noise, weight=half.astype(np.float32)).change_of(colours)
        for half in (~is_black, is_black)
    )
    told: Array = np.where(is_black, white, black) - _mapped_step(colour_map, colours)
    return told


def _departure(colours: Array, rest: Array, weight: Array) -> Array:
    """Coarse to fine: each level corrects what the coarser ones leave, by as much as it has evidence for."""
    step = -(-max(colours.shape[1:]) // MOST_SAMPLES_A_SIDE)
    samples, wanted = (x[:, ::step, ::step].reshape(3, -1) for x in (colours, rest))
    trust = weight[::step, ::step].reshape(1, -1)
    nodes = np.zeros((3, 2, 2, 2), np.float32)
    for size in LEVELS:
        missing = wanted - ColourTable(nodes).change_of(samples[:, None])[:, 0]
        sums = _splatted(samples, np.concatenate([missing * trust, trust]), size)
        nodes = _refined(nodes, size) + sums[:3] / (sums[3] + np.float32(LEAST_EVIDENCE))
    return nodes


def _beyond(nodes: Array, smallest: float) -> Array:
    """0 where a change is none, 1 where it surely is one."""
    return smooth_step(np.sqrt((nodes**2).mean(axis=0)), smallest, 2 * smallest)


def _mapped_step(colour_map: Array, colours: Array) -> Array:
    """What an affine map adds to colours (3, ...), not clipped."""
    offsets = colour_map[:, 3].reshape(3, *[1] * (colours.ndim - 1))
    step: Array = np.tensordot(colour_map[:, :3], colours, 1) + offsets - colours
    return step


def _map_nodes(colour_map: Array, size: int) -> Array:
    """A map as a table: trilinear interpolation of an affine function is that function."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    return _mapped_step(colour_map, np.stack([red, green, blue]))


def _refined(nodes: Array, size: int) -> Array:
    """The same function on a lattice of ``size`` nodes an axis."""
    refined: Array = F.interpolate(
        torch.from_numpy(nodes)[None], (size, size, size), mode="trilinear", align_corners=True
    )[0].numpy()
    return refined


def _splatted(samples: Array, values: Array, size: int) -> Array:
    """Sums of the values (C, n) of colours (3, n) over the eight nodes around each: (C, size, size, size)."""
    place = (np.clip(samples, -1, 1) + 1) * np.float32((size - 1) / 2)
    low = np.minimum(place.astype(np.int64), size - 2)
    shares = np.stack([1 - (place - low), place - low])  # (2, 3, n): of the nodes below and above
    lowest: NDArray[np.int64] = (low[2] * size + low[1]) * size + low[0]
    sums = np.zeros((len(values), size**3))
    for red, green, blue in np.ndindex(2, 2, 2):
        weight = shares[red, 0] * shares[green, 1] * shares[blue, 2]
        node = lowest + (blue * size + green) * size + red
        for total, value in zip(sums, values, strict=True):
            total += np.bincount(node, weight * value, size**3)
    return sums.reshape(-1, size, size, size).astype(np.float32)

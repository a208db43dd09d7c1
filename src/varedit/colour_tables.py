"""Colour tables: what an edit adds to a colour, for edits that go by the colour of each pixel ("the blue parts red").

A table is a lattice over the RGB cube, fitted to pairs of a colour and its change by splatting and read by trilinear
interpolation: the bilateral grid (Chen, Paris, Durand, "Real-time edge-aware image processing with the bilateral
grid", SIGGRAPH 2007) without its two axes of place. Applied to a photograph it has the photograph's own edges, and
pixels between changed ones stay if the edit does not touch their colour. Colours and changes are RGB in [-1, 1]. Knows
nothing of where in a picture a table holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from varedit.windows import quantile, smooth_step

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

    nodes: Tensor

    @classmethod
    def of(cls, colour_map: Tensor) -> ColourTable:
        """The table of an affine map (3, 4)."""
        return cls(_map_nodes(colour_map, 2))

    def change_of(self, colours: Tensor) -> Tensor:
        """The change of each of the colours (3, h, w), of the same shape."""
        table, places = self.nodes[None], colours.reshape(3, -1)
        change = torch.empty_like(places)
        for some, read in zip(places.split(PIXELS_AT_ONCE, 1), change.split(PIXELS_AT_ONCE, 1), strict=True):
            where = some.T.contiguous()[None, None, None]
            read[:] = F.grid_sample(table, where, padding_mode="border", align_corners=True)[0, :, 0, 0]
        return change.reshape(colours.shape)


def fitted_table(
    colours: Tensor, rest: Tensor, colour_map: Tensor, *, noise: float, weight: Tensor | None = None
) -> ColourTable:
    """The table that explains, by the colours (3, h, w), the rest (3, h, w) that an affine map (3, 4) of them leaves.

    Where there is too little evidence for anything else, the table is the map; where map and rest together come to
    nothing, it is exactly nothing.

    Args:
        noise: variance of the rest that is no edit.
        weight: (h, w), how much each pixel has to say; None: all alike.
    """
    departure = _departure(colours, rest, torch.ones_like(rest[0]) if weight is None else weight)
    strongest = quantile(rest.square().mean(dim=0).sqrt(), 0.99)
    smallest = max(SMALLEST_CHANGE + NOISE_SHARE * noise**0.5, PEAK_SHARE * strongest)
    departs = _beyond(departure, smallest)
    nodes = _map_nodes(colour_map.to(rest), LEVELS[-1]) + departure * departs
    return ColourTable(nodes * (1 - departs * (1 - _beyond(nodes, smallest))))


def unseen_change(colours: Tensor, rest: Tensor, colour_map: Tensor, *, noise: float) -> Tensor:
    """What tables say of the rest (3, h, w) that a map leaves, at pixels that they were not fitted to.

    The picture is divided like a chessboard of 8 x 8 squares; each colour of the board is told by the other, so that a
    table which merely repeats the noise explains nothing.
    """
    height, width = rest.shape[1:]
    rows, columns = (torch.arange(n, device=rest.device) * 8 // n for n in (height, width))
    is_black = (rows[:, None] + columns) % 2 == 0
    white, black = (
        fitted_table(colours, rest, colour_map, noise=noise, weight=half.to(rest.dtype)).change_of(colours)
        for half in (~is_black, is_black)
    )
    return torch.where(is_black, white, black) - _mapped_step(colour_map.to(rest), colours)


def _departure(colours: Tensor, rest: Tensor, weight: Tensor) -> Tensor:
    """Coarse to fine: each level corrects what the coarser ones leave, by as much as it has evidence for."""
    step = -(-max(colours.shape[1:]) // MOST_SAMPLES_A_SIDE)
    samples, wanted = (x[:, ::step, ::step].reshape(3, -1) for x in (colours, rest))
    trust = weight[::step, ::step].reshape(1, -1)
    nodes = rest.new_zeros(3, 2, 2, 2)
    for size in LEVELS:
        missing = wanted - ColourTable(nodes).change_of(samples[:, None])[:, 0]
        sums = _splatted(samples, torch.cat((missing * trust, trust)), size)
        nodes = _refined(nodes, size) + sums[:3] / (sums[3] + LEAST_EVIDENCE)
    return nodes


def _beyond(nodes: Tensor, smallest: float) -> Tensor:
    """0 where a change is none, 1 where it surely is one."""
    return smooth_step(nodes.square().mean(dim=0).sqrt(), smallest, 2 * smallest)


def _mapped_step(colour_map: Tensor, colours: Tensor) -> Tensor:
    """What an affine map adds to colours (3, ...), not clipped."""
    offsets = colour_map[:, 3].reshape(3, *[1] * (colours.ndim - 1))
    step: Tensor = torch.tensordot(colour_map[:, :3], colours, 1) + offsets - colours
    return step


def _map_nodes(colour_map: Tensor, size: int) -> Tensor:
    """A map as a table: trilinear interpolation of an affine function is that function."""
    axis = torch.linspace(-1, 1, size, device=colour_map.device)
    blue, green, red = torch.meshgrid(axis, axis, axis, indexing="ij")
    return _mapped_step(colour_map, torch.stack((red, green, blue)))


def _refined(nodes: Tensor, size: int) -> Tensor:
    """The same function on a lattice of ``size`` nodes an axis."""
    return F.interpolate(nodes[None], (size, size, size), mode="trilinear", align_corners=True)[0]


def _splatted(samples: Tensor, values: Tensor, size: int) -> Tensor:
    """Sums of the values (C, n) of colours (3, n) over the eight nodes around each: (C, size, size, size).

    Added up on the CPU: accelerators do so in any order, and the same edit is to give the same picture.
    """
    device, samples, values = values.device, samples.cpu(), values.cpu()
    place = (samples.clip(-1, 1) + 1) * ((size - 1) / 2)
    low = place.long().clip(max=size - 2)
    shares = torch.stack((1 - (place - low), place - low))  # (2, 3, n): of the nodes below and above
    red, green, blue = shares.unbind(1)  # (2, n) each
    weights = red[:, None, None] * green[:, None] * blue  # (2, 2, 2, n)
    steps = torch.arange(2)
    offsets = steps[:, None, None] + size * steps[:, None] + size**2 * steps
    nodes = ((low[2] * size + low[1]) * size + low[0] + offsets[..., None]).flatten()
    sums = [torch.bincount(nodes, (weights * value).flatten().double(), size**3) for value in values]
    lattice: Tensor = torch.stack(sums).unflatten(1, (size, size, size))
    return lattice.to(device, values.dtype)

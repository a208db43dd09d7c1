"""Two-dimensional rotary positions of source and target tokens (spec "Rotary"; paper section 3.3).

All float32, in one fixed order of operations: it reproduces the released tables bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from varedit.scales import Grid, ScaleSchedule

BASE = 10000.0


@dataclass(frozen=True)
class Rotary:
    """Positions of a run of L tokens, in the forms that `rotate` wants.

    Attributes:
        turns: (L, E // 2) complex numbers of length one, the angle of each channel pair.
        own, across: (L, E) float32, what a channel and its pair's other channel bring to the rotated channel.
    """

    turns: Tensor
    own: Tensor
    across: Tensor

    @classmethod
    def of(cls, cos: Tensor, sin: Tensor) -> Self:
        """All forms of angles that are told by their cosines and sines, (L, E // 2) float32 each."""
        own, across = (torch.stack(pair, dim=-1).flatten(-2) for pair in ((cos, cos), (-sin, sin)))
        return cls(torch.complex(cos, sin), own, across)

    @property
    def cos(self) -> Tensor:
        """(L, E // 2) float32."""
        return self.turns.real

    @property
    def sin(self) -> Tensor:
        """(L, E // 2) float32."""
        return self.turns.imag

    def to(self, device: torch.device | str) -> Rotary:
        """The same on a device."""
        return self._each(lambda table: table.to(device))

    def rows(self, start: int, end: int) -> Rotary:
        """The part for tokens start..end-1."""
        return self._each(lambda table: table[start:end])

    def picked(self, rows: Tensor) -> Rotary:
        """The parts for unlike tokens of B items, rows (B, A): tables (B, 1, A, ...), alike for all heads."""
        return self._each(lambda table: table[rows].unsqueeze(1))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Rotary:
        return Rotary(*(change(getattr(self, table.name)) for table in fields(self)))


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotate each channel pair of queries or keys by the angle of its position (RoFormer, 2104.09864, section 3.2.2).

    Args:
        x: (..., B, N, L, E), E even; channels 2i and 2i + 1 form a pair.
        rotary: L rows of the table, for all items alike or `picked` for each.

    Returns: (..., B, N, L, E) float32.
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # which makes one kernel of this and what stands around it
        others: Tensor = pairs.flip(-1).flatten(-2)
        return x.float() * rotary.own + others * rotary.across
    return torch.view_as_real(torch.view_as_complex(pairs) * rotary.turns).flatten(-2)


def rotary_table(positions: Tensor, head_width: int) -> Rotary:
    """Cosines and sines for positions (L, 2) float32, (y, x): the first E / 4 angles turn with y, the rest with x."""
    half = head_width // 2
    exponents = torch.arange(0, half, 2, dtype=torch.float32) / half
    frequencies = 1.0 / torch.pow(torch.tensor(BASE, dtype=torch.float32), exponents)
    angles = (positions[:, :, None] * frequencies).flatten(1)  # (L, E // 2)
    return Rotary.of(angles.cos(), angles.sin())


def exact_positions(grids: list[Grid], reference: Grid, *, shifted: bool) -> Tensor:
    """Positions (sum of h * w, 2) of token grids, each spread over the reference grid.

    Args:
        grids: token grids in sequence order.
        reference: (H, W), the grid that positions are counted on.
        shifted: whether these are source tokens, which lie beyond the target at (H, W).
    """
    height, width = reference
    origin = torch.tensor([height, width], dtype=torch.float32) if shifted else torch.zeros(2)
    return torch.cat([_spread(grid, reference) for grid in grids]) + origin


def released_flat_positions(schedule: ScaleSchedule, table: ScaleSchedule) -> Tensor:
    """Positions as the released models look them up: row m of the 1M table for place m of the sequence.

    The table holds the source's positions on its own final grid, then those of its scales. A schedule shorter than
    the table's thus finds most of its tokens at source positions; the released weights were trained that way.
    """
    rows = torch.cat(
        [
            exact_positions([table.final], table.final, shifted=True),
            exact_positions(list(table), table.final, shifted=False),
        ]
    )
    height, width = schedule.final
    return rows[: height * width + schedule.num_tokens]


def _spread(grid: Grid, reference: Grid) -> Tensor:
    # The quotient is a double, the product float32, halves go to the even neighbour: position 27 of 54 rows spread
    # over 111 is 56, but 55 in double precision.
    axes = [
        (torch.arange(count, dtype=torch.float32) * (full / count)).round()
        for count, full in zip(grid, reference, strict=True)
    ]
    return torch.cartesian_prod(*axes).view(-1, 2)

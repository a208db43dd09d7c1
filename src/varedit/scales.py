"""Scale schedules: the list of token grids, coarse to fine, for an aspect ratio and a pixel budget.

The released table is that of spec "Scale schedules"; small models bring their own templates in their configuration.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from varedit.errors import ConfigError, UsageError

Grid = tuple[int, int]  # (h, w) in tokens
MAX_SIDE = 1024  # tokens; 16384 pixels in the released models


@dataclass(frozen=True)
class ScaleSchedule:
    """The grids (h_k, w_k) of scales k = 1..K, coarse to fine; never shrinking along either axis."""

    grids: tuple[Grid, ...]

    def __post_init__(self) -> None:
        if not self.grids:
            raise ConfigError("a scale schedule needs at least one scale")
        if max(max(grid) for grid in self.grids) > MAX_SIDE:
            raise ConfigError(f"a grid of {max(self.grids)} tokens is too large; sides are at most {MAX_SIDE}")
        for coarse, fine in zip(((1, 1), *self.grids), self.grids, strict=False):
            if fine[0] < coarse[0] or fine[1] < coarse[1]:
                raise ConfigError(
                    f"scale {fine[0]}x{fine[1]} may not be smaller than {coarse[0]}x{coarse[1]} before it"
                )

    @classmethod
    def from_grids(cls, grids: Iterable[Sequence[int]]) -> ScaleSchedule:
        """Build from [[h, w], ...] as it stands in JSON."""
        try:
            return cls(tuple((operator.index(h), operator.index(w)) for h, w in grids))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"a scale schedule must be a list of [height, width] pairs, not {grids!r}") from error

    def __len__(self) -> int:
        return len(self.grids)

    def __iter__(self) -> Iterator[Grid]:
        return iter(self.grids)

    @property
    def final(self) -> Grid:
        """(h_K, w_K), also the grid of the source tokens."""
        return self.grids[-1]

    @property
    def aspect_ratio(self) -> float:
        """Height over width of the final grid."""
        return self.final[0] / self.final[1]

    @property
    def lengths(self) -> tuple[int, ...]:
        """L_k, tokens of each scale."""
        return tuple(h * w for h, w in self.grids)

    @property
    def num_tokens(self) -> int:
        """Target tokens of all scales together."""
        return sum(self.lengths)

    def first(self, count: int) -> ScaleSchedule:
        """The schedule of the ``count`` coarsest scales."""
        return ScaleSchedule(self.grids[:count])

    def scaled(self, factor: int) -> ScaleSchedule:
        """The same scales on a grid ``factor`` times as fine, such as latents under 2 x 2 patch merging."""
        return ScaleSchedule(tuple((h * factor, w * factor) for h, w in self.grids))


@dataclass(frozen=True)
class Template:
    """One aspect ratio: its schedule in use, and the schedule that its rotary position table is made from."""

    name: str
    aspect_ratio: float  # height over width, as named in the table
    schedule: ScaleSchedule
    rotary_reference: ScaleSchedule


@dataclass(frozen=True)
class TemplateSet:
    """The aspect ratios a model knows, in the order in which ties are decided."""

    templates: tuple[Template, ...]

    def __post_init__(self) -> None:
        if not self.templates:
            raise ConfigError("a model needs at least one schedule template")
        if len({len(template.schedule) for template in self.templates}) > 1:
            raise ConfigError("all templates of a model must have the same number of scales")

    def nearest(self, height: int, width: int) -> Template:
        """The template whose ratio differs least from height / width (absolute difference, the first wins ties)."""
        ratio = height / width
        return min(self.templates, key=lambda template: abs(ratio - template.aspect_ratio))

    def named(self, name: str) -> Template:
        """The template of a name. Raises UsageError if the model has none."""
        for template in self.templates:
            if template.name == name:
                return template
        names = ", ".join(template.name for template in self.templates)
        raise UsageError(f"this model has no scale schedule {name!r}; it has {names}")

    @property
    def square(self) -> Template:
        """The template of ratio 1. Raises ConfigError if the model has none."""
        for template in self.templates:
            if template.aspect_ratio == 1.0:
                return template
        raise ConfigError("this model has no square schedule")


@dataclass(frozen=True)
class _ReleasedTable:
    full: tuple[tuple[float, ScaleSchedule], ...]

    def within(self, budget: str) -> TemplateSet:
        """All templates cut to a pixel budget; position tables always come from the full 1M schedules."""
        count = BUDGETS[budget]
        return TemplateSet(
            tuple(Template(f"{ratio:.3f}", ratio, schedule.first(count), schedule) for ratio, schedule in self.full)
        )


# Number of scales of each pixel budget: every budget is a prefix of the 1M schedule.
BUDGETS = {"0.06M": 7, "0.25M": 10, "0.60M": 12, "1M": 13}

# Upright templates: nominal height / width, then the 13 grids as "h x w" or, where square, one number.
_UPRIGHT: dict[float, str] = {
    1.0: "1 2 4 6 8 12 16 20 24 32 40 48 64",
    1.25: "1 2 3 5x4 10x8 15x12 20x16 25x20 30x24 35x28 45x36 55x44 70x56",
    1.333: "1 2 4x3 8x6 12x9 16x12 20x15 24x18 28x21 36x27 48x36 60x45 72x54",
    1.5: "1 2 3x2 6x4 9x6 15x10 21x14 27x18 33x22 39x26 48x32 63x42 78x52",
    1.75: "1 2 3 7x4 11x6 14x8 21x12 28x16 35x20 42x24 56x32 70x40 84x48",
    2.0: "1 2 4x2 6x3 10x5 16x8 22x11 30x15 38x19 46x23 60x30 74x37 90x45",
    2.5: "1 2 5x2 10x4 15x6 20x8 25x10 30x12 40x16 50x20 65x26 80x32 100x40",
    3.0: "1 2 6x2 9x3 15x5 21x7 27x9 36x12 45x15 54x18 72x24 90x30 111x37",
}


def _released_table() -> _ReleasedTable:
    rows: list[tuple[float, ScaleSchedule]] = []
    for ratio, text in _UPRIGHT.items():
        sides = [[int(side) for side in grid.split("x")] for grid in text.split()]
        upright = ScaleSchedule.from_grids((side[0], side[-1]) for side in sides)
        rows.append((ratio, upright))
        if ratio != 1.0:  # the lying twin is named by its ratio cut to three decimals
            rows.append((int(1000 / ratio) / 1000, ScaleSchedule(tuple((w, h) for h, w in upright))))
    return _ReleasedTable(tuple(rows))


RELEASED_TEMPLATES = _released_table()

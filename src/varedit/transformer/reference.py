"""How the source image conditions the target: `sar` (Scale-Aligned Reference), `finest`, `full`.

Paper section 3.2; spec "Attention pattern". Source rows stand directly before the target's in every key buffer, so
that whatever a target scale may see is one contiguous run of rows: the last `visible` source rows, then the target
scales so far.

* `finest`: one group of source tokens at the final grid; every target scale sees all of it.
* `sar`: the same, but in the first layer target scale k sees, in its place, the source's keys and values averaged
  down to the grid of scale k.
* `full`: the source's tokens of all scales, finest first, so that the scales <= k stand next to the target.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from varedit.config import TransformerConfig
from varedit.quantizer import MultiScaleQuantizer, latents_to_tokens
from varedit.scales import Grid, ScaleSchedule, Template
from varedit.transformer.rope import Rotary, exact_positions, released_flat_positions, rotary_table


@dataclass(frozen=True)
class SequenceLayout:
    """Where every token of one schedule stands: source rows first, then the target scales, coarse to fine.

    Attributes:
        schedule: token grids of the target.
        source_grids: token grids of the source groups in sequence order.
        source_levels: row of the level embedding of each source group.
        levels: (S + L,) that of every token.
        aligned_first_layer: whether the first layer sees the source at the scale of the target (SAR).
        has_pyramid: whether the source stands there at every scale, quantised (`full`).
        rotary: positions of all S + L tokens.
    """

    schedule: ScaleSchedule
    source_grids: tuple[Grid, ...]
    source_levels: tuple[int, ...]
    levels: Tensor
    aligned_first_layer: bool
    has_pyramid: bool
    rotary: Rotary

    def coarsest(self, count: int) -> SequenceLayout:
        """The same source with the ``count`` coarsest target scales alone: these see nothing of the others anyway."""
        schedule = self.schedule.first(count)
        rows = self.num_source + schedule.num_tokens
        return dataclasses.replace(self, schedule=schedule, levels=self.levels[:rows], rotary=self.rotary.rows(0, rows))

    @property
    def num_source(self) -> int:
        """S, source tokens."""
        return sum(h * w for h, w in self.source_grids)

    @property
    def source_starts(self) -> tuple[int, ...]:
        """First row of each source group; a group attends to the rows from its own start to S."""
        return _starts([h * w for h, w in self.source_grids])

    @property
    def target_starts(self) -> tuple[int, ...]:
        """First target token of each scale, counted from the first target token; the last entry is the end."""
        return (*_starts(list(self.schedule.lengths)), self.schedule.num_tokens)

    @property
    def kept_rows(self) -> int:
        """Rows that later scales read: the source's, and those of all target scales but the last."""
        return self.num_source + self.target_starts[-2]

    def is_aligned(self, layer: int) -> bool:
        """Whether a layer (counted from 0) sees the source averaged down to the target's scale."""
        return self.aligned_first_layer and layer == 0

    def visible(self, scale: int, layer: int) -> int:
        """How many source rows, directly before the target's, a target scale attends to."""
        if self.is_aligned(layer):
            return self.schedule.lengths[scale]
        return sum(self.schedule.lengths[: scale + 1]) if self.has_pyramid else self.num_source

    def aligned(self, source: Tensor, scale: int) -> Tensor:
        """Source keys or values (B, N, S, E) averaged down to the grid of a scale: (B, N, h_k * w_k, E).

        Keys are averaged after normalisation and rotation, and not normalised again.
        """
        merged = source.transpose(1, 2).flatten(2)  # (B, S, N * E)
        heads: Tensor = self.averaged(merged, scale).unflatten(2, (source.shape[1], -1))
        return heads.transpose(1, 2)

    def averaged(self, tokens: Tensor, scale: int) -> Tensor:
        """Tokens (B, S, channels) of the finest source grid, averaged down to the grid of a scale."""
        grid, finest = self.schedule.grids[scale], self.source_grids[0]
        if grid == finest:
            return tokens
        maps = tokens.transpose(1, 2).unflatten(2, finest)  # (B, channels, h_K, w_K)
        averaged: Tensor = F.adaptive_avg_pool2d(maps, grid).flatten(2)
        return averaged.transpose(1, 2)


def sequence_layout(
    config: TransformerConfig, template: Template, device: torch.device | str = "cpu"
) -> SequenceLayout:
    """The layout of one template under a model's `reference` and `rotary_layout`."""
    schedule, table = template.schedule, template.rotary_reference
    if config.reference == "full":
        source_grids = schedule.grids[::-1]
        source_levels = tuple(range(len(schedule)))[::-1]
    else:
        source_grids = (schedule.final,)
        source_levels = (len(schedule) - 1,)
    if config.rotary_layout == "released_flat":
        positions = released_flat_positions(schedule, table)
    else:
        source = exact_positions(list(source_grids), table.final, shifted=True)
        target = exact_positions(list(schedule), table.final, shifted=False)
        positions = torch.cat([source, target])
    groups = [*zip(source_levels, source_grids, strict=True), *enumerate(schedule)]
    levels = [level for level, (h, w) in groups for _ in range(h * w)]
    return SequenceLayout(
        schedule=schedule,
        source_grids=source_grids,
        source_levels=source_levels,
        levels=torch.tensor(levels, device=device),
        aligned_first_layer=config.reference == "sar",
        has_pyramid=config.reference == "full",
        rotary=rotary_table(positions, config.head_width).to(device),
    )


def source_tokens(features: Tensor, quantizer: MultiScaleQuantizer, layout: SequenceLayout, merge: int) -> Tensor:
    """Source features (B, d, H, W) as tokens (B, S, token_bits) in the layout's order.

    `sar` and `finest` take the raw features, as the release does; `full` takes the quantised sums of every scale.
    """
    if not layout.has_pyramid:
        return latents_to_tokens(features, merge)
    sums = quantizer.encode(features).running
    scales = range(len(sums))[::-1]
    return torch.cat([latents_to_tokens(quantizer.step_input(sums[k], k), merge) for k in scales], dim=1)


def _starts(lengths: list[int]) -> tuple[int, ...]:
    return tuple(sum(lengths[:index]) for index in range(len(lengths)))

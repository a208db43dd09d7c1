"""Edit-aware reuse: where the target equals the source, its late scales take the source's own bits.

Whether it does is told by its sum before the late scales or, for models with `source_proposal`, by what the source
proposes, which knows before the first scale and is nearly nil outside of an edit.

An edit that leaves most of a picture alone then costs little more than its own part of it, and everything else comes
out exactly as the source does. Opt-in, since it is an approximation: what is reused is not computed, later tokens do
not see it, and a change that would only begin at a late scale is missed. Knows nothing of transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from varedit.errors import ConfigError, UsageError
from varedit.quantizer import MultiScaleQuantizer
from varedit.scales import Grid, ScaleSchedule

SHARES = (0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of a scale's tokens that are computed, where they are to be few numbers


@dataclass(frozen=True, kw_only=True)
class ReuseSettings:
    """When a place counts as unchanged.

    Args:
        first_scale: counted from 0, the first scale that reuses; None is the one after the first that has at least
            half the rows of the final grid.
        tolerance: share of bits of one full-length code that may differ at an unchanged place. 0 asks that the sums
            of target and source be the same to the last bit.
        margin: tokens of the final grid around every change that are computed too.
        nearly_all: share of the tokens from which on all are computed: there is little to gain, and what an edit of the
            whole picture changes least is not to stay behind.

    Raises: UsageError for a number that is out of range.
    """

    first_scale: int | None = None
    tolerance: float = 0.02
    margin: int = 1
    nearly_all: float = 0.9

    def __post_init__(self) -> None:
        if self.first_scale is not None and self.first_scale < 1:
            raise UsageError(f"reuse can begin at scale 1 (counted from 0) at the earliest, not {self.first_scale}")
        if not 0 <= self.tolerance <= 1:
            raise UsageError(f"the tolerance of reuse is a share of bits from 0 to 1, not {self.tolerance}")
        if self.margin < 0:
            raise UsageError(f"the margin of reuse is a number of tokens, not {self.margin}")
        if not 0 <= self.nearly_all <= 1:
            raise UsageError(f"nearly all tokens are a share of them from 0 to 1, not {self.nearly_all}")

    def begins(self, schedule: ScaleSchedule) -> int:
        """The first scale of a schedule that reuses. Raises UsageError if the schedule has no such scale."""
        if self.first_scale is None:
            rows = schedule.final[0]
            return 1 + next(scale for scale, (h, _) in enumerate(schedule.grids[:-1]) if 2 * h >= rows)
        if self.first_scale >= len(schedule):
            raise UsageError(f"reuse would begin at scale {self.first_scale}, but the model has {len(schedule)} scales")
        return self.first_scale


def own_settings(values: Mapping[str, Any]) -> ReuseSettings:
    """A model's own settings, from its config.json. Raises ConfigError where they are none."""
    try:
        return ReuseSettings(**values)
    except (TypeError, UsageError) as error:
        raise ConfigError(f"the model's generation settings hold a reuse that is none: {error}") from error


@dataclass(frozen=True)
class ScalePlaces:
    """The tokens of one scale that are computed.

    Attributes:
        index: (B, A) tokens of each item, row-major on the scale's grid, no token twice.
        is_padding: (B, A) true at tokens that only fill up an item's row to the longest one; None where none do.
    """

    index: Tensor
    is_padding: Tensor | None

    def pick(self, tokens: Tensor) -> Tensor:
        """The tokens (B, A, C) among all of the scale (B, L_k, C)."""
        return tokens.gather(1, self.index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))

    def put(self, picked: Tensor, tokens: Tensor) -> Tensor:
        """All tokens (B, L_k, C), those that are computed replaced by (B, A, C)."""
        if self.is_padding is not None:
            picked = torch.where(self.is_padding.unsqueeze(-1), self.pick(tokens), picked)
        return tokens.scatter(1, self.index.unsqueeze(-1).expand_as(picked), picked)

    def repeated(self, branches: int) -> ScalePlaces:
        """The same tokens in every guidance branch."""
        padding = None if self.is_padding is None else self.is_padding.repeat(branches, 1)
        return ScalePlaces(self.index.repeat(branches, 1), padding)


@dataclass(frozen=True)
class Reuse:
    """What one batch of edits computes of its late scales.

    Attributes:
        is_active: (B, h_K, w_K) bool on the final token grid; elsewhere the source is kept.
        places: for each late scale what is computed; None where it is everything.
        kept: (B, d, H, W) what the unchanged places end as: the sum of the source's own codes.
    """

    is_active: Tensor
    places: dict[int, ScalePlaces | None]
    kept: Tensor

    def settle(self, features: Tensor) -> Tensor:
        """Features (B, d, H, W) with every unchanged place exactly as the source's."""
        return torch.where(_resized(self.is_active, features.shape[-2:]).unsqueeze(1), features, self.kept)


def find_reuse(
    settings: ReuseSettings,
    schedule: ScaleSchedule,
    quantizer: MultiScaleQuantizer,
    source: Tensor,
    features: Tensor,
    allowed: Tensor | None,
    proposal: Tensor | None = None,
    *,
    fills_up: bool = False,
) -> Reuse:
    """Find where the target equals the source: by its sum before the first late scale, or by the source's proposal.

    Reads back how many tokens remain: the one place where generation waits for the device.

    Args:
        source: (B, d, H, W) features of the sources.
        features: (B, d, H, W) the target's sum before the first late scale.
        allowed: (B, h_K, w_K) bool on the final token grid, where a mask lets the picture change; None is everywhere.
        proposal: (B, d, H, W) how far the source proposes that the target lies; None compares the sums.
        fills_up: compute one of few shares of the tokens, the same of all late scales, the rest of it at places that
            reuse the source all the same.
    """
    begins = settings.begins(schedule)
    sums = quantizer.encode(source).running
    difference = features - sums[begins - 1] if proposal is None else proposal
    share = difference.square().mean(dim=1, keepdim=True) * (quantizer.channels / 4)
    changed = F.adaptive_max_pool2d((share > settings.tolerance).float(), schedule.final)
    around = 2 * settings.margin + 1
    is_active = F.max_pool2d(changed, around, stride=1, padding=settings.margin)[:, 0] > 0
    is_active |= is_active.float().mean(dim=(1, 2), keepdim=True) >= settings.nearly_all
    if allowed is not None:
        is_active &= allowed
    late = range(begins, len(schedule))
    on_scales = [_resized(is_active, schedule.grids[scale]).flatten(1) for scale in late]
    counts = torch.stack([active.sum(dim=1) for active in on_scales]).tolist()
    sizes = [max(of_scale) for of_scale in counts]
    if fills_up:
        sizes = _filled_up(sizes, [active.shape[1] for active in on_scales])
    places = {scale: _places(*each) for scale, *each in zip(late, on_scales, counts, sizes, strict=True)}
    return Reuse(is_active, places, sums[-1])


def _filled_up(sizes: list[int], lengths: list[int]) -> list[int]:
    """The least of `SHARES` of the scales' lengths that holds so many tokens of each."""
    rounded = ([math.ceil(share * length) for length in lengths] for share in SHARES)
    return next(each for each in rounded if all(held >= size for held, size in zip(each, sizes, strict=True)))


def _places(active: Tensor, counts: list[int], size: int) -> ScalePlaces | None:
    """The active tokens (B, L_k) of a scale, ``counts`` of each item, and others up to ``size``."""
    if min(counts) == active.shape[1]:
        return None
    index = active.byte().argsort(dim=1, descending=True, stable=True)[:, :size]
    return ScalePlaces(index, None if min(counts) == size else ~active.gather(1, index))


def _resized(is_active: Tensor, grid: Grid | torch.Size) -> Tensor:
    """A map (B, h, w) bool on another grid: true wherever something true lies."""
    pooled: Tensor = F.adaptive_max_pool2d(is_active.float().unsqueeze(1), tuple(grid))
    return pooled[:, 0] > 0

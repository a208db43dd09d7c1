"""What small models add to the paper's form: a standing proposal for every bit, made of the source.

Options of the config, all off for models that follow the paper: `source_residual`, and on top of it `residual_shift`
and `source_proposal`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.config import TransformerConfig
from varedit.scales import Grid
from varedit.transformer.block import modulated_norm
from varedit.transformer.pixel_network import PixelNetwork

COPY_SCALE = 4.0  # initial weight of the copy path, in logits
COPY_SHARPNESS = 10.0  # of the residual over the spread of the features
COPY_OPENNESS = 2.0  # initial gate, before the sigmoid
PLACE_WAVES = (0.5, 1.0, 2.0, 4.0)  # half waves over the picture's width and height that tell a place
SHIFTED_SCALE = 1.5  # initial weight where the path learns a shift: its votes are not bounded by one


class CopyPath(nn.Module):
    """A proposal to reproduce the source (`source_residual`), or the source as it is to become.

    Each target token is told what the source still has over the sum so far, and the bits start out as the sign of
    that residual; a gate per bit learns where to depart from it. The proposal also mends the model's own earlier
    errors, since the residual is taken from the sum that was really produced.

    With `residual_shift` the path learns, for every token and channel, how far the target's features lie from the
    source's, and proposes the sign of what the *target* still has over the sum. One answer then serves all scales,
    however fine their codes are; without it the model must do this arithmetic anew in each bit's logits.

    With `source_proposal` the source's own last states tell that distance first, once for all scales; see
    `SourceProposal`.
    """

    spread: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(config.token_bits, config.width, bias=False)
        self.gate = nn.Linear(config.width, config.token_bits)
        self.shift = nn.Linear(config.width, config.token_bits) if config.residual_shift else None
        self.proposal = SourceProposal(config) if config.source_proposal else None
        scale = COPY_SCALE if self.shift is None else SHIFTED_SCALE
        self.strength = nn.Parameter(torch.full((config.level_rows,), scale))
        self.register_buffer("spread", torch.ones(()))  # standard deviation of the autoencoder's features

    def logits(self, h: Tensor, residuals: Tensor, levels: Tensor) -> Tensor:
        """(B, L, token bits, 2): for and against bit 1, from states (B, L, D) and residuals (B, L, token bits)."""
        opened = torch.sigmoid(self.gate(h) + COPY_OPENNESS) * self.strength[levels].unsqueeze(-1)
        wanted = COPY_SHARPNESS * residuals / self.spread
        if self.shift is None:
            vote = opened * torch.tanh(wanted) / 2
        else:  # a function that never saturates, so that a shift that is far off still learns
            vote = opened * torch.asinh(wanted + COPY_SHARPNESS * self.shift(h)) / 2
        return torch.stack((-vote, vote), dim=-1)

    def proposed(self, states: Tensor, pooled: Tensor, source: Tensor) -> Tensor | None:
        """How far the target lies from each source token; None without `source_proposal`. See `SourceProposal`."""
        return None if self.proposal is None else self.proposal(states, pooled, source, self.spread)


class SourceProposal(nn.Module):
    """How far the target's features lie from the source's, told by the source's own last states.

    The source runs through all blocks and reads the instruction on its way, so its states know what is to become of
    each place. A gain on the features, a mixture of them and a shift make the difference. New content is a matter of
    shifts; tones and colours are nearly linear in the pixels, so in the features, but no channel goes by itself. The
    mixture is bilinear: the states weigh some views of the features, learned ones, and their sum is added. All this
    needs no target, so it can be trained without one, at a quarter of the tokens; target tokens then begin with what
    remains to be said.

    What a map of features cannot tell, since it depends on single pixels, a small network tells (`pixel_network`), and
    instruction and state decide for each token which of the two to trust.

    Rotary positions tell tokens only where they stand to each other, and the source sees nothing but itself, so it is
    told where in the picture each of its tokens lies; "the left half" means nothing to it otherwise.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.eps = config.norm_eps
        self.modulation = nn.Linear(config.width, 2 * config.width)
        self.gain = nn.Linear(config.width, config.token_bits)
        self.shift = nn.Linear(config.width, config.token_bits)
        self.view = nn.Linear(config.token_bits, config.width, bias=False)
        self.weigh = nn.Linear(config.width, config.width)
        self.mix = nn.Linear(config.width, config.token_bits, bias=False)
        self.pixels = PixelNetwork(config)
        self.trust = nn.Linear(config.width, 1)
        self.trust_asked = nn.Linear(config.width, 1, bias=False)
        self.place = nn.Linear(4 * len(PLACE_WAVES), config.width, bias=False)

    def places(self, grids: Sequence[Grid]) -> Tensor:
        """What is added to source tokens of some grids: (S, D)."""
        waves = torch.cat([place_waves(grid, self.place.weight.device) for grid in grids])
        placed: Tensor = self.place(waves)
        return placed

    def forward(self, states: Tensor, pooled: Tensor, source: Tensor, spread: Tensor) -> Tensor:
        """The difference (B, S, token bits) float32.

        Args:
            states: (B, S, D), out of the last block, of the source's finest tokens.
            pooled: (B, D), the instruction.
            source: (B, S, token bits), those tokens themselves.
            spread: standard deviation of the features, the unit of the shift.
        """
        scale, shift = self.modulation(F.silu(pooled)).unflatten(-1, (2, -1)).unsqueeze(2).unbind(1)
        h = modulated_norm(states, scale, shift, self.eps)
        mixed = self.mix(self.weigh(h) * self.view(source))
        mapped = self.shift(h).float() * spread + (self.gain(h) * source + mixed).float()
        asked = F.layer_norm(pooled, pooled.shape[-1:], eps=self.eps).unsqueeze(1)
        trust = (self.trust(h) + self.trust_asked(asked)).float().sigmoid()
        difference = torch.lerp(mapped, self.pixels(h, pooled, source).float(), trust)
        return difference


def place_waves(grid: Grid, device: torch.device) -> Tensor:
    """Where the tokens of a grid (h, w) lie in the picture: (h * w, 16), sines and cosines of down and across."""
    axes = torch.meshgrid(*((torch.arange(n, device=device) + 0.5) / n for n in grid), indexing="ij")
    angles = torch.stack(axes, dim=-1).flatten(0, 1).unsqueeze(-1) * math.pi * torch.tensor(PLACE_WAVES, device=device)
    return torch.cat((angles.sin(), angles.cos()), dim=-1).flatten(1)

"""What small models add to the paper's form: a standing proposal for every bit, made of the source.

Options of the config, all off for models that follow the paper: `source_residual`, and on top of it `residual_shift`
and `source_proposal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.config import TransformerConfig
from varedit.scales import Grid
from varedit.transformer.attention import Items
from varedit.transformer.block import TextContext, modulated_norm
from varedit.transformer.collage import Collage, Layers, composed
from varedit.transformer.pixel_network import SQUARE, PixelNetwork
from varedit.transformer.places import place_waves
from varedit.transformer.word_reader import READ, WordReader

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

    def proposed(self, states: Tensor, text: TextContext, source: Tensor, grid: Grid) -> Proposed | None:
        """How far the target lies from each source token; None without `source_proposal`. See `SourceProposal`."""
        return None if self.proposal is None else self.proposal(states, text, source, grid, self.spread)


class Proposed(NamedTuple):
    """What a source is to become.

    Attributes:
        difference: (B, h * w, token bits) float32, how far the target's features lie from each source token.
        layers: those of the collage that it was made of.
    """

    difference: Tensor
    layers: Layers

    def taken(self, items: Items) -> Proposed:
        """Some items of the batch."""
        return Proposed(self.difference[items], self.layers.taken(items))


class SourceProposal(nn.Module):
    """How far the target's features lie from the source's, told by the source's own last states.

    The source runs through all blocks and reads the instruction on its way, so its states know what is to become of
    each place. Which of two edits is the slight one, the pooled instruction hardly tells, so words are read once more.
    A gain on the features, a mixture of them and a shift make the difference. New content is a matter of shifts; tones
    and colours are nearly linear in the pixels, so in the features, but no channel goes by itself. The mixture is
    bilinear: the states weigh some views of the features, learned ones, and their sum is added. All this needs no
    target, so it can be trained without one, at a quarter of the tokens; target tokens then begin with what remains to
    be said.

    What a map of features cannot tell, since it depends on single pixels, a small network tells (`pixel_network`), and
    instruction and state decide for each token which of the two to trust. Another network then finds to the pixel
    what changes at all, and cuts out and pastes what an instruction moves or resizes (`collage`). A token none of whose
    pixels changes is the source's own.

    Rotary positions tell tokens only where they stand to each other, and the source sees nothing but itself, so it is
    told where in the picture each of its tokens lies; "the left half" means nothing to it otherwise.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.eps = config.norm_eps
        self.words = WordReader(config)
        self.ask = nn.Linear(READ, config.width)
        self.modulation = nn.Linear(config.width, 2 * config.width)
        self.gain = nn.Linear(config.width, config.token_bits)
        self.shift = nn.Linear(config.width, config.token_bits)
        self.view = nn.Linear(config.token_bits, config.width, bias=False)
        self.weigh = nn.Linear(config.width, config.width)
        self.mix = nn.Linear(config.width, config.token_bits, bias=False)
        self.pixels = PixelNetwork(config)
        self.trust = nn.Linear(config.width, 1)
        self.trust_asked = nn.Linear(config.width, 1, bias=False)
        self.collage = Collage(config)
        self.place = nn.Linear(4 * len(PLACE_WAVES), config.width, bias=False)

    def places(self, grids: Sequence[Grid]) -> Tensor:
        """What is added to source tokens of some grids: (S, D)."""
        waves = torch.cat([place_waves(grid, self.place.weight.device, PLACE_WAVES) for grid in grids])
        placed: Tensor = self.place(waves)
        return placed

    def instruction(self, text: TextContext) -> Tensor:
        """(B, D): as all blocks have it, and what its words tell in their neighbours' company."""
        told: Tensor = text.pooled + self.ask(self.words(text))
        return told

    def asked(self, instruction: Tensor) -> Tensor:
        """The same as the network over pixels reads it: normalised."""
        return F.layer_norm(instruction, instruction.shape[-1:], eps=self.eps)

    def forward(self, states: Tensor, text: TextContext, source: Tensor, grid: Grid, spread: Tensor) -> Proposed:
        """What the source is to become.

        Args:
            states: (B, h * w, D), out of the last block, of the source's finest tokens.
            text: the instructions.
            source: (B, h * w, token bits), those tokens themselves.
            grid: h, w.
            spread: standard deviation of the features, the unit of the shift.
        """
        h, difference = self._drawn(states, self.instruction(text), source, spread)
        before, proposed = self._seen(source, difference, grid)
        layers: Layers = self.collage(before, proposed, h.transpose(1, 2).unflatten(2, grid), text)
        made = composed(before, proposed, layers, self.collage.fill)
        is_touched = F.max_pool2d((made != before).any(dim=1, keepdim=True).float(), SQUARE).flatten(2).transpose(1, 2)
        return Proposed(is_touched * (difference + self.pixels.coded(made - proposed).float()), layers)

    def _drawn(self, states: Tensor, instruction: Tensor, source: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Steered states, and the difference (B, S, token bits) before it is cut."""
        scale, shift = self.modulation(F.silu(instruction)).unflatten(-1, (2, -1)).unsqueeze(2).unbind(1)
        h = modulated_norm(states, 1 + scale, shift, self.eps)
        mixed = self.mix(self.weigh(h) * self.view(source))
        mapped = self.shift(h).float() * spread + (self.gain(h) * source + mixed).float()
        asked = self.asked(instruction)
        trust = (self.trust(h) + self.trust_asked(asked).unsqueeze(1)).float().sigmoid()
        return h, torch.lerp(mapped, self.pixels(h, asked, source).float(), trust)

    def _seen(self, source: Tensor, difference: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """The source and what is proposed so far in the colours of their pixels, (B, 3, h, w) float32."""
        seen, proposed = (self.pixels.seen(each, grid) for each in (source, source + difference.to(source.dtype)))
        return seen.float(), proposed.float()

"""What becomes of each pixel of a token: the part of a source's proposal that no linear map of features can tell.

"Make the blue parts green" changes one pixel and not its neighbour, by the hue of each. The features of a token hold
its pixels nearly as a linear code, so a linear map brings them back, a small network edits them one by one as the
instruction and the token's state tell it to, and another linear map makes features of the change.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.config import TransformerConfig
from varedit.scales import Grid

SQUARE = 8  # pixels along a token's side, whatever the autoencoder's own number is
PAINTED = 8  # channels that a token's state paints onto its pixels
HIDDEN = 64
HUE_WAVES = 5  # up to how many waves around the circle of hues tell a hue
SMALLEST_CHROMA = 0.01  # of colours in [-1, 1]; below it a hue fades
COLOUR_FEATURES = 5 + 2 * HUE_WAVES


class PixelNetwork(nn.Module):
    """Edits the pixels of source tokens, each by itself.

    A pixel is described by its colour and hue, by where in the token it lies, and by what the token's state paints
    there. Two hidden layers are scaled and shifted by the instruction, and by the token's state on top of it, so that
    an edit of the whole picture is learned once for all places, and one of a place by the tokens that lie there.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.look = nn.Linear(config.token_bits, 3 * SQUARE**2)
        self.paint = nn.Linear(config.width, PAINTED * SQUARE**2, bias=False)
        self.told = nn.Linear(config.width, 4 * HIDDEN)
        self.told_here = nn.Linear(config.width, 4 * HIDDEN, bias=False)
        self.first = nn.Linear(COLOUR_FEATURES + 2 + PAINTED, HIDDEN)
        self.second = nn.Linear(HIDDEN, HIDDEN)
        self.change = nn.Linear(HIDDEN, 3)
        self.code = nn.Linear(3 * SQUARE**2, config.token_bits, bias=False)

    def forward(self, h: Tensor, asked: Tensor, source: Tensor) -> Tensor:
        """What is added to source tokens (B, S, token bits).

        Args:
            h: (B, S, D), their states.
            asked: (B, D), the instruction, normalised.
            source: those tokens.
        """
        colours = self.look(source).unflatten(-1, (3, -1)).transpose(-1, -2)  # (B, S, pixels, 3)
        painted = self.paint(h).unflatten(-1, (PAINTED, -1)).transpose(-1, -2)
        place = _places(h.device).to(painted.dtype).expand(*painted.shape[:2], -1, -1)
        told = self.told(asked).unsqueeze(1) + self.told_here(h)  # (B, S, 4 * HIDDEN)
        change = self._changed(colours, torch.cat((place, painted), dim=-1), told.unsqueeze(2))
        added: Tensor = self.code(change.transpose(-1, -2).flatten(-2))
        return added

    def edited(self, colours: Tensor, asked: Tensor) -> Tensor:
        """Colours (B, N, 3) in [-1, 1] of single pixels, edited as the instruction (B, D), normalised, alone tells."""
        nowhere = colours.new_zeros(*colours.shape[:2], 2 + PAINTED)
        return colours + self._changed(colours, nowhere, self.told(asked).unsqueeze(1))

    def seen(self, tokens: Tensor, grid: Grid) -> Tensor:
        """The colours that tokens (B, h * w, token bits) of a grid (h, w) hold: (B, 3, SQUARE h, SQUARE w)."""
        return F.pixel_shuffle(self.look(tokens).transpose(1, 2).unflatten(2, grid), SQUARE)

    def coded(self, change: Tensor) -> Tensor:
        """A change (B, 3, SQUARE h, SQUARE w) of colours as one of tokens, (B, h * w, token bits)."""
        tokens: Tensor = self.code(F.pixel_unshuffle(change, SQUARE).flatten(2).transpose(1, 2))
        return tokens

    def _changed(self, colours: Tensor, rest: Tensor, told: Tensor) -> Tensor:
        """The change (..., 3) of colours (..., 3), from the rest of what is known of them (..., 2 + PAINTED)."""
        first_scale, first_shift, second_scale, second_shift = told.chunk(4, dim=-1)
        x = self.first(torch.cat((colour_features(colours), rest), dim=-1))
        x = self.second(F.silu(torch.addcmul(first_shift, x, 1 + first_scale)))
        change: Tensor = self.change(F.silu(torch.addcmul(second_shift, x, 1 + second_scale)))
        return change


def colour_features(colours: Tensor) -> Tensor:
    """Colours (..., 3) in [-1, 1] as (..., 15): themselves, chroma, mean, and waves around the circle of hues."""
    red, green, blue = colours.unbind(-1)
    chroma = colours.amax(dim=-1) - colours.amin(dim=-1)
    return torch.stack((red, green, blue, chroma, colours.mean(dim=-1), *_hue_waves(colours.detach())), dim=-1)


def _hue_waves(colours: Tensor) -> list[Tensor]:
    """Cosines and sines of 1 to HUE_WAVES times the hue; they fade towards grey, where hues mean nothing."""
    red, green, blue = colours.unbind(-1)
    across, up = red - (green + blue) / 2, (green - blue) * 0.75**0.5
    length = torch.rsqrt(across.square() + up.square() + SMALLEST_CHROMA**2)
    cosine, sine = across * length, up * length
    waves = [cosine, sine]
    for _ in range(HUE_WAVES - 1):
        *_, before_cosine, before_sine = waves
        waves += [before_cosine * cosine - before_sine * sine, before_sine * cosine + before_cosine * sine]
    return waves


def _places(device: torch.device) -> Tensor:
    """Down and across in [-1, 1] within a token: (SQUARE**2, 2)."""
    axis = (torch.arange(SQUARE, device=device) + 0.5) * 2 / SQUARE - 1
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).flatten(0, 1)

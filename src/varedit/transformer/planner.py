"""What an instruction tells by itself, before a picture is seen: what goes where, what a new thing looks like."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from varedit.config import TransformerConfig
from varedit.transformer.block import TextContext
from varedit.transformer.sprite_network import SpriteNetwork
from varedit.transformer.word_reader import READ, WordReader

PLACEMENT = 7  # is it taken away, is it shown, is a new one, log of the scale, has that its own place, x, y: see `Plan`
SQUARES = (24, 14, 8)  # of mosaics along a picture's shorter side: "slightly pixelated", plainly, and strongly
SURE = 2.0  # logits of what a plan begins with


class Plan(NamedTuple):
    """What an instruction tells by itself.

    Attributes:
        placement: (B, 7): logit that the thing is taken away from where it is; logit that it is shown once more, as it
            is in the source, over what is there; logit that a new thing is; the logarithm of the size of what is shown,
            over the thing's own, and of a new thing that has a place of its own, over the picture's shorter side; logit
            of such a place; and the middle of what is shown there, x and y as shares of the picture's sides.
        sprite: (B, 4, side, side), the new thing, see `SpriteNetwork`.
        mosaic: (B, 1 + len(SQUARES)), logits of what changes: it becomes no mosaic, or one of so many flat squares.
    """

    placement: Tensor
    sprite: Tensor
    mosaic: Tensor


class Planner(nn.Module):
    """Makes a plan of what it reads."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.words = WordReader(config)
        told = PLACEMENT + 1 + len(SQUARES)
        self.tell = nn.Sequential(nn.SiLU(), nn.Linear(READ, READ), nn.SiLU(), nn.Linear(READ, told))
        self.sprites = SpriteNetwork(READ)

    @torch.no_grad()
    def begin_with_nothing(self) -> None:
        """At first no thing is taken away or shown, and nothing is a mosaic."""
        last = cast(nn.Linear, self.tell[-1])
        last.bias[:3] = -SURE
        last.bias[PLACEMENT:] = torch.tensor([SURE] + [-SURE] * len(SQUARES))

    def forward(self, text: TextContext) -> Plan:
        """As the words of instructions tell; float32."""
        read = self.words(text)
        placement, mosaic = cast(Tensor, self.tell(read)).float().split((PLACEMENT, 1 + len(SQUARES)), dim=1)
        return Plan(placement, self.sprites(read), mosaic)


def squares_of(mosaic: Tensor) -> Tensor:
    """How many squares along a picture's shorter side the likeliest mosaic has, (B, 1); 0 where that is none."""
    counts = torch.tensor((0, *SQUARES), device=mosaic.device)
    return counts[mosaic.argmax(dim=1, keepdim=True)]

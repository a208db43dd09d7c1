"""Cuts and pastes: where the source changes at all, which of its pixels are the thing spoken of, what goes where.

Where a thing ends, the source shows to the pixel; which thing is meant, the states of tokens know. A U-Net brings the
two together. What changes then takes the proposal's colours, and nothing else does; and a thing that is moved, or made
larger or smaller, is pasted there as the source shows it, since no token could hold it as sharply. So is a new thing,
which is drawn by its name. What goes where, the words alone tell (`planner`).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.config import TransformerConfig
from varedit.transformer.attention import Items, TextPool
from varedit.transformer.block import TextContext
from varedit.transformer.fill_network import FillNetwork, smoothly_filled
from varedit.transformer.places import place_waves
from varedit.transformer.planner import Plan, Planner, squares_of
from varedit.unet_parts import ToldBlock, smooth_step

FOLD = 2  # pixels along the side of what the finest level sees as one
WIDTHS = (32, 64, 128)  # channels of the levels, each half as large as the one before; the last one's places are tokens
READ = 128  # channels of what a level is told of the instruction
READERS = 4  # weighted means of the instruction's words that are read
WAVES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # half waves over the picture that tell a place
MASKS = 2  # what changes, and the thing
CERTAIN = (0.35, 0.65)  # a probability below is none, above it is full
LARGEST_SCALE = 4.0
SURE = 2.0  # logits of what the masks begin with
QUIET_SHARE = 0.02  # of the weights that tell masks, at first
SPECKS = 0.005  # share of a thing's pixels that do not tell where it begins

Fill = Callable[[Tensor, Tensor], Tensor]


class Layers(NamedTuple):
    """What a collage is made of.

    Attributes:
        changed: (B, 1, h, w), logits of a pixel's change.
        thing: (B, 1, h, w), logits that it belongs to the thing that the instruction speaks of.
        placement, sprite, mosaic: see `Plan`.
    """

    changed: Tensor
    thing: Tensor
    placement: Tensor
    sprite: Tensor
    mosaic: Tensor

    @property
    def plan(self) -> Plan:
        """What the words alone tell."""
        return Plan(*self[2:])

    def taken(self, items: Items) -> Layers:
        """Some items of the batch."""
        return Layers(*(each[items] for each in self))


class Collage(nn.Module):
    """A U-Net over the pixels of the source and of a proposal, with the states of tokens at its bottom."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.eps = config.norm_eps
        self.reader = TextPool(config.width, READ, READERS)
        self.conv_in = nn.Conv2d(2 * 3 * FOLD**2 + 4 * len(WAVES), WIDTHS[0], 3, padding=1)
        self.before = nn.ModuleList(ToldBlock(width, READ) for width in WIDTHS)
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(WIDTHS))
        self.states = nn.Conv2d(config.width, WIDTHS[-1], 1)
        self.middle = ToldBlock(WIDTHS[-1], READ)
        self.up = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in pairwise(WIDTHS))
        self.after = nn.ModuleList(ToldBlock(width, READ) for width in WIDTHS[:-1])
        self.masks = nn.Conv2d(WIDTHS[0], MASKS * FOLD**2, 3, padding=1)
        self.planner = Planner(config)
        self.fill = FillNetwork()

    @torch.no_grad()
    def begin_with_the_proposal(self) -> None:
        """At first all may change, no thing is shown over it, and nothing is a mosaic: the proposal is as it was."""
        changed, thing = cast(Tensor, self.masks.bias).chunk(MASKS)
        changed.fill_(SURE)
        thing.fill_(-SURE)
        self.masks.weight.mul_(QUIET_SHARE)
        self.planner.begin_with_nothing()

    def forward(self, source: Tensor, proposed: Tensor, states: Tensor, text: TextContext) -> Layers:
        """Find the layers.

        Args:
            source, proposed: (B, 3, 8 h, 8 w), colours in [-1, 1].
            states: (B, D, h, w), of tokens.
            text: of the instructions; their words are read, since one vector for all would lose a place.
        """
        read = self.reader(text.words, text.mask)
        read = F.layer_norm(read, read.shape[-1:], eps=self.eps)
        pixels = F.pixel_unshuffle(torch.cat((source, proposed - source), dim=1), FOLD)
        height, width = pixels.shape[2:]
        waves = place_waves((height, width), pixels.device, WAVES).unflatten(0, (1, height, width)).movedim(-1, 1)
        x = torch.cat((pixels, waves.to(pixels.dtype).expand(len(pixels), -1, -1, -1)), dim=1)
        x = self.conv_in(x.contiguous(memory_format=torch.channels_last))
        kept = []
        for block, down in zip(self.before, self.down, strict=False):
            kept.append(block(x, read))
            x = down(kept[-1])
        x = self.middle(self.before[-1](x + self.states(states), read), read)
        for finer, up, block in reversed(list(zip(kept, self.up, self.after, strict=True))):
            x = block(finer + F.pixel_shuffle(up(x), 2), read)
        changed, thing = F.pixel_shuffle(self.masks(F.silu(x)), FOLD).float().chunk(MASKS, dim=1)
        return Layers(changed, thing, *self.planner(text))


def composed(source: Tensor, proposed: Tensor, layers: Layers, fill: Fill = smoothly_filled) -> Tensor:
    """The picture (B, 3, h, w) of layers.

    It is the source, over it the proposal or a mosaic of it where it changes, over that the thing, where it is shown
    once more, or a new one. Where a thing is taken away or a new one comes, that is the whole edit: what surrounds the
    thing goes on where it was, and nothing is the proposal's.

    Args:
        fill: makes of a picture (B, 3, h, w), and of what is known of it, (B, 1, h, w), one that is known everywhere.
    """
    changed, thing = (_sure(logits) for logits in layers[:2])
    taken, _, is_new = layers.placement[:, :3].unsqueeze(-1).unbind(1)  # each (B, 1)
    squares = squares_of(layers.mosaic)
    drawn = torch.where(squares[..., None, None] > 0, _in_squares(proposed, squares), proposed)
    by_proposal = 1 - torch.maximum(_of_pictures(taken), _of_pictures(is_new))
    under = torch.lerp(source, drawn, changed * by_proposal)
    made = torch.lerp(under, fill(source, 1 - widened(thing, 2)), widened(thing, 1) * _of_pictures(taken))
    height, width = source.shape[2:]
    for paste in pastes(source, layers):
        across, down = (
            torch.addcmul(offset, gain, (torch.arange(side, device=source.device) + 0.5) / side)
            for (gain, offset), side in ((paste.across, width), (paste.down, height))
        )
        over = _sampled(paste.picture, across, down) * paste.shown[..., None, None]
        made = made * (1 - over[:, 3:]) + over[:, :3]
    return made


class Paste(NamedTuple):
    """A picture that is read into other ones, over what is there.

    Attributes:
        picture: (B, 4, a, b), how far it covers what is under it, in [0, 1], after colours that are multiplied by that.
        across, down: gain and offset, (B, 1) each: which share of its side is read at a share of the other's.
        shown: (B, 1) in [0, 1].
        is_source: whether the picture is that of the source, which may be known with more pixels.
    """

    picture: Tensor
    across: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]
    shown: Tensor
    is_source: bool


def pastes(source: Tensor, layers: Layers) -> tuple[Paste, Paste]:
    """The thing of a source (B, 3, h, w) that is shown once more, and a new one."""
    height, width = source.shape[2:]
    thing, sprite = _sure(layers.thing), _sure(layers.sprite[:, 3:])
    _, copied, is_new, log_scale, moved, *own_place = layers.placement.unsqueeze(-1).unbind(1)  # each (B, 1)
    ends = [_ends(thing.sum(dim=axis).squeeze(1)) for axis in (2, 3)]  # across, down
    middles = [(first + last) / 2 for first, last in ends]
    there = [torch.lerp(middle, to, _sure(moved)) for middle, to in zip(middles, own_place, strict=True)]
    scale = log_scale.exp().clamp(1 / LARGEST_SCALE, LARGEST_SCALE)
    copy = [(1 / scale, middle - to / scale) for middle, to in zip(middles, there, strict=True)]

    own_side = torch.maximum(*((last - first) * n for (first, last), n in zip(ends, (width, height), strict=True)))
    side = (torch.lerp(own_side, torch.full_like(own_side, min(height, width)), _sure(moved)) * scale).clamp(min=1)
    new = [(length / side, 0.5 - to * length / side) for to, length in zip(there, (width, height), strict=True)]
    return (
        Paste(torch.cat((source * thing, thing), dim=1), copy[0], copy[1], _sure(copied), is_source=True),
        Paste(
            torch.cat((layers.sprite[:, :3] * sprite, sprite), dim=1), new[0], new[1], _sure(is_new), is_source=False
        ),
    )


def _sure(logits: Tensor) -> Tensor:
    return smooth_step(torch.sigmoid(logits), CERTAIN)


def _of_pictures(logits: Tensor) -> Tensor:
    """Logits (B, 1) as shares that fit pictures, (B, 1, 1, 1)."""
    return _sure(logits)[..., None, None]


def _sampled(picture: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """A picture (B, C, h, w) read at columns (B, W) and rows (B, H), shares of its sides: (B, C, H, W); 0 beyond it."""
    grid = torch.stack(torch.broadcast_tensors(across.unsqueeze(1), down.unsqueeze(2)), dim=-1) * 2 - 1
    return F.grid_sample(picture, grid, align_corners=False)


def _in_squares(picture: Tensor, count: Tensor) -> Tensor:
    """A picture (B, C, h, w) as a mosaic: (B, 1) flat squares along its shorter side, each the mean of its pixels."""
    height, width = picture.shape[2:]
    rows, columns = (_means(count * side / min(height, width), side) for side in (height, width))
    with torch.autocast(picture.device.type, enabled=False):  # colours, which bfloat16 would round
        return rows.unsqueeze(1) @ picture @ columns.mT.unsqueeze(1)


@torch.no_grad()
def _means(count: Tensor, side: int) -> Tensor:
    """What makes of each of ``side`` places the mean of its part, (B, side, side), where ``count`` (B, 1) parts are."""
    count = count.round().clamp(1, side)
    ends = torch.arange(1, side + 1, device=count.device)
    part = (ends * count / side).ceil()  # (B, side): from 1
    same = (part.unsqueeze(1) == part.unsqueeze(2)).float()
    return same / same.sum(dim=2, keepdim=True)


def widened(mask: Tensor, pixels: int) -> Tensor:
    """A mask (B, 1, h, w) with so many pixels more all around."""
    return F.max_pool2d(mask, 2 * pixels + 1, stride=1, padding=pixels)


@torch.no_grad()
def _ends(profile: Tensor) -> tuple[Tensor, Tensor]:
    """Where what a profile (B, n) holds begins and ends, but for specks: shares of the n places, (B, 1) each."""
    places = profile.shape[1]
    specks = SPECKS * profile.sum(dim=1, keepdim=True)
    before, after = ((ends.cumsum(dim=1) <= specks).sum(dim=1, keepdim=True) for ends in (profile, profile.flip(1)))
    return before / places, 1 - after / places

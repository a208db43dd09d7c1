"""Cuts and pastes: where the source changes at all, which of its pixels are the thing spoken of, where that thing goes.

Where a thing ends, the source shows to the pixel; which thing is meant, the states of tokens know. A U-Net brings the
two together. What changes then takes the proposal's colours, and nothing else does; and a thing that is moved, or made
larger or smaller, is pasted there as the source shows it, since no token could hold it as sharply.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.config import TransformerConfig
from varedit.transformer.attention import TextPool
from varedit.transformer.block import TextContext
from varedit.transformer.places import place_waves
from varedit.unet_parts import ToldBlock, smooth_step

FOLD = 2  # pixels along the side of what the finest level sees as one
WIDTHS = (32, 64, 128)  # channels of the levels, each half as large as the one before; the last one's places are tokens
READ = 128  # channels of what a level is told of the instruction, and of the hidden layer that tells a place
READERS = 4  # weighted means of the instruction's words that are read
WAVES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # half waves over the picture that tell a place
MASKS = 2  # what changes, and the thing
PLACEMENT = 6  # is it taken away, is it shown, log of its scale, is it moved, x and y of where to; see `Layers`
CERTAIN = (0.35, 0.65)  # a probability below is none, above it is full
LARGEST_SCALE = 4.0
SURE = 2.0  # logits of what the layers begin with
QUIET_SHARE = 0.02  # of the weights that tell layers, at first
LEAST_KNOWN = 1e-4  # share of a square's pixels
SPECKS = 0.005  # share of a thing's pixels that do not tell where it begins


class Layers(NamedTuple):
    """What a collage is made of.

    Attributes:
        changed: (B, 1, h, w), logits of a pixel's change.
        thing: (B, 1, h, w), logits that it belongs to the thing that the instruction speaks of.
        placement: (B, 6): logit that the thing is taken away from where it is; logit that it is shown once more, as it
            is in the source, over what is there; the logarithm of the size in which it is, over its size in the source;
            logit that it is elsewhere; and the middle of its box there, x and y as shares of the picture's sides.
    """

    changed: Tensor
    thing: Tensor
    placement: Tensor


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
        self.place = nn.Sequential(nn.SiLU(), nn.Linear(READ, READ), nn.SiLU(), nn.Linear(READ, PLACEMENT))

    @torch.no_grad()
    def begin_with_the_proposal(self) -> None:
        """At first all may change, and no thing is shown once more, so that the proposal is as it was."""
        changed, thing = cast(Tensor, self.masks.bias).chunk(MASKS)
        changed.fill_(SURE)
        thing.fill_(-SURE)
        last = cast(nn.Linear, self.place[-1])
        for layer in (self.masks, last):
            layer.weight.mul_(QUIET_SHARE)
        last.bias[:2] = -SURE  # neither taken away nor shown once more

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
        return Layers(changed, thing, cast(Tensor, self.place(read)).float())


def composed(source: Tensor, proposed: Tensor, layers: Layers) -> Tensor:
    """The picture (B, 3, h, w) of layers.

    It is the source, over it the proposal where it changes, over that what surrounds the thing, where that is taken
    away, and over that the thing, where it is shown once more.
    """
    changed, thing = (smooth_step(torch.sigmoid(logits), CERTAIN) for logits in layers[:2])
    is_taken, is_copied, log_scale, is_moved, x, y = layers.placement.unsqueeze(-1).unbind(1)  # each (B, 1)
    taken = _widened(thing, 1) * smooth_step(torch.sigmoid(is_taken), CERTAIN)[..., None, None]
    under = torch.lerp(torch.lerp(source, proposed, changed), _filled(source, 1 - _widened(thing, 2)), taken)
    scale = log_scale.exp().clamp(1 / LARGEST_SCALE, LARGEST_SCALE)
    elsewhere = smooth_step(torch.sigmoid(is_moved), CERTAIN)
    from_to = []  # for columns, then for rows: where each of the copy comes from
    for axis, to in ((3, x), (2, y)):
        places = (torch.arange(thing.shape[axis], device=thing.device) + 0.5) / thing.shape[axis]
        middle = _middle(thing.sum(dim=5 - axis).squeeze(1))
        new_middle = torch.lerp(middle, to, elsewhere)
        from_to.append((places - new_middle) / scale + middle)
    across, down = from_to
    grid = torch.stack(torch.broadcast_tensors(across.unsqueeze(1), down.unsqueeze(2)), dim=-1) * 2 - 1
    copy = F.grid_sample(torch.cat((source, thing), dim=1), grid, align_corners=False)
    shown = copy[:, 3:] * smooth_step(torch.sigmoid(is_copied), CERTAIN)[..., None, None]
    return torch.lerp(under, copy[:, :3], shown)


def _widened(mask: Tensor, pixels: int) -> Tensor:
    return F.max_pool2d(mask, 2 * pixels + 1, stride=1, padding=pixels)


def _filled(picture: Tensor, known: Tensor) -> Tensor:
    """A picture (B, 3, h, w) whose unknown parts follow from the known ones, (B, 1, h, w) in [0, 1], around them.

    Colours are averaged over squares twice as large each time, until all is known, and brought back to what was not
    (pull and push; Gortler et al. 1996, "The Lumigraph").
    """
    if min(picture.shape[2:]) == 1:
        return picture
    weight = F.avg_pool2d(known, 2, ceil_mode=True)
    coarse = F.avg_pool2d(picture * known, 2, ceil_mode=True) / weight.clamp(LEAST_KNOWN)
    coarse = _filled(coarse, (4 * weight).clamp(max=1))
    finer = F.interpolate(coarse, size=picture.shape[2:], mode="bilinear")
    return torch.lerp(finer, picture, known)


@torch.no_grad()
def _middle(profile: Tensor) -> Tensor:
    """The middle (B, 1) of what a profile (B, n) holds from end to end, but for specks: a share of the n places."""
    specks = SPECKS * profile.sum(dim=1, keepdim=True)
    before, after = ((ends.cumsum(dim=1) <= specks).sum(dim=1, keepdim=True) for ends in (profile, profile.flip(1)))
    return (profile.shape[1] + before - after) / (2 * profile.shape[1])

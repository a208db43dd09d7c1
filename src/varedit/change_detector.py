"""Tells an edit from noise: where a decoded result differs from the decoded source on purpose.

A small editor redraws, slightly wrong, much that it should have copied. Beside one picture alone that is hard to tell
from a faint edit; this network has seen many results of its editor beside the truth, and reads the instruction: "make
the blue parts red" tells where a photograph may change before anything is drawn. Which parts are blue the photograph
itself shows best, so it sees that too. What it says limits the restored change as a user's mask does (spec "Restoring
the photograph's own resolution", step 5); the paper has nothing like it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.config import ChangeDetectorConfig
from varedit.text_features import TextFeatures
from varedit.unet_parts import ToldBlock, smooth_step

READERS = 4  # views of an instruction, each a weighted mean of its words


class ChangeDetector(nn.Module):
    """A U-Net over a photograph and both decoded pictures, level by level half as large, with one look at the whole.

    What the instruction says scales and shifts the features of every block.

    Args:
        config: its size, and what it makes of its probabilities.
        text_channels: of encoded instructions.
    """

    def __init__(self, config: ChangeDetectorConfig, text_channels: int) -> None:
        super().__init__()
        self.config = config
        widths, read = config.widths, config.widths[-1]
        self.words = _Words(text_channels, read)
        self.conv_in = nn.Conv2d(12, widths[0], 3, padding=1)
        self.before = nn.ModuleList(ToldBlock(width, read) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths))
        self.whole = nn.Sequential(nn.Linear(2 * widths[-1], widths[-1]), nn.SiLU(), nn.Linear(widths[-1], widths[-1]))
        self.middle = nn.ModuleList(ToldBlock(widths[-1], read) for _ in range(2))
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.after = nn.ModuleList(ToldBlock(width, read) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], 1, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(cast(Tensor, self.head.bias))

    def forward(self, photograph: Tensor, source: Tensor, result: Tensor, text: TextFeatures | None) -> Tensor:
        """Logits (B, 1, h, w) float32 of a change.

        Without text it judges by the pictures alone. So it does an instruction of length 0.

        Args:
            photograph: (B, 3, h, w) in [-1, 1]; the decoded source once more, where there is none.
            source, result: likewise, decoded.
        """
        height, width = source.shape[2:]
        square = 2 ** len(self.down)
        read = self.words(text, len(source))
        x = torch.cat((photograph, source, result, 2 * (result - source)), dim=1)
        x = self.conv_in(F.pad(x, (0, -width % square, 0, -height % square), mode="replicate"))
        kept = []
        for block, down in zip(self.before, self.down, strict=False):
            kept.append(block(x, read))
            x = down(kept[-1])
        x = self.before[-1](x, read)
        x = x + self.whole(torch.cat((x.mean(dim=(2, 3)), x.amax(dim=(2, 3))), dim=1))[:, :, None, None]
        for block in self.middle:
            x = block(x, read)
        for finer, up, block in reversed(list(zip(kept, self.up, self.after, strict=True))):
            x = block(finer + F.interpolate(up(x), scale_factor=2.0, mode="bilinear"), read)
        return cast(Tensor, self.head(x).float())[:, :, :height, :width]

    @torch.inference_mode()
    def change(self, photograph: Tensor, source: Tensor, result: Tensor, text: TextFeatures | None) -> Tensor:
        """How far the photograph may change, (B, 1, h, w) in [0, 1]; nowhere for what is surely noise. As `forward`.

        An edit of nearly the whole picture is one of all of it: a place that it changes little is no hole in it.
        """
        change = smooth_step(torch.sigmoid(self(photograph, source, result, text)), self.config.certainty)
        is_whole = smooth_step(change.mean(dim=(2, 3), keepdim=True), self.config.whole)
        return torch.maximum(change, is_whole)


class _Words(nn.Module):
    """Encoded instructions to one vector each: several weighted means of the words, mixed."""

    def __init__(self, text_channels: int, width: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(text_channels, READERS)
        self.mix = nn.Sequential(nn.Linear(READERS * text_channels, width), nn.SiLU(), nn.Linear(width, width))
        self.unread = nn.Parameter(torch.zeros(width))

    def forward(self, text: TextFeatures | None, count: int) -> Tensor:
        """(B, width); without words, what stands for them."""
        unread = self.unread.expand(count, -1)
        if text is None:
            return unread
        lengths = torch.tensor(text.lengths, device=text.features.device)[:, None]
        is_word = torch.arange(text.features.shape[1], device=lengths.device) < lengths.clamp(min=1)
        weights = self.weigh(text.features).masked_fill(~is_word[:, :, None], -torch.inf).softmax(dim=1)
        read = self.mix(torch.einsum("btr,btc->brc", weights, text.features).flatten(1))
        return torch.where(lengths > 0, read, unread)

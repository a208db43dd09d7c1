"""Encoded instructions, as they pass from the text encoder to the transformer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class TextFeatures:
    """Encoded instructions, padded to the longest of the batch.

    Attributes:
        features: (B, T, text channels) float32; rows past an item's length are never read.
        lengths: B lengths in tokens.
    """

    features: Tensor
    lengths: tuple[int, ...]

    def mask(self) -> Tensor | None:
        """(B, 1, 1, T) true at real tokens, or None where no item is padded."""
        longest = self.features.shape[1]
        if all(length == longest for length in self.lengths):
            return None
        places = torch.arange(longest, device=self.features.device)
        lengths = torch.tensor(self.lengths, device=self.features.device)
        return (places < lengths[:, None])[:, None, None]

    def joined(self, other: TextFeatures) -> TextFeatures:
        """This batch followed by another."""
        longest = max(self.features.shape[1], other.features.shape[1])
        padded = [F.pad(part.features, (0, 0, 0, longest - part.features.shape[1])) for part in (self, other)]
        return TextFeatures(torch.cat(padded), self.lengths + other.lengths)

    def replaced(self, items: Sequence[int], other: TextFeatures) -> TextFeatures:
        """This batch with some items' texts taken from another batch of as many."""
        longest = max(self.features.shape[1], other.features.shape[1])
        features = F.pad(self.features, (0, 0, 0, longest - self.features.shape[1])).clone()
        features[list(items)] = F.pad(other.features, (0, 0, 0, longest - other.features.shape[1]))
        lengths = list(self.lengths)
        for item, length in zip(items, other.lengths, strict=True):
            lengths[item] = length
        return TextFeatures(features, tuple(lengths))

"""Instructions as one vector that knows which word belongs to which: "slightly" to "darker", "red" to the ring."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from varedit.config import TransformerConfig
from varedit.transformer.attention import TextPool
from varedit.transformer.block import TextContext

READ = 128  # channels of a word, and of what is read of all
READERS = 8  # weighted means of words
REACH = 5  # words that one sees at a time, itself in the middle
LOOKS = 2  # at what is around a word


class WordReader(nn.Module):
    """Reads words in their neighbours' company, then several weighted means of them.

    In "turn the red ring into a star" nothing but its place tells which is the new thing.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.eps = config.norm_eps
        self.first = nn.Linear(config.width, READ)
        self.around = nn.ModuleList(nn.Conv1d(READ, READ, REACH, padding=REACH // 2) for _ in range(LOOKS))
        self.reader = TextPool(READ, READ, READERS)

    def forward(self, text: TextContext) -> Tensor:
        """(B, READ), normalised."""
        is_word = 1.0 if text.mask is None else text.mask[:, 0].mT.to(text.words.dtype)  # (B, T, 1)
        x = self.first(text.words) * is_word
        for look in self.around:
            x = x + cast(Tensor, look(F.silu(self._normal(x)).mT)).mT * is_word
        return self._normal(self.reader(x, text.mask))

    def _normal(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=self.eps)

"""One transformer block: self-attention and feed-forward modulated by the pooled text, cross-attention in between."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.config import TransformerConfig
from varedit.transformer.attention import Attend, SelfAttention
from varedit.transformer.cross_attention import CrossAttention, FoldedText, TextKeysValues
from varedit.transformer.rope import Rotary


@dataclass(frozen=True)
class TextContext:
    """What the blocks read of the text.

    Attributes:
        pooled: (B, D) float32, one vector per instruction.
        words: (B, T, D) projected words.
        mask: (B, 1, 1, T) true at real words, or None where no item is padded.
    """

    pooled: Tensor
    words: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Modulation:
    """Gains, scales and shifts of one block, each (B, 1, D) float32; the same for all tokens of an item."""

    attention_gain: Tensor
    feed_forward_gain: Tensor
    attention_scale: Tensor
    feed_forward_scale: Tensor
    attention_shift: Tensor
    feed_forward_shift: Tensor


class Block(nn.Module):
    """Spec "Block": three residual branches, each starting from what the one before left."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.eps = config.norm_eps
        self.modulation_offset = nn.Parameter(torch.zeros(1, 1, 6, config.width))
        self.attention = SelfAttention(config.width, config.num_heads)
        self.cross_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.cross_attention = CrossAttention(config.width, config.num_heads)
        self.feed_forward = FeedForward(config.width, config.ffn_hidden)

    def modulate(self, shared: Tensor) -> Modulation:
        """This block's modulation from the shared one, (B, 6, D) float32."""
        rows = shared.unsqueeze(1) + self.modulation_offset.float()  # (B, 1, 6, D)
        return Modulation(*rows.unbind(2))

    def read_text(self, context: TextContext) -> TextKeysValues:
        """This block's keys and values of the words; the same for every token and scale."""
        return self.cross_attention.read(context.words, context.mask)

    def prepare_text(self, context: TextContext) -> TextKeysValues | FoldedText:
        """The same for the many calls of an edit, in the form that takes the least work there."""
        return self.cross_attention.prepared(self.read_text(context))

    def in_context(self, x: Tensor, shared: Tensor, context: TextContext, rotary: Rotary, attend: Attend) -> Tensor:
        """The block as training runs it, with nothing kept: under the modulation and text read here."""
        result: Tensor = self(x, self.modulate(shared), self.read_text(context), rotary, attend)
        return result

    def forward(
        self, x: Tensor, modulation: Modulation, text: TextKeysValues | FoldedText, rotary: Rotary, attend: Attend
    ) -> Tensor:
        """(B, L, D) float32 -> (B, L, D) float32; the branches run in the type of their weights."""
        attended = attend(*self.enter(x, modulation, rotary))
        return self.leave(x, attended, modulation, text)

    def enter(self, x: Tensor, modulation: Modulation, rotary: Rotary) -> tuple[Tensor, Tensor, Tensor]:
        """Up to the self-attention: queries, keys and values, each (B, N, L, E)."""
        h = modulated_norm(x, modulation.attention_scale, modulation.attention_shift, self.eps)
        return self.attention.project_in(h, rotary)

    def leave(self, x: Tensor, attended: Tensor, modulation: Modulation, text: TextKeysValues | FoldedText) -> Tensor:
        """From the self-attention's result (B, N, L, E) on, beside what entered."""
        m = modulation
        x = torch.addcmul(x, m.attention_gain, self.attention.project_out(attended))
        x = x + self.cross_attention(self.cross_norm(x), text)
        h = modulated_norm(x, m.feed_forward_scale, m.feed_forward_shift, self.eps)
        fed: Tensor = self.feed_forward(h)
        return torch.addcmul(x, m.feed_forward_gain, fed)


class FeedForward(nn.Module):
    """Widen, GELU in its tanh form, narrow; per token."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.widen(x.to(self.widen.weight.dtype)), approximate="tanh")
        narrowed: Tensor = self.narrow(hidden)
        return narrowed


def modulated_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Layer norm without weights in float32, then scale about one and shift."""
    return torch.addcmul(shift, F.layer_norm(x.float(), x.shape[-1:], eps=eps), 1 + scale)

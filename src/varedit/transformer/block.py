"""One transformer block: self-attention and feed-forward modulated by the pooled text, cross-attention in between."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.config import TransformerConfig
from varedit.transformer.attention import Attend, AttentionConstants, Items, SelfAttention
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
    """Gains, scales and shifts of one block, each (B, 1, D) float32; the same for all tokens of an item.

    Scales are whole: one and what the instruction adds.
    """

    attention_gain: Tensor
    feed_forward_gain: Tensor
    attention_scale: Tensor
    feed_forward_scale: Tensor
    attention_shift: Tensor
    feed_forward_shift: Tensor

    def taken(self, items: Items) -> Modulation:
        """That of some items of the batch."""
        return Modulation(*(getattr(self, field.name)[items] for field in fields(self)))


@dataclass(frozen=True)
class BlockContext:
    """What one block is told beside its tokens; the same in all calls of an edit."""

    modulation: Modulation
    text: TextKeysValues | FoldedText
    constants: AttentionConstants

    def taken(self, items: Items) -> BlockContext:
        """That of some items of the batch."""
        return BlockContext(self.modulation.taken(items), self.text.taken(items), self.constants)


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
        gain, feed_gain, scale, feed_scale, shift, feed_shift = rows.unbind(2)
        return Modulation(gain, feed_gain, 1 + scale, 1 + feed_scale, shift, feed_shift)

    def prepare(self, shared: Tensor, context: TextContext) -> BlockContext:
        """What the many calls of an edit need, the text in the form that takes the least work there."""
        text = self.cross_attention.prepared(self._text(context))
        return BlockContext(self.modulate(shared), text, self.attention.constants())

    def in_context(self, x: Tensor, shared: Tensor, context: TextContext, rotary: Rotary, attend: Attend) -> Tensor:
        """The block as training runs it, with nothing kept: under the modulation and text read here."""
        told = BlockContext(self.modulate(shared), self._text(context), self.attention.constants())
        result: Tensor = self(x, told, rotary, attend)
        return result

    def forward(self, x: Tensor, context: BlockContext, rotary: Rotary, attend: Attend) -> Tensor:
        """(B, L, D) float32 -> (B, L, D) float32; the branches run in the type of their weights."""
        attended = attend(*self.enter(x, context, rotary))
        return self.leave(x, attended, context)

    def enter(self, x: Tensor, context: BlockContext, rotary: Rotary) -> tuple[Tensor, Tensor, Tensor]:
        """Up to the self-attention: queries, keys and values, each (B, N, L, E)."""
        m = context.modulation
        h = modulated_norm(x, m.attention_scale, m.attention_shift, self.eps)
        return self.attention.project_in(h, context.constants, rotary)

    def leave(self, x: Tensor, attended: Tensor, context: BlockContext) -> Tensor:
        """From the self-attention's result (B, N, L, E) on, beside what entered."""
        m = context.modulation
        x = torch.addcmul(x, m.attention_gain, self.attention.project_out(attended))
        x = x + self.cross_attention(self.cross_norm(x), context.text)
        h = modulated_norm(x, m.feed_forward_scale, m.feed_forward_shift, self.eps)
        fed: Tensor = self.feed_forward(h)
        return torch.addcmul(x, m.feed_forward_gain, fed)

    def _text(self, context: TextContext) -> TextKeysValues:
        """This block's keys and values of the words; the same for every token and scale."""
        return self.cross_attention.read(context.words, context.mask)


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
    """Layer norm without weights in float32, then scale and shift."""
    return torch.addcmul(shift, F.layer_norm(x.float(), x.shape[-1:], eps=eps), scale)

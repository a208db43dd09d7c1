"""Cross-attention of image tokens to the words of the instruction, in two forms of one arithmetic (spec "Block").

* `TextKeysValues`: each token makes a query, looks at the keys, and the sum of values is projected.
* `FoldedText`: a score is (Wx + b) . k, which is x . (W^T k) + b . k, and a sum of values that is projected is the sum
  of the projected values. So keys that have gone through the query's matrix and values that have gone through the
  projection, once an edit, take the place of both matrices. A token then meets N * T numbers where it met D, an eighth
  or so for a usual instruction, and no query is made at all.

Up to which length the second is less work, `longest_folded` says.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from varedit.transformer.attention import Items, as_addend, attend_all, merge_heads, split_heads, split_keys_values


@dataclass(frozen=True)
class TextKeysValues:
    """One layer's view of the text: keys and values (B, N, T, E), and what hides padding, (B, 1, 1, T) added to scores.

    Nothing is (None) where no item is padded.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor | None

    def taken(self, items: Items) -> TextKeysValues:
        """That of some items of the batch."""
        return TextKeysValues(self.keys[items], self.values[items], None if self.mask is None else self.mask[items])


@dataclass(frozen=True)
class FoldedText:
    """The same with the layer's matrices in it.

    Attributes:
        text: what it was made of.
        keys: (B, N * T, D), heads one after the other.
        bias: (B, 1, N * T), what is added to the scores; -inf at words that are padding.
        values: (B, N * T, D).
    """

    text: TextKeysValues
    keys: Tensor
    bias: Tensor
    values: Tensor

    def taken(self, items: Items) -> FoldedText:
        """That of some items of the batch."""
        return FoldedText(self.text.taken(items), self.keys[items], self.bias[items], self.values[items])


class CrossAttention(nn.Module):
    """Image tokens attend to the words of the instruction; plain scaled dot products."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.value_bias = nn.Parameter(torch.zeros(width))
        self.project = nn.Linear(width, width)

    def read(self, words: Tensor, mask: Tensor | None) -> TextKeysValues:
        """Projected words (B, T, D) and the mask (B, 1, 1, T) of real ones; the same for every token and scale."""
        keys, values = split_keys_values(words, self.key_value, self.value_bias, self.num_heads)
        return TextKeysValues(keys, values, as_addend(mask, keys.dtype))

    def prepared(self, text: TextKeysValues) -> TextKeysValues | FoldedText:
        """The form of a text that takes the least work where many tokens will look at it.

        Folded, it has no more use for the layers `query` and `project`: hooks on them hear nothing.
        """
        matrices = (self.query, self.project)
        if text.keys.shape[2] > longest_folded(text.keys.shape[3], text.keys.itemsize):
            return text
        if not all(type(linear) is nn.Linear and type(linear.weight) is nn.Parameter for linear in matrices):
            return text  # adapters, weights in 8 bits, or weights spread over processes
        return self.folded(text)

    def folded(self, text: TextKeysValues) -> FoldedText:
        """Keys through the query's matrix, values through the projection."""
        heads = (self.num_heads, -1)
        into, out = self.query.weight.unflatten(0, heads), self.project.weight.T.unflatten(0, heads)  # (N, E, D)
        bias = (text.keys * self.query.bias.unflatten(0, heads).unsqueeze(1)).sum(-1)  # (B, N, T)
        if text.mask is not None:
            bias = bias + text.mask[:, :, 0]
        keys, values = (torch.einsum("bnte,ned->bntd", *pair) for pair in ((text.keys, into), (text.values, out)))
        return FoldedText(text, keys.flatten(1, 2), bias.flatten(1).unsqueeze(1), values.flatten(1, 2))

    def forward(self, x: Tensor, text: TextKeysValues | FoldedText) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        scale = (x.shape[-1] / self.num_heads) ** -0.5
        if isinstance(text, TextKeysValues):
            queries = split_heads(self.query(x.to(text.keys.dtype)), self.num_heads)
            attended = attend_all(queries, text.keys, text.values, text.mask, scale)
            return self.project(merge_heads(attended))  # type: ignore[no-any-return]  # nn.Module call
        scores = torch.baddbmm(text.bias, x, text.keys.mT, beta=scale, alpha=scale)  # (B, L, N * T)
        shares = scores.unflatten(-1, (self.num_heads, -1)).softmax(-1).flatten(-2)
        return torch.baddbmm(self.project.bias, shares, text.values)


def longest_folded(head_width: int, bytes_per_value: int) -> int:
    """Words, padding included, of the longest text that is folded: with so many, folding saves three quarters.

    None is in 16 bits: scores would be rounded before the softmax, which no fused kernel does.
    """
    return head_width // 4 if bytes_per_value == 4 else 0

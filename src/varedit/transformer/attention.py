"""Self-attention with normalised queries and keys, the attentive text pool, and what all attention shares.

Spec "Block", "Text". What a token may attend to is decided by the caller: `SelfAttention` projects, the caller's
`attend` picks the keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from varedit.transformer.rope import Rotary, rotate

LOG_SCALE_LIMIT = math.log(100.0)
NORM_EPS = 1e-12  # of the lengths of queries and keys
HOPPER = (9, 0)  # compute capability
CUDNN_FIRST = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]

# Some items of a batch: by index, as copies, or as a slice, as views.
Items = Tensor | slice
# (queries, keys, values), each (B, N, L, E) -> attended values (B, N, L, E)
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class AttentionConstants:
    """What self-attention's weights come to, whatever the tokens are; made once for the many calls of an edit.

    Attributes:
        bias: (3 * D,) of queries, keys and values.
        strength: (2, 1, N, 1, 1) float32, what unit queries and unit keys are multiplied with.
    """

    bias: Tensor
    strength: Tensor


class SelfAttention(nn.Module):
    """Cosine attention: unit queries and keys, a learned scale per head, rotary positions, no 1 / sqrt(E)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.query_bias = nn.Parameter(torch.zeros(width))
        self.value_bias = nn.Parameter(torch.zeros(width))
        self.log_scale = nn.Parameter(torch.full((1, num_heads, 1, 1), math.log(4.0)))
        self.project = nn.Linear(width, width)

    def constants(self) -> AttentionConstants:
        """Biases side by side, and strengths as they count."""
        bias = torch.cat((self.query_bias, torch.zeros_like(self.query_bias), self.value_bias))
        # The clamp matters: released weights pass the limit.
        scale = self.log_scale.float().clamp(max=LOG_SCALE_LIMIT).exp()
        return AttentionConstants(bias, torch.stack((scale, torch.ones_like(scale))))

    def project_in(self, x: Tensor, constants: AttentionConstants, rotary: Rotary) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, D) -> rotated queries and keys, and values, each (B, N, L, E) in the type of the weights."""
        mixed = linear_plus(self.query_key_value, x.to(self.project.weight.dtype), constants.bias)
        mixed = mixed.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, N, L, E)
        values, both = mixed[2], mixed[:2].float()  # queries and keys together: half as many kernels
        lengths = torch.linalg.vector_norm(both, dim=-1, keepdim=True).clamp_min(NORM_EPS)
        queries, keys = rotate(both * (constants.strength / lengths), rotary).to(values.dtype)
        return queries, keys, values

    def project_out(self, attended: Tensor) -> Tensor:
        """(B, N, L, E) -> (B, L, D)."""
        return self.project(merge_heads(attended))  # type: ignore[no-any-return]  # nn.Module call


class TextPool(nn.Module):
    """One learned query attends to the words: a single vector for the instruction."""

    def __init__(self, text_channels: int, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.zeros(1, num_heads, width // num_heads))
        self.key_value = nn.Linear(text_channels, 2 * width, bias=False)
        self.value_bias = nn.Parameter(torch.zeros(width))
        self.project = nn.Linear(width, width)

    def forward(self, text: Tensor, mask: Tensor | None) -> Tensor:
        """Words (B, T, text channels) -> (B, D); mask (B, 1, 1, T) true at real words, None where no item is padded."""
        keys, values = split_keys_values(text, self.key_value, self.value_bias, self.num_heads)
        query = self.query.transpose(0, 1).expand(len(text), -1, -1, -1)  # (B, N, 1, E)
        attended = attend_all(query, keys, values, as_addend(mask, query.dtype), query.shape[-1] ** -0.5)
        return self.project(merge_heads(attended).squeeze(1))  # type: ignore[no-any-return]  # nn.Module call


def attend_all(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """Every query attends to every key, or to those that a mask (B, 1, 1, keys) leaves, see `as_addend`.

    Where a CPU is to learn, by plain products (there a mask must be an addend): its fused kernel is slow backward. A
    scale of 1 is for queries that have theirs already.
    """
    if not (q.requires_grad and q.device.type == "cpu"):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    scores = scale * torch.matmul(q, k.transpose(-1, -2))
    if mask is not None:
        scores = scores + mask
    return torch.matmul(scores.softmax(dim=-1), v)


def fastest_attention(device: torch.device) -> AbstractContextManager[None]:
    """Within it, fused attention takes the kernels that are fastest on a device: cuDNN's on Hopper and later."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= HOPPER:
        return sdpa_kernel(CUDNN_FIRST, set_priority=True)
    return nullcontext()


def as_addend(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A mask, true at what may be seen, as what is added to scores: 0 there, -inf elsewhere.

    The fused kernels take it either way, but bring true and false to this form in every call.
    """
    return None if mask is None else torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, -torch.inf)


def split_keys_values(x: Tensor, linear: nn.Linear, value_bias: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    """Project (B, T, C) to keys and values (B, N, T, E); the first half of the rows are keys, which have no bias."""
    bias = torch.cat((torch.zeros_like(value_bias), value_bias))
    keys, values = linear_plus(linear, x.to(linear.weight.dtype), bias).chunk(2, dim=-1)
    return split_heads(keys, num_heads), split_heads(values, num_heads)


def linear_plus(linear: nn.Module, x: Tensor, bias: Tensor) -> Tensor:
    """A linear layer without bias, plus a bias that is kept elsewhere."""
    if type(linear) is nn.Linear:
        return F.linear(x, linear.weight, bias)  # one kernel
    projected: Tensor = linear(x)  # a layer that stands in for it, such as one with a low-rank adapter
    return projected + bias


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, L, D) -> (B, N, L, E), heads being contiguous runs of channels."""
    heads: Tensor = x.unflatten(-1, (num_heads, -1))
    return heads.transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, N, L, E) -> (B, L, D)."""
    return x.transpose(1, 2).flatten(2)

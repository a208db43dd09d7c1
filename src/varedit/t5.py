"""The encoder half of a T5 (1910.10683), the text encoder of this family of models: token numbers in, states out.

Modules bear the names of published checkpoints, and config.json their keys, so that a folder written here is one that
`transformers` reads, and the reverse. That library itself is not needed for an edit: importing it takes longer than
the edit. No dropout: what is trained here is trained without it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.errors import ConfigError

FLOAT16_LIMIT = torch.finfo(torch.float16).max - 1000  # states that run over are held here


@dataclass(frozen=True, kw_only=True)
class T5Config:
    """Sizes of an encoder, by the names of published configurations; keys that others write beside them are left out.

    Raises: ConfigError where a size is missing or is none.
    """

    vocab_size: int
    d_model: int  # width
    d_kv: int  # of one head
    d_ff: int
    num_layers: int
    num_heads: int
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: str = "gated-gelu"  # or "relu", as the first T5 had it

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"{field.name} of a text encoder must be a positive whole number, not {value!r}")
        if self.feed_forward_proj not in ("gated-gelu", "relu"):
            raise ConfigError(f"feed_forward_proj must be gated-gelu or relu, not {self.feed_forward_proj!r}")

    def to_json(self) -> str:
        """The text of config.json."""
        kind = {"model_type": "t5", "architectures": ["T5EncoderModel"], "is_encoder_decoder": False}
        return json.dumps(kind | asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> T5Config:
        """Read config.json. Raises ConfigError for what is not the configuration of a T5."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"config.json is not valid JSON: {error}") from error
        if not isinstance(values, dict) or values.get("model_type") != "t5":
            raise ConfigError('config.json does not say "model_type": "t5"')
        return cls.from_sizes({"feed_forward_proj": "relu"} | values)  # the form of files that do not name one

    @classmethod
    def from_sizes(cls, values: dict[str, Any]) -> T5Config:
        """From a table that may hold other keys too. Raises ConfigError for one that lacks a size."""
        try:
            return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})
        except TypeError as error:
            raise ConfigError(f"the sizes of the text encoder are incomplete: {error}") from error


class T5Encoder(nn.Module):
    """Words, their relative positions, and what they say together."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = Stack(config)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token numbers (B, T) and mask (B, T), true at real tokens -> states (B, T, d_model), in the compute type."""
        states: Tensor = self.encoder(self.shared(ids), mask)
        return states

    def compute_in(self, dtype: torch.dtype) -> None:
        """Change the number format; in float16 the last matrices stay float32, as their results pass its range."""
        self.to(dtype)
        if dtype == torch.float16:
            for block in self.encoder.block:
                cast(Block, block).layer[1].DenseReluDense.wo.float()  # type: ignore[union-attr]  # a FeedForwardLayer


class Stack(nn.Module):
    """All blocks; the table of position biases of the first one serves them all."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.block = nn.ModuleList(Block(config, has_positions=index == 0) for index in range(config.num_layers))
        self.final_layer_norm = RootMeanSquareNorm(config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        bias = self.block[0].layer[0].SelfAttention.position_bias(x.shape[1])  # type: ignore[union-attr, index]
        bias = bias.masked_fill(~mask[:, None, None].bool(), torch.finfo(bias.dtype).min)  # (B, N, T, T)
        for block in self.block:
            x = block(x, bias)
        normed: Tensor = self.final_layer_norm(x)
        return normed


class Block(nn.Module):
    """Self-attention, then a feed-forward, each pre-normalised and added."""

    def __init__(self, config: T5Config, *, has_positions: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList((AttentionLayer(config, has_positions=has_positions), FeedForwardLayer(config)))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = _held(self.layer[0](x, bias))
        return _held(self.layer[1](x))


class AttentionLayer(nn.Module):
    """x + attention(norm(x))."""

    def __init__(self, config: T5Config, *, has_positions: bool) -> None:
        super().__init__()
        self.SelfAttention = Attention(config, has_positions=has_positions)
        self.layer_norm = RootMeanSquareNorm(config)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return x + cast(Tensor, self.SelfAttention(self.layer_norm(x), bias))


class FeedForwardLayer(nn.Module):
    """x + feed-forward(norm(x))."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        is_gated = config.feed_forward_proj == "gated-gelu"
        self.DenseReluDense = GatedFeedForward(config) if is_gated else FeedForward(config)
        self.layer_norm = RootMeanSquareNorm(config)

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.DenseReluDense(self.layer_norm(x)))


class Attention(nn.Module):
    """Dot products without a scale, plus a bias by head and distance; no projection has a bias of its own."""

    def __init__(self, config: T5Config, *, has_positions: bool) -> None:
        super().__init__()
        self.config = config
        inner = config.num_heads * config.d_kv
        self.q = nn.Linear(config.d_model, inner, bias=False)
        self.k = nn.Linear(config.d_model, inner, bias=False)
        self.v = nn.Linear(config.d_model, inner, bias=False)
        self.o = nn.Linear(inner, config.d_model, bias=False)
        if has_positions:
            self.relative_attention_bias = nn.Embedding(config.relative_attention_num_buckets, config.num_heads)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (self.config.num_heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype), scale=1.0)
        return cast(Tensor, self.o(attended.transpose(1, 2).flatten(2)))

    def position_bias(self, tokens: int) -> Tensor:
        """(1, N, T, T), by query and key."""
        places = torch.arange(tokens, device=self.relative_attention_bias.weight.device)
        buckets = distance_buckets(
            places[None, :] - places[:, None],
            self.config.relative_attention_num_buckets,
            self.config.relative_attention_max_distance,
        )
        by_head: Tensor = self.relative_attention_bias(buckets)  # (T, T, N)
        return by_head.permute(2, 0, 1).unsqueeze(0)


class FeedForward(nn.Module):
    """Widen, cut off below zero, narrow."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.wo(F.relu(self.wi(x)).to(self.wo.weight.dtype)))


class GatedFeedForward(nn.Module):
    """Widen twice, one half gates the other, narrow (2002.05202)."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x)
        return cast(Tensor, self.wo(hidden.to(self.wo.weight.dtype)))


class RootMeanSquareNorm(nn.Module):
    """Divide by the root mean square over the channels, taken in float32."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.eps = config.layer_norm_epsilon
        self.weight = nn.Parameter(torch.ones(config.d_model))

    def forward(self, x: Tensor) -> Tensor:
        normed = x * torch.rsqrt(x.float().square().mean(dim=-1, keepdim=True) + self.eps)
        return self.weight * normed.to(self.weight.dtype)


def distance_buckets(distances: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """The row of the table of biases for each distance (key minus query), int64.

    Half of the rows are for keys after the query. Of each half, the first half stands for one distance each, the
    others for ranges that grow in proportion, up to `max_distance`, beyond which all is one.
    """
    half = num_buckets // 2
    exact = half // 2
    far = distances.abs()
    growth = torch.log(far.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    ranges = (exact + (growth * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(far < exact, far, ranges) + half * (distances > 0).long()


def _held(x: Tensor) -> Tensor:
    """States in float16 without infinities."""
    return x.clamp(-FLOAT16_LIMIT, FLOAT16_LIMIT) if x.dtype == torch.float16 else x

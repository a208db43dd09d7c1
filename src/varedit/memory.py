"""How much memory an edit needs, by arithmetic from a model's configuration; nothing is loaded or allocated.

The answer is the sum of three parts, each counted where it is largest, with c bytes a number in the compute type:

- weights: c x parameters (a few parts stay float32 whatever c is, which adds some percent to a 16-bit model);
- cache: keys and values, c x 2 x D x rows, for every layer and both guidance branches; rows are the source's, the
  target's and the text's tokens. With scale-aligned reference the first layer keeps the source twice;
- activations: the larger of two moments. In a block's feed-forward over the longest call, a token holds the hidden
  layer before and after its GELU (2 x c x hidden), queries, keys and values (3 x c x D) and three rows of float32: the
  stream, its norm, and what is added to it (3 x 4 x D). At the autoencoder's finest level, a pixel holds three rows of
  channels: a block's input, its normalised copy and the convolution's result, in float32 when the photograph is encoded
  and in the compute type when the result is decoded.

What the framework itself takes (a few hundred MB) is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from varedit.config import AutoencoderConfig, EditorConfig, TransformerConfig
from varedit.scales import ScaleSchedule, Template

GUIDANCE_BRANCHES = 2  # with the instruction and without it
PROMPT_TOKENS = 64  # a long instruction; most have fewer than 20


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Bytes that one batch of edits needs."""

    weights: int
    cache: int
    activations: int

    @property
    def total(self) -> int:
        """All parts together, in bytes."""
        return self.weights + self.cache + self.activations


def memory_plan(
    config: EditorConfig, template: Template, *, parameters: int, bytes_per_value: int = 4, batch: int = 1
) -> MemoryPlan:
    """Estimate the memory of a batch of edits at one template.

    Args:
        config: of the model.
        template: one of ``config.templates``.
        parameters: of all parts of the model together.
        bytes_per_value: 4 for float32, 2 for bfloat16 and float16.
        batch: edits at once.
    """
    transformer, schedule = config.transformer, template.schedule
    height, width = config.picture_size(schedule)
    return MemoryPlan(
        weights=parameters * bytes_per_value,
        cache=batch * GUIDANCE_BRANCHES * _cache_values(transformer, schedule) * bytes_per_value,
        activations=batch
        * max(
            GUIDANCE_BRANCHES * _feed_forward_bytes(transformer, schedule, bytes_per_value),
            _autoencoder_bytes(config.autoencoder, height * width, bytes_per_value),
        ),
    )


def source_tokens(transformer: TransformerConfig, schedule: ScaleSchedule) -> int:
    """Tokens by which the source image conditions the edit: its finest grid, or all scales for reference "full"."""
    return schedule.num_tokens if transformer.reference == "full" else schedule.lengths[-1]


def _cache_values(transformer: TransformerConfig, schedule: ScaleSchedule) -> int:
    """Numbers in the cache of one guidance branch."""
    source = source_tokens(transformer, schedule)
    rows = transformer.depth * (source + schedule.num_tokens + PROMPT_TOKENS)
    if transformer.reference == "sar":
        rows += source
    return 2 * transformer.width * rows


def _feed_forward_bytes(transformer: TransformerConfig, schedule: ScaleSchedule, bytes_per_value: int) -> int:
    """Bytes that one guidance branch holds in the widest moment of a block."""
    longest_call = max(source_tokens(transformer, schedule), schedule.lengths[-1])
    per_token = bytes_per_value * (2 * transformer.ffn_hidden + 3 * transformer.width) + 4 * 3 * transformer.width
    return longest_call * per_token


def _autoencoder_bytes(autoencoder: AutoencoderConfig, pixels: int, bytes_per_value: int) -> int:
    """Bytes at the finest level; the decoder's first block there still has the width of the level below."""
    encoder = 4 * autoencoder.channel_multipliers[0]
    decoder = bytes_per_value * max(autoencoder.channel_multipliers[:2])
    return 3 * max(encoder, decoder) * autoencoder.base_channels * pixels // autoencoder.stem_patch**2

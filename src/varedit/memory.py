"""How much memory an edit needs, by arithmetic from a model's configuration; nothing is loaded or allocated.

An edit passes four moments, and the plan is the largest of them. Weights stay through all of them, save the text
encoder's where it is offloaded. Each part is counted where it is largest, with c bytes a number in the compute type:

- weights: as `varedit.precision` says, c or 4 bytes a number; in 8 bits, 1 byte and 4 more for each row of a matrix;
- text: the text encoder's weights; what it computes with is small beside them;
- encode: a pixel of the photograph holds three rows of channels in float32: a block's input, its normalised copy and
  the convolution's result. One photograph after the other, but all of their pixels are there (3 x 4 bytes each);
- scales: the cache, and the widest moment of a block. Keys and values take c x 2 x D x rows, for every layer and both
  guidance branches; rows are the source's, the text's, and those of all target scales but the last. With scale-aligned
  reference the first layer keeps the source twice. A text that is folded (`varedit.transformer.cross_attention`) stands
  there a second time, each of its words in every head. In a block's feed-forward over the longest call, a token holds
  the hidden layer before and after its GELU (2 x c x hidden), queries, keys and values (3 x c x D) and three rows of
  float32: the stream, its norm, and what is added to it (3 x 4 x D). In the attention of the last scale, a token holds
  queries, keys, values and the result (4 x c x D) and two rows of float32, and there stand all keys and values of one
  layer side by side (2 x c x D x rows). A matrix in 8 bits is widened while it is used (fp8: through float32);
- decode: `varedit.strips`, which takes a large picture in parts; as with encoding, one picture after the other.

What the framework itself takes (a few hundred MB) is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from varedit.config import AutoencoderConfig, EditorConfig, TransformerConfig
from varedit.precision import computes_in_float32, is_low_bit
from varedit.scales import ScaleSchedule, Template
from varedit.strips import decoding_bytes
from varedit.transformer.cross_attention import longest_folded

GUIDANCE_BRANCHES = 2  # with the instruction and without it
PROMPT_TOKENS = 64  # a long instruction; most have fewer than 20
TEXT_ENCODER = "text_encoder"

# Part -> name of a weight -> its shape, as the folders of a model hold them.
PartShapes = Mapping[str, Mapping[str, Sequence[int]]]


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """What a caller may choose that changes how much memory an edit needs.

    Attributes:
        bytes_per_value: of the compute type, 4 for float32, 2 for bfloat16 and float16.
        low_bit: weights of the blocks in 8 bits.
        offload_text: the text encoder's weights are there only while it reads.
        guidance: two branches, with the instruction and without it.
        batch: edits at once.
    """

    bytes_per_value: int = 4
    low_bit: bool = False
    offload_text: bool = False
    guidance: bool = True
    batch: int = 1


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Bytes that one batch of edits needs.

    Attributes:
        weights: of transformer and autoencoder.
        text_encoder: weights of the text encoder, while it reads.
        kept_text: what of these stays after it has read.
        encode: beside the weights, while the photographs are encoded one by one.
        cache: keys and values.
        step: beside the cache, in the widest moment of a block.
        decode: beside the weights, while the results are decoded one by one.
    """

    weights: int
    text_encoder: int
    kept_text: int
    encode: int
    cache: int
    step: int
    decode: int

    @property
    def total(self) -> int:
        """At the moment that needs most, in bytes."""
        working = max(self.encode, self.cache + self.step, self.decode)
        return self.weights + max(self.text_encoder, self.kept_text + working)


def memory_plan(
    config: EditorConfig, template: Template, shapes: PartShapes, options: MemoryOptions | None = None
) -> MemoryPlan:
    """Estimate the memory of a batch of edits at one template.

    Args:
        config: of the model.
        template: one of ``config.templates``.
        shapes: of all weights.
        options: None is one edit in float32.
    """
    options = options or MemoryOptions()
    transformer, schedule = config.transformer, template.schedule
    height, width = config.picture_size(schedule)
    rows = options.batch * (GUIDANCE_BRANCHES if options.guidance else 1)
    text_encoder = weight_bytes(TEXT_ENCODER, shapes, options)
    pixels = options.batch * 3 * 4 * height * width
    return MemoryPlan(
        weights=sum(weight_bytes(part, shapes, options) for part in shapes if part != TEXT_ENCODER),
        text_encoder=text_encoder,
        kept_text=0 if options.offload_text else text_encoder,
        encode=_encoding_bytes(config.autoencoder, height * width) + pixels,
        cache=rows * _cache_values(transformer, schedule, options.bytes_per_value) * options.bytes_per_value,
        step=rows
        * max(
            _feed_forward_bytes(transformer, schedule, options.bytes_per_value),
            _last_attention_bytes(transformer, schedule, options.bytes_per_value),
        )
        + (_widened_bytes(shapes) if options.low_bit else 0),
        decode=decoding_bytes(config.autoencoder, height * width, options.bytes_per_value) + pixels,
    )


def weight_bytes(part: str, shapes: PartShapes, options: MemoryOptions) -> int:
    """Bytes of one part's weights in the device's memory."""
    low_bit = options.low_bit and not (part == TEXT_ENCODER and options.offload_text)
    total = 0
    for name, shape in shapes.get(part, {}).items():
        if low_bit and is_low_bit(part, name):
            total += math.prod(shape) + 4 * shape[0]
        else:
            total += math.prod(shape) * (4 if computes_in_float32(part, name) else options.bytes_per_value)
    return total


def _widened_bytes(shapes: PartShapes) -> int:
    """Bytes that the largest matrix takes while it is brought from 8 bits to the compute type."""
    matrices = (shape for name, shape in shapes.get("transformer", {}).items() if is_low_bit("transformer", name))
    return 2 * 4 * max(map(math.prod, matrices), default=0)


def source_tokens(transformer: TransformerConfig, schedule: ScaleSchedule) -> int:
    """Tokens by which the source image conditions the edit: its finest grid, or all scales for reference "full"."""
    return schedule.num_tokens if transformer.reference == "full" else schedule.lengths[-1]


def _cache_values(transformer: TransformerConfig, schedule: ScaleSchedule, bytes_per_value: int) -> int:
    """Numbers in the cache of one guidance branch."""
    source = source_tokens(transformer, schedule)
    folded = longest_folded(transformer.head_width, bytes_per_value)
    text = max(PROMPT_TOKENS, folded * (1 + transformer.num_heads))
    rows = transformer.depth * (source + schedule.num_tokens - schedule.lengths[-1] + text)
    if transformer.reference == "sar":
        rows += source
    return 2 * transformer.width * rows


def _feed_forward_bytes(transformer: TransformerConfig, schedule: ScaleSchedule, bytes_per_value: int) -> int:
    """Bytes that one guidance branch holds in the widest moment of a block."""
    longest_call = max(source_tokens(transformer, schedule), schedule.lengths[-1])
    per_token = bytes_per_value * (2 * transformer.ffn_hidden + 3 * transformer.width) + 4 * 3 * transformer.width
    return longest_call * per_token


def _last_attention_bytes(transformer: TransformerConfig, schedule: ScaleSchedule, bytes_per_value: int) -> int:
    """Bytes that one guidance branch holds while the last scale attends to all there is."""
    own = schedule.lengths[-1] * (4 * bytes_per_value + 2 * 4)
    joined = (source_tokens(transformer, schedule) + schedule.num_tokens) * 2 * bytes_per_value
    return transformer.width * (own + joined)


def _encoding_bytes(autoencoder: AutoencoderConfig, pixels: int) -> int:
    """Bytes at the encoder's finest level."""
    channels = autoencoder.channel_multipliers[0] * autoencoder.base_channels
    return 3 * 4 * channels * pixels // autoencoder.stem_patch**2

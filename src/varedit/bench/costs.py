"""What each stage of an edit costs at least, by arithmetic from a model's configuration; nothing is loaded or run.

Counted are the multiplications and additions of matrix products and convolutions, two for each pair, exactly as they
are carried out: attention with the keys that a token may see, texts and modulations once an edit, short texts folded,
both guidance branches. Norms, activations, softmax, resizing and sampling are not counted; on every device known they
cost little arithmetic, though not always little time.

Of memory traffic, only what no implementation can avoid is counted: a stage reads its weights once, an edit's keys and
values are written once and read once a scale, pictures and features pass in and out. What lies between two operations
could stay on the chip and is left out, so that the bound is one from below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from varedit.config import AutoencoderConfig, EditorConfig, TransformerConfig
from varedit.memory import GUIDANCE_BRANCHES, source_tokens
from varedit.scales import Grid, ScaleSchedule, Template
from varedit.t5 import T5Config
from varedit.transformer.collage import FOLD, MASKS, WAVES
from varedit.transformer.collage import READ as COLLAGE_READ
from varedit.transformer.collage import WIDTHS as COLLAGE_WIDTHS
from varedit.transformer.copy_path import PLACE_WAVES
from varedit.transformer.cross_attention import longest_folded
from varedit.transformer.fill_network import FOLD as FILL_FOLD
from varedit.transformer.fill_network import WIDTHS as FILL_WIDTHS
from varedit.transformer.pixel_network import COLOUR_FEATURES, HIDDEN, PAINTED, SQUARE
from varedit.transformer.planner import PLACEMENT, SQUARES
from varedit.transformer.sprite_network import SIDE, START
from varedit.transformer.sprite_network import WIDTHS as SPRITE_WIDTHS
from varedit.transformer.word_reader import LOOKS, REACH, READ

FLOAT32_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One batch of edits.

    Attributes:
        batch: edits at once.
        words: T, tokens of each instruction.
        branches: 2 with guidance, 1 without.
        bytes_per_value: of the compute type.
        photograph: (height, width) in pixels of the pictures that are restored.
    """

    batch: int
    words: int
    branches: int = GUIDANCE_BRANCHES
    bytes_per_value: int = FLOAT32_BYTES
    photograph: Grid


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What one stage costs a batch at least.

    Attributes:
        flops: additions and multiplications in the compute type.
        float32_flops: those in float32, whatever the compute type is.
        traffic: bytes between memory and processor.
    """

    flops: int = 0
    float32_flops: int = 0
    traffic: int = 0

    def __add__(self, other: StageCost) -> StageCost:
        return StageCost(
            flops=self.flops + other.flops,
            float32_flops=self.float32_flops + other.float32_flops,
            traffic=self.traffic + other.traffic,
        )


def edit_costs(
    config: EditorConfig, template: Template, text_encoder: T5Config, work: Workload
) -> dict[str, StageCost]:
    """The cost of every stage by name: encode, text, prefill, scale 1 .. scale K, decode, decode source, restore."""
    schedule, autoencoder = template.schedule, config.autoencoder
    height, width = config.picture_size(schedule)
    pixels, photograph = height * width, work.photograph[0] * work.photograph[1]
    encoder, decoder = encoder_convolutions(autoencoder), decoder_convolutions(autoencoder)
    features = autoencoder.latent_channels * pixels // autoencoder.downscale**2
    picture_bytes = work.batch * FLOAT32_BYTES * (3 * pixels + features)
    decoding = StageCost(
        flops=work.batch * _convolution_flops(decoder, pixels),
        traffic=work.bytes_per_value * _convolution_weights(decoder) + picture_bytes,
    )
    encoding = StageCost(
        float32_flops=work.batch * _convolution_flops(encoder, pixels),
        traffic=FLOAT32_BYTES * _convolution_weights(encoder) + picture_bytes,
    )
    scales = range(len(schedule))
    return {
        "encode": encoding,
        "text": text_cost(text_encoder, work),
        "prefill": prefill_cost(config.transformer, schedule, work),
        **{f"scale {scale + 1}": scale_cost(config.transformer, schedule, scale, work) for scale in scales},
        "decode": decoding,
        "decode source": decoding,
        # the photograph is read and written in 8 bits, the decoded source and result are read in float32
        "restore": StageCost(traffic=work.batch * 3 * (2 * photograph + 2 * FLOAT32_BYTES * pixels)),
    }


def text_cost(sizes: T5Config, work: Workload) -> StageCost:
    """The T5 encoder over the instructions."""
    inner = sizes.num_heads * sizes.d_kv
    widening = 2 if sizes.feed_forward_proj.startswith("gated") else 1
    weights = sizes.num_layers * sizes.d_model * (4 * inner + (widening + 1) * sizes.d_ff)
    attention = sizes.num_layers * 4 * work.words**2 * inner
    return StageCost(flops=work.batch * (2 * work.words * weights + attention), traffic=work.bytes_per_value * weights)


def prefill_cost(transformer: TransformerConfig, schedule: ScaleSchedule, work: Workload) -> StageCost:
    """Instructions and source tokens through all blocks, which leaves the source's keys and values."""
    width, items = transformer.width, work.batch * work.branches
    source = source_tokens(transformer, schedule)
    groups = schedule.lengths[::-1] if transformer.reference == "full" else (source,)
    pairs = sum(length * sum(groups[index:]) for index, length in enumerate(groups))  # a group sees what follows it
    text = _Text.of(transformer, work)
    matrices = text.block_weights(transformer)
    finished = transformer.depth if transformer.source_proposal else transformer.depth - 1  # else: keys and values only
    blocks = finished * _block_flops(transformer, source, pairs, text) + transformer.depth * text.reading_flops(width)
    blocks += (transformer.depth - finished) * 2 * source * 3 * width**2
    reading, reading_weights = _reading_cost(transformer, work.words)
    rows = transformer.depth * (source + text.rows)
    block_weights = finished * matrices + (transformer.depth - finished) * 3 * width**2
    block_weights += transformer.depth * text.reading_weights(width)
    float32_weights = reading_weights + width * transformer.token_bits
    places = 0
    if transformer.source_proposal:  # of each of the finest tokens; where all lie, once for all items
        places = 2 * source * 4 * len(PLACE_WAVES) * width
        flops, weights = _proposal_cost(transformer, schedule.final, work.words)
        reading, float32_weights = reading + flops, float32_weights + weights
    return StageCost(
        flops=items * blocks,
        float32_flops=items * (reading + 2 * source * transformer.token_bits * width) + places,
        traffic=work.bytes_per_value * (block_weights + items * rows * 2 * width) + FLOAT32_BYTES * float32_weights,
    )


def _proposal_cost(transformer: TransformerConfig, grid: Grid, words: int) -> tuple[int, int]:
    """(flops, weights) of what the finest source tokens of one item propose as so many words tell; float32."""
    tokens = math.prod(grid)
    mosaic = 3 * SQUARE**3 * tokens * sum(grid)  # each row the mean of some rows, then the same of columns
    width, code = transformer.width, 3 * SQUARE**2 * transformer.token_bits  # between tokens and colours, either way
    maps = width * (4 * transformer.token_bits + width + 1)  # gain, shift, view, mix, weigh, trust
    pixels = 2 * code + width * (PAINTED * SQUARE**2 + 4 * HIDDEN)  # looks, codes, paints, is told here
    each_pixel = HIDDEN * (COLOUR_FEATURES + 2 + PAINTED + HIDDEN + 3)
    instruction = 2 * width**2 + (4 * HIDDEN + 1) * width  # modulation, and what pixels and trust are told
    convolutions, drawing = [*collage_convolutions(width), *fill_convolutions()], sprite_convolutions()
    read = 2 * width * COLLAGE_READ  # of each word, its keys and values
    told = COLLAGE_READ * (COLLAGE_READ + sum(4 * channels for channels in COLLAGE_WIDTHS))  # 2 blocks a level
    per_token = maps + pixels + SQUARE**2 * each_pixel + 3 * code  # the collage looks twice and codes
    planned = READ * (width + READ + PLACEMENT + 1 + len(SQUARES) + SPRITE_WIDTHS[0] * START**2)  # the first: asks
    once = instruction + told + mosaic + planned + words * (read + 2 * COLLAGE_READ)  # scores, and sums of values
    flops = 2 * (tokens * per_token + once) + _convolution_flops(convolutions, tokens * SQUARE**2)
    flops += 2 * _word_reader_flops(width, words) + _convolution_flops(drawing, SIDE**2)  # for the plan, and all else
    weights = maps + pixels + each_pixel + instruction + told + read + planned + 2 * _word_reader_weights(width)
    return flops, weights + _convolution_weights([*convolutions, *drawing])


def _word_reader_flops(width: int, words: int) -> int:
    """Of one vector of what so many words of one item tell: scores and sums of values are among them."""
    return 2 * (words * (_word_reader_weights(width) - READ**2 + 2 * READ) + READ**2)


def _word_reader_weights(width: int) -> int:
    """Numbers in its matrices: a word's own, what is around it, its keys and values, and what all of them tell."""
    return READ * (width + (LOOKS * REACH + 2 + 1) * READ)


def scale_cost(transformer: TransformerConfig, schedule: ScaleSchedule, scale: int, work: Workload) -> StageCost:
    """One target scale, counted from 0, through all blocks and the head."""
    width, items = transformer.width, work.batch * work.branches
    length = schedule.lengths[scale]
    visible = [visible_rows(transformer, schedule, scale, layer) for layer in range(transformer.depth)]
    text = _Text.of(transformer, work)
    blocks = sum(_block_flops(transformer, length, length * rows, text) for rows in visible)
    per_token = 2 * width * transformer.token_bits  # head: two logits a bit
    if scale > 0:
        per_token += width * transformer.token_bits  # embedding; the first scale's only token has none
    if transformer.source_residual:
        per_token += 2 * width * transformer.token_bits  # the residual's embedding and the gate
    own = length if scale + 1 == len(schedule) else 0  # no later scale needs the last one's keys and values
    rows = sum(visible) + transformer.depth * (text.rows - own)
    block_weights = transformer.depth * text.block_weights(transformer)
    return StageCost(
        flops=items * blocks,
        float32_flops=items * 2 * length * per_token,
        traffic=work.bytes_per_value * (block_weights + items * rows * 2 * width) + FLOAT32_BYTES * per_token,
    )


def visible_rows(transformer: TransformerConfig, schedule: ScaleSchedule, scale: int, layer: int) -> int:
    """How many keys a token of a scale attends to in a layer, both counted from 0: source rows and target rows."""
    seen_target = sum(schedule.lengths[: scale + 1])
    if transformer.reference == "full":
        return 2 * seen_target
    aligned = transformer.reference == "sar" and layer == 0
    return seen_target + (schedule.lengths[scale] if aligned else schedule.lengths[-1])


@dataclass(frozen=True)
class Convolution:
    """One convolution: its weights are used once at every place, places being 1 / stride**2 of the picture's pixels."""

    channels_in: int
    channels_out: int
    side: int
    stride: int

    @property
    def weights(self) -> int:
        """Numbers in its matrix."""
        return self.channels_in * self.channels_out * self.side**2


def collage_convolutions(width: int) -> list[Convolution]:
    """All convolutions of a proposal's collage."""
    states = Convolution(width, COLLAGE_WIDTHS[-1], 1, SQUARE)
    given, made = 2 * 3 * FOLD**2 + 4 * len(WAVES), MASKS * FOLD**2
    return [states, *_unet_convolutions(given, made, COLLAGE_WIDTHS, FOLD, coarsest_blocks=2)]


def fill_convolutions() -> list[Convolution]:
    """All convolutions of what fills the places of things that are taken away."""
    return _unet_convolutions(4 * FILL_FOLD**2, 3 * FILL_FOLD**2, FILL_WIDTHS, FILL_FOLD, coarsest_blocks=1)


def _unet_convolutions(
    given: int, made: int, widths: Sequence[int], fold: int, *, coarsest_blocks: int
) -> list[Convolution]:
    """Those of a U-Net from given channels to made ones, with two blocks a level but for the coarsest."""
    found = [Convolution(given, widths[0], 3, fold)]
    for level, channels in enumerate(widths):
        stride, is_coarsest = fold * 2**level, channels == widths[-1]
        found += _residual_blocks(channels, channels, coarsest_blocks if is_coarsest else 2, stride)
        if not is_coarsest:
            coarser = widths[level + 1]
            found += [Convolution(channels, coarser, 2, 2 * stride), Convolution(coarser, 4 * channels, 1, 2 * stride)]
    return [*found, Convolution(widths[0], made, 3, fold)]


def sprite_convolutions() -> list[Convolution]:
    """All convolutions of what draws new things, over pictures of SIDE pixels a side."""
    pairs = enumerate(pairwise(SPRITE_WIDTHS))
    found = [Convolution(coarse, 4 * fine, 3, SIDE // START // 2**level) for level, (coarse, fine) in pairs]
    return [*found, Convolution(SPRITE_WIDTHS[-1], 4, 3, 1)]


def encoder_convolutions(autoencoder: AutoencoderConfig) -> list[Convolution]:
    """All convolutions of the encoder."""
    widths = [autoencoder.base_channels * multiplier for multiplier in autoencoder.channel_multipliers]
    stride, blocks = autoencoder.stem_patch, autoencoder.res_blocks_per_level
    found = [Convolution(3 * stride**2, autoencoder.base_channels, 3, stride)]
    for index, (previous, width) in enumerate(zip([autoencoder.base_channels, *widths], widths, strict=False)):
        found += _residual_blocks(previous, width, blocks, stride)
        if index + 1 < len(widths):
            stride *= 2
            found.append(Convolution(width, width, 3, stride))
    found += _residual_blocks(widths[-1], widths[-1], 2, stride)
    found.append(Convolution(widths[-1], autoencoder.latent_channels, 3, stride))
    if autoencoder.linear_path:
        found.append(Convolution(3, autoencoder.latent_channels, autoencoder.downscale, autoencoder.downscale))
    return found


def decoder_convolutions(autoencoder: AutoencoderConfig) -> list[Convolution]:
    """All convolutions of the decoder."""
    widths = [autoencoder.base_channels * multiplier for multiplier in autoencoder.channel_multipliers]
    stride, blocks = autoencoder.downscale, autoencoder.res_blocks_per_level + 1
    found = [Convolution(autoencoder.latent_channels, widths[-1], 3, stride)]
    found += _residual_blocks(widths[-1], widths[-1], 2, stride)
    for index, (width, coarser) in reversed(list(enumerate(zip(widths, [*widths[1:], widths[-1]], strict=True)))):
        found += _residual_blocks(coarser, width, blocks, stride)
        if index > 0:
            stride //= 2
            found.append(Convolution(width, width, 3, stride))
    found.append(Convolution(widths[0], 3 * autoencoder.stem_patch**2, 3, stride))
    if autoencoder.linear_path:  # transposed: each latent is multiplied by all weights of its square
        found.append(Convolution(autoencoder.latent_channels, 3, autoencoder.downscale, autoencoder.downscale))
    return found


def _residual_blocks(width_in: int, width: int, count: int, stride: int) -> list[Convolution]:
    found = []
    for channels in [width_in] + [width] * (count - 1):
        found += [Convolution(channels, width, 3, stride), Convolution(width, width, 3, stride)]
        if channels != width:
            found.append(Convolution(channels, width, 1, stride))
    return found


def _convolution_flops(convolutions: Sequence[Convolution], pixels: int) -> int:
    return sum(2 * item.weights * (pixels // item.stride**2) for item in convolutions)


def _convolution_weights(convolutions: Sequence[Convolution]) -> int:
    return sum(item.weights for item in convolutions)


@dataclass(frozen=True)
class _Text:
    """How a block looks at the words: T of them, each seen by D channels, or folded, by D channels in every head."""

    words: int
    heads: int  # 1 where the text is not folded
    is_folded: bool

    @classmethod
    def of(cls, transformer: TransformerConfig, work: Workload) -> _Text:
        is_folded = work.words <= longest_folded(transformer.head_width, work.bytes_per_value)
        return cls(work.words, transformer.num_heads if is_folded else 1, is_folded)

    @property
    def rows(self) -> int:
        """Of D keys and D values."""
        return self.words * self.heads

    def reading_flops(self, width: int) -> int:
        """Making keys and values of all words, and folding them."""
        return 2 * self.words * self.reading_weights(width)

    def reading_weights(self, width: int) -> int:
        """Numbers in the matrices that words meet."""
        return (4 if self.is_folded else 2) * width**2

    def block_weights(self, transformer: TransformerConfig) -> int:
        """Numbers in the matrices of one block that every token meets; folding spares the two of cross-attention."""
        own = 4 if self.is_folded else 6
        return own * transformer.width**2 + 2 * transformer.width * transformer.ffn_hidden


def _block_flops(transformer: TransformerConfig, tokens: int, pairs: int, text: _Text) -> int:
    """One block over some tokens with so many pairs of query and key in self-attention."""
    attention = 4 * transformer.width * (pairs + tokens * text.rows)  # scores, and the sum of values
    return 2 * tokens * text.block_weights(transformer) + attention


def _reading_cost(transformer: TransformerConfig, words: int) -> tuple[int, int]:
    """(flops, weights) of pooling and projecting one instruction and of all modulations; float32."""
    width, channels = transformer.width, transformer.text_channels
    per_word = channels * 2 * width + channels * width + width**2  # the pool's keys and values, the projection
    per_item = width**2 + 8 * width**2  # the pool's output, modulations of blocks and head
    attention = 4 * words * width  # one query
    return 2 * (words * per_word + per_item) + attention, per_word + per_item

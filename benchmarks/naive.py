"""The same model written the obvious way: the fixed baseline that speed is measured against.

It takes the weights of an `Editor` and draws the same bits in float32 from the same seeds. What is naive about it:

- one edit at a time; guidance runs the transformer twice, once with the instruction and once without it;
- instructions are padded to the model's `max_text_length`, through the text encoder and in every attention to them,
  and padding is masked;
- each layer of each call (one for the source, one a scale) reads the instruction anew: the projection of its words,
  their keys and values, the modulation of the layer; the pooled instruction is computed anew in each call;
- queries, keys and values are three products, not one;
- keys and values of the target grow by concatenation, are joined with the source's for each call, and are kept in
  float32 whatever the compute type is;
- attention is written out: scores, softmax, weighted sum.

The autoencoder, the quantiser, rotary positions, norms and the drawing of bits are the editor's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.editor import Editor
from varedit.quantizer import latents_to_tokens, tokens_to_latents
from varedit.sampling import BatchSampler, SamplingSettings, draw_uniforms
from varedit.scales import Template
from varedit.text import Tokens
from varedit.transformer.attention import LOG_SCALE_LIMIT, TextPool, merge_heads, split_heads
from varedit.transformer.block import Block, modulated_norm
from varedit.transformer.cross_attention import CrossAttention
from varedit.transformer.model import VAREditTransformer
from varedit.transformer.reference import SequenceLayout, source_tokens
from varedit.transformer.rope import Rotary, rotate


@dataclass(frozen=True)
class NaiveEdit:
    """One finished edit: K tensors of bits (1, d, h_k, w_k) bool, and pixels (1, 3, h, w) in [-1, 1] on the CPU."""

    bits: list[Tensor]
    pixels: Tensor


@torch.inference_mode()
def naive_edit(editor: Editor, template: Template, pixels: Tensor, instruction: str, seed: int) -> NaiveEdit:
    """Edit one picture (1, 3, h, w), float32 in [-1, 1], with the model's own guidance and temperature."""
    transformer, schedule, merge = editor.transformer, template.schedule, editor.config.merge
    quantizer, layout = editor.quantizer(template), editor.layout(template)
    defaults = editor.config.generation
    settings = SamplingSettings(
        guidance=defaults.guidance_scale,
        temperature=defaults.temperature,
        top_k=defaults.top_k,
        top_p=defaults.top_p,
    )
    sampler = BatchSampler.of([settings], len(schedule), editor.device)
    generator = torch.Generator().manual_seed(seed)
    uniforms = draw_uniforms([generator], schedule.lengths, editor.config.transformer.token_bits)

    words, mask = padded_words(editor, instruction)
    source = editor.encode(pixels.to(editor.device))
    given = source_tokens(source, quantizer, layout, merge)
    branches = [Branch(transformer, layout, text, mask) for text in (words, transformer.null_text[None])]
    for branch in branches:
        branch.read_source(given)
    features, drawn = torch.zeros_like(source), []
    for scale, grid in enumerate(schedule):
        inputs = latents_to_tokens(quantizer.step_input(features, scale), merge)
        residuals = latents_to_tokens(quantizer.residual(source, features, scale), merge)
        conditional, unconditional = [branch.scale_logits(inputs, residuals, scale) for branch in branches]
        logits = sampler.guided(conditional, unconditional, scale)
        bits = sampler.bits(logits, uniforms[scale].to(editor.device))
        drawn.append(tokens_to_latents(bits.float(), grid, merge) > 0.5)
        features = quantizer.add(features, drawn[-1], scale)
    return NaiveEdit(drawn, editor.decode(features))


def padded_words(editor: Editor, instruction: str) -> tuple[Tensor, Tensor]:
    """Encoded words (1, T, text channels) and the mask (1, 1, 1, T) of real ones, T being `max_text_length`."""
    tokens = editor.text_encoder.tokenize([instruction])
    ids = F.pad(tokens.ids, (0, editor.text_encoder.max_length - tokens.ids.shape[1]))
    padded = Tokens(ids, tokens.lengths, tokens.notes)
    mask = torch.arange(ids.shape[1], device=editor.device) < tokens.lengths[0]
    return editor.text_encoder(padded).features, mask[None, None, None]


@dataclass
class Branch:
    """One guidance branch of one edit.

    Attributes:
        transformer, layout: the model on one schedule.
        words: (1, T, text channels), padded.
        mask: (1, 1, 1, T) true at real words.
        source: per layer, keys and values (1, N, S, E) of the source.
        target: per layer, keys and values of all scales so far.
    """

    transformer: VAREditTransformer
    layout: SequenceLayout
    words: Tensor
    mask: Tensor
    source: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    target: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert not self.layout.has_pyramid, "the naive baseline knows a source of one grid only (sar, finest)"

    def read_source(self, tokens: Tensor) -> None:
        """The source (1, S, token bits) through all blocks; its keys and values stay."""
        model, level = self.transformer, self.layout.source_levels[0]
        x = model.token_embed(tokens) + model.level_embed.weight[level]
        pooled = self.pooled()
        for layer in range(len(model.blocks)):
            x = self.block(x, pooled, layer, self.layout.rotary.rows(0, self.layout.num_source), scale=None)

    def scale_logits(self, inputs: Tensor, residuals: Tensor, scale: int) -> Tensor:
        """Logits (1, L, token bits, 2) of one scale."""
        model, layout = self.transformer, self.layout
        start, end = (layout.num_source + row for row in layout.target_starts[scale : scale + 2])
        pooled = self.pooled()
        x = pooled[:, None] + model.start_position if scale == 0 else model.token_embed(inputs)
        x = x + model.level_embed.weight[scale]
        if model.copy_path is not None:
            x = x + model.copy_path.embed(residuals)
        for layer in range(len(model.blocks)):
            x = self.block(x, pooled, layer, layout.rotary.rows(start, end), scale)
        shift_scale = model.head_modulation(F.silu(pooled)).view(len(x), 2, 1, -1)
        h = modulated_norm(x, 1 + shift_scale[:, 0], shift_scale[:, 1], model.config.norm_eps)
        logits: Tensor = model.head(h).unflatten(-1, (-1, 2))
        if model.copy_path is not None:
            levels = torch.full((x.shape[1],), scale, device=x.device)
            logits = logits + model.copy_path.logits(h, residuals, levels)
        return logits

    def pooled(self) -> Tensor:
        """The instruction as one vector (1, D)."""
        pool: TextPool = self.transformer.text_pool
        words = self.transformer.text_norm(self.words.float())
        keys, values = pool.key_value.weight.chunk(2)
        k = split_heads(F.linear(words, keys), pool.num_heads)
        v = split_heads(F.linear(words, values, pool.value_bias), pool.num_heads)
        q = pool.query.transpose(0, 1)[None]  # (1, N, 1, E)
        pooled: Tensor = pool.project(merge_heads(attention(q, k, v, q.shape[-1] ** -0.5, self.mask))[:, 0])
        return pooled

    def block(self, x: Tensor, pooled: Tensor, layer: int, rotary: Rotary, scale: int | None) -> Tensor:
        """One block over the source (scale None) or a scale, (1, L, D) float32."""
        block: Block = self.transformer.blocks[layer]
        shared = self.transformer.modulation(F.silu(pooled)).view(len(x), 1, 6, -1)
        gain1, gain2, scale1, scale2, shift1, shift2 = (shared + block.modulation_offset.float()).unbind(2)
        h = modulated_norm(x, 1 + scale1, shift1, block.eps)
        x = x + gain1 * self.self_attention(block, h, layer, rotary, scale)
        x = x + self.cross_attention(block.cross_attention, block.cross_norm(x))
        h = modulated_norm(x, 1 + scale2, shift2, block.eps)
        fed: Tensor = block.feed_forward(h)
        return x + gain2 * fed

    def self_attention(self, block: Block, x: Tensor, layer: int, rotary: Rotary, scale: int | None) -> Tensor:
        """(1, L, D) -> (1, L, D)."""
        part = block.attention
        x = x.to(part.project.weight.dtype)
        queries, keys, values = part.query_key_value.weight.chunk(3)
        q = split_heads(F.linear(x, queries, part.query_bias), part.num_heads)
        k = split_heads(F.linear(x, keys), part.num_heads)
        v = split_heads(F.linear(x, values, part.value_bias), part.num_heads)
        strength = part.log_scale.float().clamp(max=LOG_SCALE_LIMIT).exp()
        q = rotate(F.normalize(q.float(), dim=-1) * strength, rotary)
        k = rotate(F.normalize(k.float(), dim=-1), rotary)
        keys, values = self.all_keys_values(k, v.float(), layer, scale)
        attended = attention(q, keys, values, 1.0)
        return project(part.project, merge_heads(attended))

    def all_keys_values(self, k: Tensor, v: Tensor, layer: int, scale: int | None) -> tuple[Tensor, Tensor]:
        """Keep the keys and values of this call; everything that it may attend to."""
        if scale is None:
            self.source.append((k, v))
            return k, v
        if scale == 0:
            self.target.append((k, v))
        else:
            old_keys, old_values = self.target[layer]
            self.target[layer] = torch.cat((old_keys, k), dim=2), torch.cat((old_values, v), dim=2)
        source_keys, source_values = self.source[layer]
        if self.layout.is_aligned(layer):
            source_keys = self.layout.aligned(source_keys, scale)
            source_values = self.layout.aligned(source_values, scale)
        keys, values = self.target[layer]
        return torch.cat((source_keys, keys), dim=2), torch.cat((source_values, values), dim=2)

    def cross_attention(self, part: CrossAttention, x: Tensor) -> Tensor:
        """(1, L, D) -> (1, L, D), the words being projected for this layer and call."""
        words = self.transformer.text_project(self.transformer.text_norm(self.words.float()))
        dtype = part.project.weight.dtype
        words, x = words.to(dtype), x.to(dtype)
        keys, values = part.key_value.weight.chunk(2)
        k = split_heads(F.linear(words, keys), part.num_heads)
        v = split_heads(F.linear(words, values, part.value_bias), part.num_heads)
        q = split_heads(part.query(x), part.num_heads)
        return project(part.project, merge_heads(attention(q, k, v, q.shape[-1] ** -0.5, self.mask)))


def attention(q: Tensor, k: Tensor, v: Tensor, factor: float, mask: Tensor | None = None) -> Tensor:
    """Softmax of factor * q k^T times v, for (1, N, L, E); mask (1, 1, 1, keys) is true at keys that count."""
    scores = q @ k.transpose(-2, -1) * factor
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return torch.softmax(scores, dim=-1) @ v


def project(linear: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer in the type of its weights."""
    projected: Tensor = linear(x.to(linear.weight.dtype))
    return projected

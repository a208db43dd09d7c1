"""The whole transformer: text and source in, logits of the target's bits out, scale by scale.

`forward` is the training pass over all scales at once; `prefill` and `step` generate. Spec "Transformer"; what lives
between two calls is the caller's `EditCache`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from varedit.config import TransformerConfig
from varedit.text_features import TextFeatures
from varedit.transformer.attention import TextPool
from varedit.transformer.block import Block, Modulation, TextContext, TextKeysValues, modulated_norm
from varedit.transformer.cache import EditCache, LayerCache, attend_teacher_forced
from varedit.transformer.reference import SequenceLayout

COPY_SCALE = 4.0  # initial weight of the copy path, in logits
COPY_SHARPNESS = 10.0  # of the residual over the spread of the features
COPY_OPENNESS = 2.0  # initial gate, before the sigmoid
SHIFTED_SCALE = 1.5  # initial weight where the path learns a shift: its votes are not bounded by one


class VAREditTransformer(nn.Module):
    """Predicts the two logits of every bit of every token of the edited image."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.null_text = nn.Parameter(torch.zeros(config.max_text_length, config.text_channels))
        self.text_norm = nn.RMSNorm(config.text_channels, eps=config.norm_eps)
        self.text_pool = TextPool(config.text_channels, width, config.pool_heads)
        self.text_project = nn.Sequential(
            nn.Linear(config.text_channels, width), nn.GELU(approximate="tanh"), nn.Linear(width, width)
        )
        self.start_position = nn.Parameter(torch.zeros(1, 1, width))
        self.level_embed = nn.Embedding(config.level_rows, width)
        self.token_embed = nn.Linear(config.token_bits, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.head_modulation = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, 2 * config.token_bits)
        self.copy_path = CopyPath(config) if config.source_residual else None

    def forward(
        self,
        source: Tensor,
        step_inputs: Tensor,
        text: TextFeatures,
        layout: SequenceLayout,
        residuals: Tensor | None = None,
        *,
        gradient_checkpointing: bool = False,
    ) -> Tensor:
        """Teacher-forced logits of all scales in one pass.

        Args:
            source: (B, S, token bits), from `reference.source_tokens`.
            step_inputs: (B, L_2 + .. + L_K, token bits), the true inputs of scales 2..K.
            text: instructions.
            layout: from `reference.sequence_layout`.
            residuals: (B, L, token bits), what the source still has over the sum so far, for models with
                `source_residual`; None for others.
            gradient_checkpointing: keep only what enters each block, and compute the block again when its gradients
                are needed; saves memory, changes no result.

        Returns: (B, L, token bits, 2) float32, the logits of bit 0 and of bit 1.
        """
        context = self.read_text(text)
        target = torch.cat((self._start_token(context.pooled), self.token_embed(step_inputs)), dim=1)
        levels = self._level_rows(layout, range(len(layout.schedule)))
        target = self._place_target(target, levels, residuals)
        x = torch.cat((self._embed_source(source, layout), target), dim=1)
        shared = self._shared_modulation(context)
        for index, block in enumerate(self._blocks()):
            attend = partial(attend_teacher_forced, layout=layout, layer=index)
            run = _recomputed(block) if gradient_checkpointing else block.in_context
            x = run(x, shared, context, layout.rotary, attend)
        return self._logits(x[:, layout.num_source :], self._head_modulation(context), residuals, levels)

    def prefill(self, source: Tensor, text: TextFeatures, layout: SequenceLayout) -> EditCache:
        """Run the source (B, S, token bits) through all blocks and make the cache that `step` reads."""
        context = self.read_text(text)
        shared = self._shared_modulation(context)
        rotary = layout.rotary.rows(0, layout.num_source)
        x = self._embed_source(source, layout)
        layers = []
        for index, block in enumerate(self._blocks()):
            layer = self._layer_cache(block, block.read_text(context), block.modulate(shared), layout, index, len(x))
            x = block(x, layer.modulation, layer.text, rotary, partial(layer.attend_source, layout=layout))
            layers.append(layer)
        return EditCache(layout, layers, context.pooled, self._head_modulation(context))

    def step(
        self, inputs: Tensor | None, cache: EditCache, residuals: Tensor | None = None, places: Tensor | None = None
    ) -> Tensor:
        """Compute the next scale, or some of its tokens, and advance the cache.

        Args:
            inputs: (B, L_k, token bits), the sum of the scales before on this scale's grid; None for the first scale.
            cache: from `prefill`.
            residuals: (B, L_k, token bits) for models with `source_residual`.
            places: (B, A) which tokens of the scale these are, where inputs and residuals hold A instead of L_k;
                what is not computed is not seen by later scales either.

        Returns: (B, L_k, token bits, 2) float32 logits, or (B, A, token bits, 2).
        """
        scale, layout = cache.next_scale, cache.layout
        start, end = (layout.num_source + row for row in layout.target_starts[scale : scale + 2])
        rotary = layout.rotary.rows(start, end)
        levels = self._level_rows(layout, range(scale, scale + 1))
        if places is not None:
            rotary, levels = rotary.picked(places), levels[: places.shape[1]]
        tokens = self._start_token(cache.pooled) if inputs is None else self.token_embed(inputs)
        x = self._place_target(tokens, levels, residuals)
        for index, (block, layer) in enumerate(zip(self._blocks(), cache.layers, strict=True)):
            x = block(x, layer.modulation, layer.text, rotary, partial(layer.attend_scale, cache=cache, layer=index))
        cache.advance(x.shape[1])
        return self._logits(x, cache.head_modulation, residuals, levels)

    def unconditional_text(self, lengths: tuple[int, ...]) -> TextFeatures:
        """The learned null text for guidance, as long as the instruction that it stands beside."""
        longest = max(lengths)
        return TextFeatures(self.null_text[:longest].expand(len(lengths), -1, -1), lengths)

    def read_text(self, text: TextFeatures) -> TextContext:
        """Normalise, pool and project instructions; pooled text and words are float32."""
        mask = text.mask()
        normed = self.text_norm(text.features.float())
        return TextContext(self.text_pool(normed, mask), self.text_project(normed), mask)

    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def _start_token(self, pooled: Tensor) -> Tensor:
        return pooled.unsqueeze(1) + self.start_position

    def _embed_source(self, source: Tensor, layout: SequenceLayout) -> Tensor:
        lengths = torch.tensor([h * w for h, w in layout.source_grids], device=source.device)
        levels = torch.tensor(layout.source_levels, device=source.device).repeat_interleave(lengths)
        embedded: Tensor = self.token_embed(source) + self.level_embed(levels)
        return embedded

    def _place_target(self, tokens: Tensor, levels: Tensor, residuals: Tensor | None) -> Tensor:
        placed: Tensor = tokens + self.level_embed(levels)
        if self.copy_path is not None:
            placed = placed + self.copy_path.embed(_required(residuals))
        return placed

    def _level_rows(self, layout: SequenceLayout, scales: range) -> Tensor:
        """Index of the level of every target token of some scales."""
        device = self.level_embed.weight.device
        lengths = torch.tensor([layout.schedule.lengths[scale] for scale in scales], device=device)
        return torch.tensor(list(scales), device=device).repeat_interleave(lengths)

    def _shared_modulation(self, context: TextContext) -> Tensor:
        six: Tensor = self.modulation(F.silu(context.pooled)).unflatten(-1, (6, -1))
        return six  # (B, 6, D)

    def _head_modulation(self, context: TextContext) -> Tensor:
        two: Tensor = self.head_modulation(F.silu(context.pooled)).unflatten(-1, (2, -1))
        return two  # (B, 2, D): scale, shift

    def _logits(self, x: Tensor, modulation: Tensor, residuals: Tensor | None, levels: Tensor) -> Tensor:
        scale, shift = modulation.unsqueeze(2).unbind(1)  # each (B, 1, D)
        h = modulated_norm(x, scale, shift, self.config.norm_eps)
        logits: Tensor = self.head(h).unflatten(-1, (-1, 2))
        if self.copy_path is not None:
            logits = logits + self.copy_path.logits(h, _required(residuals), levels)
        return logits

    def _layer_cache(
        self,
        block: Block,
        text: TextKeysValues,
        modulation: Modulation,
        layout: SequenceLayout,
        index: int,
        batch: int,
    ) -> LayerCache:
        rows = layout.kept_rows
        weight = block.attention.project.weight

        def buffer(count: int) -> Tensor:
            shape = (batch, self.config.num_heads, count, self.config.head_width)
            return torch.empty(shape, dtype=weight.dtype, device=weight.device)

        layer = LayerCache(buffer(rows), buffer(rows), text, modulation)
        if layout.is_aligned(index):
            layer.source_keys, layer.source_values = buffer(layout.num_source), buffer(layout.num_source)
        return layer


class CopyPath(nn.Module):
    """What small models add to the paper's form (`source_residual`): a standing proposal to reproduce the source.

    Each target token is told what the source still has over the sum so far, and the bits start out as the sign of
    that residual; a gate per bit learns where to depart from it. The proposal also mends the model's own earlier
    errors, since the residual is taken from the sum that was really produced.

    With `residual_shift` the path learns, for every token and channel, how far the target's features lie from the
    source's, and proposes the sign of what the *target* still has over the sum. One answer then serves all scales,
    however fine their codes are; without it the model must do this arithmetic anew in each bit's logits.
    """

    spread: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(config.token_bits, config.width, bias=False)
        self.gate = nn.Linear(config.width, config.token_bits)
        self.shift = nn.Linear(config.width, config.token_bits) if config.residual_shift else None
        scale = COPY_SCALE if self.shift is None else SHIFTED_SCALE
        self.strength = nn.Parameter(torch.full((config.level_rows,), scale))
        self.register_buffer("spread", torch.ones(()))  # standard deviation of the autoencoder's features

    def logits(self, h: Tensor, residuals: Tensor, levels: Tensor) -> Tensor:
        """(B, L, token bits, 2): for and against bit 1, from states (B, L, D) and residuals (B, L, token bits)."""
        opened = torch.sigmoid(self.gate(h) + COPY_OPENNESS) * self.strength[levels].unsqueeze(-1)
        wanted = COPY_SHARPNESS * residuals / self.spread
        if self.shift is None:
            vote = opened * torch.tanh(wanted) / 2
        else:  # a function that never saturates, so that a shift that is far off still learns
            vote = opened * torch.asinh(wanted + COPY_SHARPNESS * self.shift(h)) / 2
        return torch.stack((-vote, vote), dim=-1)


def _recomputed(block: Block) -> Callable[..., Tensor]:
    return partial(checkpoint, block.in_context, use_reentrant=False, preserve_rng_state=False)  # nothing is drawn


def _required(residuals: Tensor | None) -> Tensor:
    assert residuals is not None, "a model with source_residual needs the residuals of every target token"
    return residuals

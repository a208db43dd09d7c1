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
from varedit.transformer.attention import Items, TextPool
from varedit.transformer.block import Block, BlockContext, TextContext, modulated_norm
from varedit.transformer.cache import EditCache, LayerCache, attend_source_groups, attend_teacher_forced
from varedit.transformer.copy_path import CopyPath, Proposed
from varedit.transformer.reference import SequenceLayout


class VAREditTransformer(nn.Module):
    """Predicts the two logits of every bit of every token of the edited image.

    Attributes:
        prefers_few_lengths: whether calls had better have few different numbers of tokens, each of which is recorded
            (`varedit.cuda_graphs`).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.prefers_few_lengths = False
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
        levels = layout.levels[layout.num_source :]
        target = self._place_target(target, levels, residuals)
        x = torch.cat((self._embed_source(source, layout), target), dim=1)
        shared = self._shared_modulation(context)
        for index, block in enumerate(self._blocks()):
            attend = partial(attend_teacher_forced, layout=layout, layer=index)
            run = _recomputed(block) if gradient_checkpointing else block.in_context
            x = run(x, shared, context, layout.rotary, attend)
        proposal = self._proposal(x, context, source, layout)
        if proposal is not None:
            proposed = [layout.averaged(proposal.difference, scale) for scale in range(len(layout.schedule))]
            residuals = _required(residuals) + torch.cat(proposed, dim=1)
        return self._logits(x[:, layout.num_source :], self._head_modulation(context), residuals, levels)

    def propose(self, source: Tensor, text: TextFeatures, layout: SequenceLayout) -> Proposed:
        """What the source proposes of the target, which is not needed: see `copy_path.SourceProposal`.

        Args: as for `prefill`, by a model with `source_proposal`.

        Returns: the proposal for the finest grid.
        """
        states, context = self._source_states(source, text, layout)
        proposal = self._proposal(states, context, source, layout)
        assert proposal is not None, "the model has source_proposal"
        return proposal

    def prefill(
        self, source: Tensor, text: TextFeatures, layout: SequenceLayout, items: Tensor | None = None
    ) -> EditCache:
        """Run the source through all blocks and make the cache that `step` reads.

        Args:
            source: (U, S, token bits), from `reference.source_tokens`.
            text: U instructions.
            layout: from `reference.sequence_layout`.
            items: (B,) which of the sources and instructions each edit of the batch begins with, so that variants of
                one edit share this pass; None is each with its own, B = U.
        """
        return self.prefill_told(source, self.read_text(text), layout, items)

    def prefill_told(
        self, source: Tensor, context: TextContext, layout: SequenceLayout, items: Tensor | None = None
    ) -> EditCache:
        """`prefill` with instructions that were read before.

        What the last block makes of the source is computed for a source proposal alone; nothing else reads it.
        """
        shared = self._shared_modulation(context)
        rotary = layout.rotary.rows(0, layout.num_source)
        x = self._embed_source(source, layout)
        begun: Items = slice(None) if items is None else items
        pooled = context.pooled[begun]
        layers = []
        for index, block in enumerate(self._blocks()):
            told = block.prepare(shared, context)
            layer = self._layer_cache(block, told.taken(begun), layout, index, len(pooled))
            layers.append(layer)
            if self.finishes_source(index):
                x = block(x, told, rotary, partial(layer.attend_source, layout=layout, items=begun))
            else:  # queries come along for nothing, a hundredth of the whole pass at most
                layer.keep_source(*block.enter(x, told, rotary)[1:], begun)
        proposal = self._proposal(x, context, source, layout)
        if proposal is not None:
            proposal = proposal.taken(begun)
        return EditCache(layout, layers, pooled, self._head_modulation(context)[begun], proposal)

    def finishes_source(self, layer: int) -> bool:
        """Whether `prefill` runs a layer (counted from 0) to its end, or just to the source's keys and values."""
        return self.config.source_proposal or layer + 1 < self.config.depth

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
        levels = layout.levels[start:end]
        if places is not None:
            rotary, levels = rotary.picked(places), levels[: places.shape[1]]
        tokens = self._start_token(cache.pooled) if inputs is None else self.token_embed(inputs)
        x = self._place_target(tokens, levels, residuals)
        for index, (block, layer) in enumerate(zip(self._blocks(), cache.layers, strict=True)):
            x = block(x, layer.context, rotary, partial(layer.attend_scale, cache=cache, layer=index))
        cache.advance(x.shape[1])
        if cache.proposal is not None:
            proposal = layout.averaged(cache.proposal.difference, scale)
            if places is not None:
                proposal = torch.take_along_dim(proposal, places.unsqueeze(-1), dim=1)
            residuals = _required(residuals) + proposal
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
        embedded: Tensor = self.token_embed(source) + self.level_embed(layout.levels[: layout.num_source])
        if self.copy_path is not None and self.copy_path.proposal is not None:
            embedded = embedded + self.copy_path.proposal.places(layout.source_grids)
        return embedded

    def _proposal(self, x: Tensor, text: TextContext, source: Tensor, layout: SequenceLayout) -> Proposed | None:
        """What is to become of the source's finest tokens, from their states in (B, S and more, D)."""
        if self.copy_path is None:
            return None
        grid = h, w = layout.source_grids[0]
        return self.copy_path.proposed(x[:, : h * w], text, source[:, : h * w], grid)

    def _source_states(self, source: Tensor, text: TextFeatures, layout: SequenceLayout) -> tuple[Tensor, TextContext]:
        """States (B, S, D) of source tokens that nothing generates with, and the instructions as they were read."""
        context = self.read_text(text)
        shared, rotary = self._shared_modulation(context), layout.rotary.rows(0, layout.num_source)
        x = self._embed_source(source, layout)
        for block in self._blocks():
            x = block.in_context(x, shared, context, rotary, partial(attend_source_groups, layout=layout))
        return x, context

    def _place_target(self, tokens: Tensor, levels: Tensor, residuals: Tensor | None) -> Tensor:
        placed: Tensor = tokens + self.level_embed(levels)
        if self.copy_path is not None:
            placed = placed + self.copy_path.embed(_required(residuals))
        return placed

    def _shared_modulation(self, context: TextContext) -> Tensor:
        six: Tensor = self.modulation(F.silu(context.pooled)).unflatten(-1, (6, -1))
        return six  # (B, 6, D)

    def _head_modulation(self, context: TextContext) -> Tensor:
        scale, shift = self.head_modulation(F.silu(context.pooled)).chunk(2, dim=-1)
        return torch.stack((1 + scale, shift), dim=1)  # (B, 2, D)

    def _logits(self, x: Tensor, modulation: Tensor, residuals: Tensor | None, levels: Tensor) -> Tensor:
        scale, shift = modulation.unsqueeze(2).unbind(1)  # each (B, 1, D)
        h = modulated_norm(x, scale, shift, self.config.norm_eps)
        logits: Tensor = self.head(h).unflatten(-1, (-1, 2))
        if self.copy_path is not None:
            logits = logits + self.copy_path.logits(h, _required(residuals), levels)
        return logits

    def _layer_cache(
        self, block: Block, context: BlockContext, layout: SequenceLayout, index: int, batch: int
    ) -> LayerCache:
        rows = layout.kept_rows
        weight = block.attention.project.weight

        def buffer(count: int) -> Tensor:
            shape = (batch, self.config.num_heads, count, self.config.head_width)
            return torch.empty(shape, dtype=weight.dtype, device=weight.device)

        layer = LayerCache(buffer(rows), buffer(rows), context)
        if layout.is_aligned(index):
            layer.source_keys, layer.source_values = buffer(layout.num_source), buffer(layout.num_source)
        return layer


def _recomputed(block: Block) -> Callable[..., Tensor]:
    return partial(checkpoint, block.in_context, use_reentrant=False, preserve_rng_state=False)  # nothing is drawn


def _required(residuals: Tensor | None) -> Tensor:
    assert residuals is not None, "a model with source_residual needs the residuals of every target token"
    return residuals

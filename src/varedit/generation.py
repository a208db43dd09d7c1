"""The scale loop: source features and text in, bits and features out, one scale at a time.

Knows models and tensors; nothing of images, files or prompts. Spec "Generation".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from varedit.quantizer import MultiScaleQuantizer, latents_to_tokens, tokens_to_latents
from varedit.reuse import Reuse, ReuseSettings, find_reuse
from varedit.sampling import BatchSampler
from varedit.text_features import TextFeatures
from varedit.transformer.attention import fastest_attention
from varedit.transformer.cache import EditCache
from varedit.transformer.model import VAREditTransformer
from varedit.transformer.reference import SequenceLayout, source_tokens


@dataclass(slots=True)
class GeneratedScale:
    """One scale, just drawn.

    Attributes:
        index: scale, counted from 0.
        bits: (B, d, h_k, w_k) bool on the latent grid.
        features: (B, d, H, W) float32, the sum of codes so far. The consumer may put another tensor here before the
            loop goes on; later scales then continue from it.
    """

    index: int
    bits: Tensor
    features: Tensor


class DrawObserver(Protocol):
    """What wants to see how the bits of a scale came about."""

    def __call__(self, conditional: Tensor, unconditional: Tensor | None, bits: Tensor, scale: int) -> None:
        """Told of one draw.

        Args:
            conditional, unconditional: logits (B, L_k, token bits, 2) of the guidance branches that ran.
            bits: (B, L_k, token bits) bool, as drawn.
            scale: counted from 0.
        """
        ...


@dataclass
class Generation(Iterator[GeneratedScale]):
    """A batch of edits under way: iterating draws scale after scale; the last one's features go to the decoder.

    Attributes:
        transformer, quantizer, layout: the model on one schedule.
        source: (B, d, H, W) float32, encoded source images.
        sampler: settings of the B edits.
        uniforms: K tensors (B, L_k, token bits) in [0, 1), from `sampling.draw_uniforms`.
        cache: of both guidance branches: all conditional items first, then all unconditional ones.
        branches: 2 while there is guidance, then 1.
        reuse_settings: whether, and when, unchanged places are reused.
        allowed: (B, h_K, w_K) bool on the final token grid, where reuse lets the target change; None is everywhere.
        observer: is shown every draw; None shows it to nobody.
        reuse: what was found to be unchanged, once it was.
        state: the scale drawn last.
    """

    transformer: VAREditTransformer
    quantizer: MultiScaleQuantizer
    layout: SequenceLayout
    source: Tensor
    sampler: BatchSampler
    uniforms: Sequence[Tensor]
    cache: EditCache
    branches: int
    reuse_settings: ReuseSettings | None = None
    allowed: Tensor | None = None
    observer: DrawObserver | None = None
    reuse: Reuse | None = None
    state: GeneratedScale | None = None

    @classmethod
    @torch.inference_mode()
    def begin(
        cls,
        transformer: VAREditTransformer,
        quantizer: MultiScaleQuantizer,
        layout: SequenceLayout,
        source: Tensor,
        text: TextFeatures,
        unconditional: TextFeatures | None,
        sampler: BatchSampler,
        uniforms: Sequence[Tensor],
        *,
        items: Tensor | None = None,
        reuse: ReuseSettings | None = None,
        allowed: Tensor | None = None,
    ) -> Self:
        """Run the sources and the instructions through the transformer; no scale is drawn yet.

        Args:
            source: (U, d, H, W) float32, encoded source images.
            text: U instructions.
            unconditional: U texts of the second branch; None runs without guidance.
            items: (B,) which of the U beginnings each edit has, so that variants of one edit share it; None is each
                its own, B = U.
            reuse: reuse the source where the target has equalled it; None computes everything.

        The rest is told with the attributes.
        """
        branches = 1 if unconditional is None else 2
        tokens = source_tokens(source, quantizer, layout, _merge(quantizer, layout))
        both_texts = text if unconditional is None else text.joined(unconditional)
        with fastest_attention(source.device):
            of_branches = None if items is None else _of_branches(items, branches, len(source))
            cache = transformer.prefill(_repeated(tokens, branches), both_texts, layout, of_branches)
        source = source if items is None else source[items]
        return cls(transformer, quantizer, layout, source, sampler, uniforms, cache, branches, reuse, allowed)

    @torch.inference_mode()
    def __next__(self) -> GeneratedScale:
        """Draw the next scale. Raises StopIteration after the last one."""
        scale, schedule = self.cache.next_scale, self.layout.schedule
        if scale == len(schedule):
            raise StopIteration
        features = self.features
        if self.branches == 2 and scale >= self.sampler.guided_scales:
            self._leave_guidance()
        if self.reuse_settings is not None and scale == self.reuse_settings.begins(schedule):
            self.reuse = find_reuse(
                self.reuse_settings,
                schedule,
                self.quantizer,
                self.source,
                features,
                self.allowed,
                self.proposal,
                fills_up=self.transformer.prefers_few_lengths and len(self.source) == 1,
            )
        merge, grid = _merge(self.quantizer, self.layout), schedule.grids[scale]
        bits = tokens_to_latents(self._tokens(features, scale).float(), grid, merge) > 0.5
        features = self.quantizer.add(features, bits, scale)
        if self.reuse is not None and scale == len(schedule) - 1:
            features = self.reuse.settle(features)
        if scale == len(schedule) - 1:
            self.cache.layers.clear()  # nothing reads them any more, and the decoder may need the room
        self.state = GeneratedScale(scale, bits, features)
        return self.state

    @property
    def features(self) -> Tensor:
        """(B, d, H, W) the sum of codes so far."""
        return torch.zeros_like(self.source) if self.state is None else self.state.features

    @property
    def proposal(self) -> Tensor | None:
        """(B, d, H, W) how far the target lies, as the source proposes it; None for models that do not."""
        found = self.cache.proposal
        if found is None:
            return None
        difference = found.difference[: len(self.source)]
        return tokens_to_latents(difference, self.layout.schedule.final, _merge(self.quantizer, self.layout))

    def taken(self, items: Tensor, uniforms: Sequence[Tensor], scales: int | None = None) -> Generation:
        """The edits ``items`` (N,) of the batch, by index, going on from here with draws of their own.

        One may be taken more than once, to be carried on with several seeds, before reuse has begun.

        Args:
            uniforms: K tensors (N, L_k, token bits).
            scales: the first scales, as many as it will draw; None is all.
        """
        state = self.state
        if state is not None:
            state = GeneratedScale(state.index, state.bits[items], state.features[items])
        return dataclasses.replace(
            self,
            source=self.source[items],
            sampler=self.sampler.taken(items),
            uniforms=uniforms,
            cache=self.cache.taken(_of_branches(items, self.branches, len(self.source)), scales),
            allowed=None if self.allowed is None else self.allowed[items],
            state=state,
        )

    def _tokens(self, features: Tensor, scale: int) -> Tensor:
        """The bits of one scale (B, L_k, token bits) bool, from the sum before it."""
        merge = _merge(self.quantizer, self.layout)
        inputs = None if scale == 0 else latents_to_tokens(self.quantizer.step_input(features, scale), merge)
        places = None if self.reuse is None else self.reuse.places[scale]
        residuals = None
        if places is not None or self.transformer.config.source_residual:
            residuals = latents_to_tokens(self.quantizer.residual(self.source, features, scale), merge)
        if places is None:
            return self._drawn(inputs, residuals, self.uniforms[scale], scale)
        assert inputs is not None and residuals is not None, "reuse begins after the first scale"
        unchanged = residuals > 0  # the source's own bits, and what brings a place that is nearly equal back to it
        if not places.index.numel():
            self.cache.advance(0)
            return unchanged
        both = places.repeated(self.branches)
        if both.is_padding is not None and len(self.source) > 1:  # no edit is to depend on those beside it
            self.cache.hide(both.is_padding)
        uniforms = places.pick(self.uniforms[scale])
        drawn = self._drawn(places.pick(inputs), places.pick(residuals), uniforms, scale, both.index)
        return places.put(drawn, unchanged)

    def _drawn(
        self,
        inputs: Tensor | None,
        residuals: Tensor | None,
        uniforms: Tensor,
        scale: int,
        places: Tensor | None = None,
    ) -> Tensor:
        """Bits of the tokens of one scale, or of those at some places (branches * B, A)."""
        if not self.transformer.config.source_residual:
            residuals = None
        repeated = [None if tokens is None else _repeated(tokens, self.branches) for tokens in (inputs, residuals)]
        with fastest_attention(self.source.device):
            logits = self.transformer.step(repeated[0], self.cache, repeated[1], places)
        conditional, *rest = logits.chunk(self.branches)
        unconditional = rest[0] if rest else None
        bits = self.sampler.bits(self.sampler.guided(conditional, unconditional, scale), uniforms)
        if self.observer is not None:
            self.observer(conditional, unconditional, bits, scale)
        return bits

    def _leave_guidance(self) -> None:
        """Go on with the conditional branch alone: with a strength of 1 the other has no say."""
        self.cache.keep(len(self.source))
        self.branches = 1


def _merge(quantizer: MultiScaleQuantizer, layout: SequenceLayout) -> int:
    return quantizer.grids.final[0] // layout.schedule.final[0]


def _of_branches(items: Tensor, branches: int, count: int) -> Tensor:
    """Items of a batch of so many, by index, in both guidance branches."""
    return torch.cat([items + branch * count for branch in range(branches)])


def _repeated(tokens: Tensor, branches: int) -> Tensor:
    """The same tokens for both guidance branches: all conditional items first, then all unconditional ones."""
    return tokens.repeat(branches, 1, 1) if branches > 1 else tokens

"""The scale loop: source features and text in, bits and features out, one scale at a time.

A function of model and tensors; knows nothing of images, files or prompts. Spec "Generation".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from varedit.quantizer import MultiScaleQuantizer, latents_to_tokens, tokens_to_latents
from varedit.sampling import BatchSampler
from varedit.text_features import TextFeatures
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


@torch.inference_mode()
def generate(
    transformer: VAREditTransformer,
    quantizer: MultiScaleQuantizer,
    layout: SequenceLayout,
    source: Tensor,
    text: TextFeatures,
    unconditional: TextFeatures | None,
    sampler: BatchSampler,
    uniforms: Sequence[Tensor],
) -> Iterator[GeneratedScale]:
    """Edit a batch of features.

    Args:
        source: (B, d, H, W) float32, encoded source images.
        text: B instructions.
        unconditional: B texts of the second branch; None runs without guidance.
        sampler: settings of the B edits.
        uniforms: K tensors (B, L_k, token bits) in [0, 1), from `sampling.draw_uniforms`.

    Yields: each scale once it is drawn; the last one's features go to the decoder.
    """
    branches = 1 if unconditional is None else 2
    merge = quantizer.grids.final[0] // layout.schedule.final[0]
    tokens = source_tokens(source, quantizer, layout, merge)
    both_texts = text if unconditional is None else text.joined(unconditional)
    cache = transformer.prefill(_repeated(tokens, branches), both_texts, layout)
    features = torch.zeros_like(source)
    for scale, grid in enumerate(layout.schedule):
        inputs = residuals = None
        if scale > 0:
            inputs = _repeated(latents_to_tokens(quantizer.step_input(features, scale), merge), branches)
        if transformer.config.source_residual:
            residuals = _repeated(latents_to_tokens(quantizer.residual(source, features, scale), merge), branches)
        logits = transformer.step(inputs, cache, residuals)
        conditional, *rest = logits.chunk(branches)
        guided = sampler.guided(conditional, rest[0] if rest else None, scale)
        drawn = sampler.bits(guided, uniforms[scale])
        bits = tokens_to_latents(drawn.float(), grid, merge) > 0.5
        state = GeneratedScale(scale, bits, quantizer.add(features, bits, scale))
        yield state
        features = state.features


def _repeated(tokens: Tensor, branches: int) -> Tensor:
    """The same tokens for both guidance branches: all conditional items first, then all unconditional ones."""
    return tokens.repeat(branches, 1, 1) if branches > 1 else tokens

"""Toy models and their inputs: all sizes small and different, all weights random.

Zero-initialised gates and the learned attention scales are random too (some of the scales above their limit), or half
of the model would go untested.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from varedit.config import Reference, RotaryLayout, TransformerConfig
from varedit.quantizer import MultiScaleQuantizer, latents_to_tokens
from varedit.scales import ScaleSchedule, Template
from varedit.text_features import TextFeatures
from varedit.transformer.attention import SelfAttention
from varedit.transformer.model import VAREditTransformer
from varedit.transformer.reference import SequenceLayout, sequence_layout, source_tokens

SQUARE = ScaleSchedule(((1, 1), (2, 2), (3, 3), (5, 5)))
WIDE = ScaleSchedule(((1, 1), (2, 3), (3, 4), (4, 7)))  # no grid divides the next one
LATENT_CHANNELS = 3
TEXT_CHANNELS = 10
TEXT_LENGTHS = (4, 7, 2)


@dataclass(frozen=True)
class TinyEditor:
    """A transformer with what it runs on."""

    model: VAREditTransformer
    quantizer: MultiScaleQuantizer
    layout: SequenceLayout
    merge: int

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each scale."""
        return self.layout.schedule.lengths

    @property
    def num_source(self) -> int:
        """Tokens of the source."""
        return self.layout.num_source

    def features(self, batch: int, *, seed: int) -> Tensor:
        """Random features (B, d, H, W)."""
        return random(batch, LATENT_CHANNELS, *self.quantizer.grids.final, seed=seed)

    def forced(self, source: Tensor, sums: Sequence[Tensor]) -> Forced:
        """Inputs of a teacher-forced pass, from source features and the running sums of the target before scales 2..K.

        Built with the quantiser's own steps and nothing of the scale loop.
        """
        before = [torch.zeros_like(source), *sums]
        scales = range(len(self.lengths))
        inputs = [latents_to_tokens(self.quantizer.step_input(before[k], k), self.merge) for k in scales[1:]]
        residuals = [latents_to_tokens(self.quantizer.residual(source, before[k], k), self.merge) for k in scales]
        return Forced(
            source=source_tokens(source, self.quantizer, self.layout, self.merge),
            step_inputs=torch.cat(inputs, dim=1),
            residuals=torch.cat(residuals, dim=1) if self.model.copy_path is not None else None,
        )

    def teacher_forced(self, forced: Forced, text: TextFeatures) -> Tensor:
        """Logits (B, L, token bits, 2) of all scales in one pass."""
        logits: Tensor = self.model(forced.source, forced.step_inputs, text, self.layout, forced.residuals)
        return logits

    def cached(self, forced: Forced, text: TextFeatures) -> Tensor:
        """The same by prefill and steps."""
        inputs: list[Tensor | None] = [None, *forced.step_inputs.split(list(self.lengths[1:]), dim=1)]
        residuals: list[Tensor | None] = [None] * len(self.lengths)
        if forced.residuals is not None:
            residuals = [*forced.residuals.split(list(self.lengths), dim=1)]
        cache = self.model.prefill(forced.source, text, self.layout)
        steps = [self.model.step(now, cache, left) for now, left in zip(inputs, residuals, strict=True)]
        return torch.cat(steps, dim=1)


@dataclass(frozen=True)
class Forced:
    """What one pass over all scales reads.

    Attributes:
        source: (B, S, token bits).
        step_inputs: (B, L_2 + .. + L_K, token bits).
        residuals: (B, L, token bits), None for models without a copy path.
    """

    source: Tensor
    step_inputs: Tensor
    residuals: Tensor | None

    def with_scale_moved(self, lengths: Sequence[int], scale: int) -> Forced:
        """Another input at one target scale (not the first, which has none)."""
        start = sum(lengths[1:scale])
        moved = self.step_inputs.clone()
        moved[:, start : start + lengths[scale]] += 1.0
        return replace(self, step_inputs=moved)

    def with_source_moved(self, start: int, end: int) -> Forced:
        """Other source tokens in rows start..end-1."""
        moved = self.source.clone()
        moved[:, start:end] += 1.0
        return replace(self, source=moved)


def tiny_config(
    *,
    reference: Reference = "sar",
    rotary_layout: RotaryLayout = "exact",
    merge: int = 1,
    source_residual: bool = False,
    source_proposal: bool = False,
    depth: int = 3,
) -> TransformerConfig:
    """Width 24 in 3 heads of 8, 2 pool heads, 6 level rows, up to 9 words."""
    return TransformerConfig(
        width=24,
        depth=depth,
        num_heads=3,
        ffn_hidden=40,
        token_bits=LATENT_CHANNELS * merge**2,
        text_channels=TEXT_CHANNELS,
        max_text_length=9,
        pool_heads=2,
        level_rows=6,
        reference=reference,
        rotary_layout=rotary_layout,
        source_residual=source_residual or source_proposal,
        source_proposal=source_proposal,
    )


def tiny_editor(config: TransformerConfig | None = None, schedule: ScaleSchedule = WIDE) -> TinyEditor:
    """A random editor; its positions are counted on a grid finer than the schedule's last."""
    config = config or tiny_config()
    merge = math.isqrt(config.token_bits // LATENT_CHANNELS)
    longer = ScaleSchedule((*schedule, (schedule.final[0] + 2, schedule.final[1] + 3)))
    template = Template("tiny", schedule.aspect_ratio, schedule, longer)
    model = VAREditTransformer(config).eval().requires_grad_(False)
    randomize(model, seed=0)
    return TinyEditor(
        model, MultiScaleQuantizer(schedule.scaled(merge), LATENT_CHANNELS), sequence_layout(config, template), merge
    )


def tiny_text(lengths: Sequence[int] = TEXT_LENGTHS, *, seed: int = 0) -> TextFeatures:
    """Random instructions of unlike lengths, padded with zeros."""
    features = torch.zeros(len(lengths), max(lengths), TEXT_CHANNELS)
    for item, length in enumerate(lengths):
        features[item, :length] = random(length, TEXT_CHANNELS, seed=seed + item)
    return TextFeatures(features, tuple(lengths))


def single(text: TextFeatures, item: int) -> TextFeatures:
    """One instruction of a batch, without padding."""
    length = text.lengths[item]
    return TextFeatures(text.features[item : item + 1, :length], (length,))


def random(*shape: int, seed: int) -> Tensor:
    """Normal random numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def randomize(module: nn.Module, *, seed: int) -> None:
    """Draw every parameter and buffer, whatever it held: matrices with gain one, others around their usual start."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        noise = torch.randn(tensor.shape, generator=generator)
        is_weight = name.endswith("weight")
        if name.endswith("spread"):
            tensor.fill_(1.3)
        elif name.endswith("strength"):
            tensor.copy_(4 + noise)
        elif "token_embed" in name or name in ("null_text", "text_pool.query"):
            tensor.copy_(noise)  # loud, so that tokens and texts differ from each other
        elif is_weight and tensor.dim() > 1 and "level_embed" not in name:
            tensor.copy_(noise / math.sqrt(tensor[0].numel()))
        else:
            tensor.copy_(0.4 * noise + (1.0 if is_weight and tensor.dim() == 1 else 0.0))
    for part in module.modules():
        if isinstance(part, SelfAttention):  # the first head's scale lies above the limit of log 100
            part.log_scale.copy_(torch.tensor([5.5, 1.0, 2.5]).view(part.log_scale.shape))

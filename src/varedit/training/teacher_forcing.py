"""What one pass over all scales needs: inputs, labels and residuals, made of the features of source and target."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from varedit.config import EditorConfig
from varedit.editor import latent_quantizer
from varedit.quantizer import MultiScaleQuantizer, latents_to_tokens
from varedit.scales import Template
from varedit.transformer.reference import SequenceLayout, sequence_layout, source_tokens


@dataclass(frozen=True)
class Frame:
    """A template as the model works with it.

    Attributes:
        quantizer: on the template's latent grids.
        layout: where tokens stand.
        merge: latents per token and axis.
    """

    quantizer: MultiScaleQuantizer
    layout: SequenceLayout
    merge: int

    @classmethod
    def of(cls, config: EditorConfig, template: Template, device: torch.device | str) -> Frame:
        """The frame of one template."""
        layout = sequence_layout(config.transformer, template, device)
        return cls(latent_quantizer(config, template), layout, config.merge)

    def coarsest(self, count: int) -> Frame:
        """The frame with the ``count`` coarsest scales alone."""
        return dataclasses.replace(self, layout=self.layout.coarsest(count))


@dataclass(frozen=True)
class TeacherForced:
    """What one pass over all scales needs.

    Attributes:
        source: (B, S, token bits).
        step_inputs: (B, L_2 + .. + L_K, token bits).
        residuals: (B, L, token bits), the source's features over the running sum.
        labels: (B, L, token bits) bool.
    """

    source: Tensor
    step_inputs: Tensor
    residuals: Tensor
    labels: Tensor

    @property
    def is_copied(self) -> Tensor:
        """(B, L, token bits) bool, where a copy of the source is right."""
        return (self.residuals > 0) == self.labels


def teacher_forced(source: Tensor, target: Tensor, frame: Frame, flips: list[Tensor] | None = None) -> TeacherForced:
    """Inputs and labels of all scales of the frame's layout.

    Args:
        source, target: features (B, d, H, W) of the frame's grid.
        flips: bits that go wrong on the way, from `self_correction`; None for none.
    """
    quantizer, merge = frame.quantizer, frame.merge
    coded = quantizer.encode(target, flips=flips)
    before = (torch.zeros_like(target), *coded.running[:-1])
    scales = range(len(frame.layout.schedule))
    inputs = [latents_to_tokens(quantizer.step_input(before[k], k), merge) for k in scales[1:]]
    residuals = [latents_to_tokens(quantizer.residual(source, before[k], k), merge) for k in scales]
    labels = [latents_to_tokens(bits.float(), merge) > 0.5 for bits in coded.bits[: len(scales)]]
    tokens = source_tokens(source, quantizer, frame.layout, merge)
    return TeacherForced(
        source=tokens,
        step_inputs=torch.cat([tokens[:, :0], *inputs], dim=1),  # one scale alone has no input
        residuals=torch.cat(residuals, dim=1),
        labels=torch.cat(labels, dim=1),
    )

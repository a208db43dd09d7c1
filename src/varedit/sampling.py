"""From logits to bits: temperature, guidance, top-k and top-p over each bit's two outcomes, one draw per bit.

Spec "Generation". Knows nothing of images or caches. Each item of a batch has settings and a generator of its own, so
that its result does not depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from varedit.errors import UsageError

MAX_GUIDANCE = 30.0
MIN_TEMPERATURE = 1e-3
MAX_TEMPERATURE = 10.0

PerScale = float | Sequence[float]


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How one edit's bits are drawn.

    Args:
        guidance: strength of classifier-free guidance over the text, one number or one per scale; 1 is none.
        temperature: logits are divided by it before guidance is combined; one number or one per scale.
        top_k: 1 keeps the likelier outcome of a bit only; None or 2 and more change nothing.
        top_p: outcomes of a bit with a probability of at most 1 - top_p are never drawn; None is off.
        greedy: take the likelier outcome, without drawing.

    Raises:
        UsageError: a number is not finite or out of range.
    """

    guidance: PerScale = 3.0
    temperature: PerScale = 0.5
    top_k: int | None = None
    top_p: float | None = None
    greedy: bool = False

    def __post_init__(self) -> None:
        for number in _listed(self.guidance):
            _check("guidance", number, 0.0, MAX_GUIDANCE)
        for number in _listed(self.temperature):
            _check("temperature", number, MIN_TEMPERATURE, MAX_TEMPERATURE)
        if self.top_p is not None:
            _check("top_p", self.top_p, 0.0, 1.0)
        if self.top_k is not None and (isinstance(self.top_k, bool) or self.top_k < 1):
            raise UsageError(f"top_k must be at least 1, not {self.top_k}")

    def per_scale(self, num_scales: int) -> list[tuple[float, float]]:
        """(guidance, temperature) of every scale. Raises UsageError if a list has another length."""
        columns = []
        for name, value in (("guidance", self.guidance), ("temperature", self.temperature)):
            numbers = _listed(value)
            if len(numbers) not in (1, num_scales):
                raise UsageError(f"{name} has {len(numbers)} values; this model has {num_scales} scales")
            columns.append(numbers * num_scales if len(numbers) == 1 else numbers)
        return list(zip(*columns, strict=True))


@dataclass(frozen=True)
class BatchSampler:
    """The settings of a batch of edits over K scales, as tensors on the model's device.

    Attributes:
        guidance, temperature: (B, K) float32.
        top_p: (B,) float32, 1 where it is off.
        greedy: (B,) bool, true where the likelier outcome is taken.
        guided_scales: how many of the first scales need the second branch: from there on all guidance is 1.
    """

    guidance: Tensor
    temperature: Tensor
    top_p: Tensor
    greedy: Tensor
    guided_scales: int

    @classmethod
    def of(cls, settings: Sequence[SamplingSettings], num_scales: int, device: torch.device | str) -> Self:
        """Gather the settings of B edits."""
        pairs = torch.tensor([item.per_scale(num_scales) for item in settings], dtype=torch.float32)  # (B, K, 2)
        top_p = [item.top_p or 1.0 for item in settings]  # 0 is off, as in the released code
        greedy = [item.greedy or item.top_k == 1 for item in settings]
        return cls(
            guidance=pairs[..., 0].to(device),
            temperature=pairs[..., 1].to(device),
            top_p=torch.tensor(top_p, device=device),
            greedy=torch.tensor(greedy, device=device),
            guided_scales=max((scale + 1 for scale in range(num_scales) if (pairs[:, scale, 0] != 1).any()), default=0),
        )

    def taken(self, items: Tensor) -> BatchSampler:
        """The settings of some edits, by index (N,); one may be taken more than once."""
        return replace(
            self,
            guidance=self.guidance[items],
            temperature=self.temperature[items],
            top_p=self.top_p[items],
            greedy=self.greedy[items],
        )

    def guided(self, conditional: Tensor, unconditional: Tensor | None, scale: int) -> Tensor:
        """Logits (B, L, d, 2) after temperature and guidance; without an unconditional branch guidance is 1."""
        temperature = self.temperature[:, scale, None, None, None]
        if unconditional is None:
            return conditional / temperature
        strength = self.guidance[:, scale, None, None, None]
        return guide(conditional / temperature, unconditional / temperature, strength)

    def bits(self, logits: Tensor, uniforms: Tensor) -> Tensor:
        """Draw bits (B, L, d) bool from guided logits (B, L, d, 2) and uniform numbers (B, L, d) in [0, 1)."""
        shape = (-1, 1, 1)
        drawn = uniforms < filtered_probability(logits, self.top_p.view(shape))
        return torch.where(self.greedy.view(shape), likelier(logits), drawn)


def guide(conditional: Tensor, unconditional: Tensor, strength: Tensor | float) -> Tensor:
    """strength * conditional + (1 - strength) * unconditional; strength 1 gives exactly the conditional logits."""
    return strength * conditional + (1 - strength) * unconditional


def filtered_probability(logits: Tensor, top_p: Tensor) -> Tensor:
    """Probability of bit 1 from logits (..., 2), after top-p: an outcome of at most 1 - top_p is never drawn.

    Args:
        logits: (..., 2).
        top_p: broadcasts to (...,); 1 is off.
    """
    probability = torch.sigmoid(logits[..., 1] - logits[..., 0])
    rare = 1 - top_p  # 0 where the filter is off: drops nothing that could ever be drawn
    probability = torch.where(probability <= torch.minimum(rare, 1 - probability), 0.0, probability)
    return torch.where(1 - probability <= torch.minimum(rare, probability), 1.0, probability)


def likelier(logits: Tensor) -> Tensor:
    """The likelier outcome of each bit, (...,) bool from logits (..., 2); equal logits give bit 0."""
    return logits[..., 1] > logits[..., 0]


def draw_uniforms(generators: Sequence[torch.Generator], lengths: Sequence[int], bits: int) -> list[Tensor]:
    """Uniform numbers for every bit of every scale: K tensors (B, L_k, bits) float32 on the CPU.

    Each item's numbers come from its own generator in the order of the scales, whatever its neighbours; a CPU
    generator gives the same numbers for every device.
    """
    rows = [
        [torch.rand(length, bits, generator=generator, device=generator.device).cpu() for length in lengths]
        for generator in generators
    ]
    return [torch.stack(scale) for scale in zip(*rows, strict=True)]


def _listed(value: object) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _check(name: str, number: object, low: float, high: float) -> None:
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise UsageError(f"{name} must be a finite number, not {number!r}")
    if not low <= number <= high:
        raise UsageError(f"{name} is {number}; it must be from {low:g} to {high:g}")

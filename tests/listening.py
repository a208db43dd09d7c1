"""Ears for the tests: what passes inside a model or a scale loop, without changing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from varedit.sampling import BatchSampler, SamplingSettings


@contextmanager
def outputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """The outputs of a module, call by call, while the context lasts."""
    heard: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: heard.append(output))
    try:
        yield heard
    finally:
        handle.remove()


@contextmanager
def inputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """The first inputs of a module, call by call, while the context lasts."""
    heard: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _module, inputs: heard.append(inputs[0]))
    try:
        yield heard
    finally:
        handle.remove()


class StartedKernels(TorchDispatchMode):
    """The names of all operators that ran while it lasts, but for those that merely look at a tensor in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.names.append(func.name())
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class HearingSampler(BatchSampler):
    """Draws like any sampler, and keeps the guided logits (B, L, d, 2) of each scale."""

    heard: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(
        cls, settings: Sequence[SamplingSettings], num_scales: int, device: torch.device | str = "cpu"
    ) -> HearingSampler:
        plain = BatchSampler.of(settings, num_scales, device)
        return cls(plain.guidance, plain.temperature, plain.top_p, plain.greedy, plain.guided_scales)

    def guided(self, conditional: Tensor, unconditional: Tensor | None, scale: int) -> Tensor:
        guided = super().guided(conditional, unconditional, scale)
        self.heard.append(guided)
        return guided

"""Running averages of weights (EMA): what is validated and shipped. Sharded weights have sharded averages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class ExponentialAverage:
    """Running averages of what learns in a module, with the usual warm-up: decay min(d, (1 + t) / (10 + t))."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights = {name: value.clone() for name, value in learned_weights(module).items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        present = learned_weights(module)
        numbers = [name for name, value in present.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in numbers], [present[name] for name in numbers], 1 - decay)
        for name in present.keys() - set(numbers):
            self.weights[name].copy_(present[name])

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.updates = state["updates"]
        for name, value in state["weights"].items():
            self.weights[name].copy_(value)


def learned_weights(module: nn.Module) -> dict[str, Tensor]:
    """The module's state without frozen parameters, detached; buffers belong to it."""
    frozen = {name for name, value in module.named_parameters(remove_duplicate=False) if not value.requires_grad}
    return {name: value.detach() for name, value in module.state_dict().items() if name not in frozen}


def whole_weights(weights: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Weights on the CPU, their shards brought together; all processes must call this at once.

    Args:
        keep: False for a process that only helps and gets nothing, to spare its memory.
    """
    whole = {}
    for name, value in weights.items():
        gathered = value.full_tensor() if isinstance(value, DTensor) else value
        if keep:
            whole[name] = gathered.cpu()
    return whole

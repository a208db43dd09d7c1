"""Muon: momentum whose matrix updates are made orthogonal, with AdamW for everything that is not a matrix inside.

https://kellerjordan.github.io/posts/muon/ and "Muon is scalable for LLM training" (2502.16982), whose scale of 0.2
times the root of the longer side lets one learning rate serve both kinds. `torch.optim.Muon` takes matrices only; here
a convolution's kernel is a matrix of its output channels against all the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

STEPS = 5  # of the iteration
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the odd polynomial that each step applies to the singular values
UPDATE_SCALE = 0.2  # root mean square of an update over the learning rate, as AdamW's usually is


class Muon(torch.optim.Optimizer):
    """Muon for matrices, AdamW for the rest.

    Args:
        matrices: parameters of two or more dimensions between hidden layers.
        decayed, undecayed: parameters for AdamW, with and without weight decay.
        weight_decay: of ``matrices`` and ``decayed``.
        momentum: of Muon, in Nesterov's form.
        betas: of AdamW.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        decayed: Iterable[nn.Parameter],
        undecayed: Iterable[nn.Parameter],
        *,
        weight_decay: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
    ) -> None:
        groups = (
            {"params": list(matrices), "weight_decay": weight_decay, "orthogonal": True},
            {"params": list(decayed), "weight_decay": weight_decay, "orthogonal": False},
            {"params": list(undecayed), "weight_decay": 0.0, "orthogonal": False},
        )
        defaults = {"lr": 1e-3, "momentum": momentum, "betas": betas, "eps": eps}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # nothing is computed again within a step
        """One update of all parameters that have a gradient."""
        assert closure is None, "a step does not compute the loss"
        for group in self.param_groups:
            parameters = [each for each in group["params"] if each.grad is not None]
            if not parameters:
                continue
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            update = self._momentum if group["orthogonal"] else self._adam
            torch._foreach_add_(parameters, update(parameters, group), alpha=-group["lr"])

    def _momentum(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> list[Tensor]:
        gradients = _gradients(parameters)
        momenta = self._kept(parameters, "momentum")
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, gradients)
        directions = torch._foreach_add(gradients, momenta, alpha=group["momentum"])
        updates = all_orthogonalised([each.flatten(1) for each in directions])
        return [
            update.mul_(UPDATE_SCALE * max(update.shape) ** 0.5).view_as(each)
            for each, update in zip(parameters, updates, strict=True)
        ]

    def _adam(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> list[Tensor]:
        gradients = _gradients(parameters)
        first, second = group["betas"]
        means, squares = self._kept(parameters, "mean"), self._kept(parameters, "square")
        steps = [self._counted(each) for each in parameters]
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - second)
        spreads = torch._foreach_div(squares, [1 - second**step for step in steps])
        torch._foreach_sqrt_(spreads)
        torch._foreach_add_(spreads, group["eps"])
        updates = torch._foreach_div(means, [1 - first**step for step in steps])
        torch._foreach_div_(updates, spreads)
        return list(updates)

    def _kept(self, parameters: list[nn.Parameter], name: str) -> list[Tensor]:
        """A running value of each parameter, zero at first."""
        for each in parameters:
            if name not in self.state[each]:
                self.state[each][name] = torch.zeros_like(each)
        return [self.state[each][name] for each in parameters]

    def _counted(self, parameter: nn.Parameter) -> int:
        """How many updates a parameter has had with this one."""
        state = self.state[parameter]
        state["step"] = state.get("step", 0) + 1
        return int(state["step"])


def _gradients(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [each.grad for each in parameters if each.grad is not None]


def all_orthogonalised(matrices: list[Tensor]) -> list[Tensor]:
    """`orthogonalised` of each matrix; those of one shape, as the blocks of a transformer have them, go together."""
    by_shape: dict[torch.Size, list[int]] = {}
    for place, matrix in enumerate(matrices):
        by_shape.setdefault(matrix.shape, []).append(place)
    results = list(matrices)
    for places in by_shape.values():
        together = orthogonalised(torch.stack([matrices[place] for place in places]))
        for place, result in zip(places, together, strict=True):
            results[place] = result
    return results


def orthogonalised(matrices: Tensor) -> Tensor:
    """About U V^T of matrices U S V^T (..., rows, columns), singular values between 0.7 and 1.2.

    By way of bfloat16, but for processors that would take ten times as long for it.
    """
    a, b, c = COEFFICIENTS
    is_slow = matrices.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() != "AVX512"
    x = matrices.float() if is_slow else matrices.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    is_tall = x.shape[-2] > x.shape[-1]
    x = x.mT.contiguous() if is_tall else x  # products of a transposed view are slow on a CPU
    for _ in range(STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    result: Tensor = (x.mT if is_tall else x).to(matrices.dtype)
    return result

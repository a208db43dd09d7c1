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
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                update = self._momentum if group["orthogonal"] else self._adam
                parameter.add_(update(parameter, group), alpha=-group["lr"])

    def _momentum(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
        direction = (parameter.grad + group["momentum"] * momentum).flatten(1)
        scale = UPDATE_SCALE * max(direction.shape) ** 0.5
        return orthogonalised(direction).mul_(scale).view_as(parameter)

    def _adam(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        state, (first, second) = self.state[parameter], group["betas"]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        mean = state["mean"].lerp_(parameter.grad, 1 - first)
        square = state["square"].mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
        spread = (square / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
        update: Tensor = mean / (1 - first ** state["step"]) / spread
        return update


def orthogonalised(matrix: Tensor) -> Tensor:
    """About U V^T of a matrix U S V^T (rows, columns), singular values between 0.7 and 1.2; float32 from bfloat16."""
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    for _ in range(STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    result: Tensor = (x.T if is_tall else x).to(matrix.dtype)
    return result

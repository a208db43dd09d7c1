"""The loop that both trainings share: rates, clipping, averages, metrics, checkpoints that resume exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from varedit.errors import VAREditError
from varedit.training.recipe import OptimizerSettings
from varedit.training.run import ExponentialAverage, RunFolder

Batch = TypeVar("Batch")
Metrics = dict[str, float]
OnStep = Callable[[int, int, Metrics], None]  # (step, steps, metrics)


class Task(Protocol[Batch]):
    """What is trained: its module, its batches, its loss, and how to look at it."""

    @property
    def module(self) -> nn.Module:
        """The weights."""
        ...

    def batches(self, first_step: int) -> Iterator[Batch]:
        """The batches of steps first_step, first_step + 1, ... to the end."""
        ...

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, Metrics]:
        """The loss to descend, and numbers to log."""
        ...

    def validate(self, weights: dict[str, Tensor], step: int) -> Metrics:
        """Numbers on validation data with averaged weights; may save sample pictures."""
        ...


@dataclass(frozen=True)
class Trained:
    """What a finished run leaves."""

    weights: dict[str, Tensor]  # averaged
    metrics: Metrics  # of the last validation


def train(task: Task[Batch], settings: OptimizerSettings, run: RunFolder, on_step: OnStep | None = None) -> Trained:
    """Train to the last step, going on from the run's checkpoint if it has one.

    Raises:
        VAREditError: the loss is no longer a number; the last checkpoint is good.
    """
    module = task.module
    average = ExponentialAverage(module, settings.ema_decay)
    optimizer = torch.optim.AdamW(_parameter_groups(module, settings.weight_decay), betas=(0.9, 0.98))
    step, metrics = 0, {}
    if state := run.load_checkpoint():
        module.load_state_dict(state["module"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, metrics = state["step"], state["metrics"]

    module.train()
    for batch in task.batches(step):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step)
        loss, numbers = task.loss(batch, step)
        if not torch.isfinite(loss):
            raise VAREditError(
                f"the loss became {loss.item()} at step {step}. Lower the learning rate and start again from the "
                f"last checkpoint in {run.path}."
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), settings.clip_norm)
        optimizer.step()
        average.update(module)
        step += 1
        if step % 50 == 0:
            run.log({"step": step, "loss": loss.item(), **numbers})
        if step % settings.validate_every == 0 or step == settings.steps:
            metrics = task.validate(average.weights, step)
            run.log({"step": step, **metrics})
        if step % settings.checkpoint_every == 0 or step == settings.steps:
            run.save_checkpoint(
                {
                    "step": step,
                    "metrics": metrics,
                    "module": module.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                }
            )
        if on_step is not None:
            on_step(step, settings.steps, {"loss": loss.item(), **numbers})
    return Trained(average.weights, metrics)


def _parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and kernels decay; vectors, scalars and learned positions do not (spec "Training")."""
    undecayed = (
        "null_text",
        "start_position",
        "level_embed.weight",
        "modulation_offset",
        "log_scale",
        "text_pool.query",
    )
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in module.named_parameters():
        groups[parameter.ndim > 1 and not name.endswith(undecayed)].append(parameter)
    return [
        {"params": groups[True], "weight_decay": weight_decay},
        {"params": groups[False], "weight_decay": 0.0},
    ]

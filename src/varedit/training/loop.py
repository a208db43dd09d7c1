"""The loop that both trainings share: rates, clipping, averages, metrics, checkpoints that resume exactly.

Knows neither what is trained nor how many processes train it: see `Task` and `processes`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from varedit.errors import OutputError, Stopped, VAREditError
from varedit.training.averages import ExponentialAverage, whole_weights
from varedit.training.batches import DataPosition
from varedit.training.optimizer import optimizer_of
from varedit.training.processes import Processes, plain_attention
from varedit.training.recipe import OptimizerSettings
from varedit.training.run import RunFolder
from varedit.training.state import TrainingState
from varedit.training.stopping import StopRequest, stop_requests

Metrics = dict[str, float]
OnStep = Callable[[int, int, Metrics], None]  # (step, steps, metrics)
LOG_EVERY = 50  # steps


class Batch(Protocol):
    """What a task computes its loss of; `batches.StepBatch` is one."""

    @property
    def stream(self) -> tuple[str, Any] | None:
        """Lane and position of the records from outside after this batch; None where it has none of them."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same with its tensors on a device."""
        ...


BatchT = TypeVar("BatchT", bound=Batch)


class Task(Protocol[BatchT]):
    """What is trained: its module, its batches, its loss, and how to look at it."""

    @property
    def module(self) -> nn.Module:
        """The weights; those that need no gradient are frozen."""
        ...

    def batches(self, position: DataPosition) -> Generator[BatchT, None, None]:
        """This process's batches from a position on, `accumulation` of them a step, to the last step."""
        ...

    def loss(self, batch: BatchT, step: int) -> tuple[Tensor, Metrics]:
        """The loss to descend, a mean over the items of the batch, and numbers to log."""
        ...

    def validate(self, weights: dict[str, Tensor], step: int) -> Metrics:
        """Numbers on validation data with averaged weights; may save sample pictures. Only the main process is asked.

        Args:
            weights: whole, on the CPU, by the names in ``module``'s state; what is frozen is not in it.
        """
        ...


@dataclass(frozen=True)
class Trained:
    """What a finished run leaves: averaged weights, in the main process, and the metrics of the last validation."""

    weights: dict[str, Tensor]
    metrics: Metrics


def train(task: Task[BatchT], settings: OptimizerSettings, run: RunFolder, on_step: OnStep | None = None) -> Trained:
    """Train to the last step, going on from the run's checkpoint if it has one.

    Args:
        on_step: told after each step, in the main process.

    Raises:
        VAREditError: the loss is no longer a number; the last checkpoint is good.
        Stopped: a signal asked for it; the checkpoint is of the last step.
        OutputError: the run's folder cannot be written.
        UsageError: the recipe, or the way of launching, does not suit the run.
    """
    trainer = _Trainer(task, settings, run)
    with stop_requests() as request:
        try:
            return trainer.train(request, on_step)
        except VAREditError as error:
            if trainer.processes.is_main and not isinstance(error, OutputError):
                run.note(str(error))
            raise
        finally:
            if trainer.processes.is_main:
                run.end()


class _Objective(nn.Module):
    """A task's loss as a module, so that what spreads it over processes sees every use of the weights."""

    def __init__(self, task: Task[Any]) -> None:
        super().__init__()
        self.module = task.module
        self.compute = task.loss

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, Metrics]:
        return self.compute(batch, step)


class _Trainer:
    """One process's part in a training."""

    def __init__(self, task: Task[Any], settings: OptimizerSettings, run: RunFolder) -> None:
        self.task, self.settings, self.run = task, settings, run
        self.processes = Processes.joined()
        self.objective = self.processes.spread(_Objective(task), some_rest=settings.some_rest)
        optimizer = optimizer_of(task.module, settings, shards_weights=self.processes.shards_weights)
        self.state = TrainingState(task.module, optimizer, ExponentialAverage(task.module, settings.ema_decay))
        self.skipped = 0

    def train(self, request: StopRequest, on_step: OnStep | None) -> Trained:
        """See `train`."""
        state, settings = self.state, self.settings
        state.load(self.run, self.processes)
        self.processes.wait()  # before the main process writes into the folder
        if self.processes.is_main:
            self.run.begin(settings, state.step)
        state.module.train()
        with closing(self.task.batches(state.data)) as batches:
            while state.step < settings.steps:
                started = time.perf_counter()
                numbers, must_stop = self._advance(batches, request)
                numbers["items_per_second"] = settings.batch_size / (time.perf_counter() - started)
                self._keep(numbers, must_stop=must_stop)
                if on_step is not None and self.processes.is_main:
                    on_step(state.step, settings.steps, numbers)
                if must_stop and state.step < settings.steps:
                    raise self._stopped()
        return Trained(whole_weights(state.average.weights, keep=self.processes.is_main), state.metrics)

    def _advance(self, batches: Generator[Batch, None, None], request: StopRequest) -> tuple[Metrics, bool]:
        """One step; returns its numbers, the loss among them, and whether some process was asked to stop."""
        state, settings = self.state, self.settings
        for group in state.optimizer.param_groups:
            group["lr"] = settings.rate(state.step)
        state.optimizer.zero_grad()
        streams = dict(state.data.streams)
        parts = []
        for number in range(settings.accumulation):
            batch = self._next(batches, request)
            parts.append(self._gradients(batch, is_last=number == settings.accumulation - 1))
            if batch.stream is not None:
                streams[batch.stream[0]] = batch.stream[1]
        numbers, must_stop = self._agreed(parts, request)
        norm = torch.nn.utils.clip_grad_norm_(state.module.parameters(), settings.clip_norm)
        self._check_finite("loss", numbers["loss"])
        self._check_finite("gradient's norm", float(whole_weights({"norm": norm}, keep=True)["norm"]))
        state.optimizer.step()
        state.average.update(state.module)
        state.data = DataPosition(state.step + 1, streams)
        return numbers, must_stop

    def _next(self, batches: Generator[Batch, None, None], request: StopRequest) -> Batch:
        """The next batch; a signal may have ended the process that makes it, before this one could stop in its way."""
        try:
            return next(batches)
        except RuntimeError as error:
            if not request.name or self.processes.count > 1:
                raise
            self.state.save(self.run, self.processes)
            raise self._stopped() from error

    def _stopped(self) -> Stopped:
        return Stopped(
            f"stopped at step {self.state.step} of {self.settings.steps}; the checkpoint in {self.run.path} is of that "
            "step. Give the same command again to go on."
        )

    def _gradients(self, batch: Batch, *, is_last: bool) -> Metrics:
        """Add a part's share to the gradients; processes exchange them with the last part."""
        alone = nullcontext() if is_last else self.processes.without_averaging(self.objective)
        with alone, plain_attention(self.processes.device):
            loss, numbers = self.objective(batch.to(self.processes.device), self.state.step)
            (loss / self.settings.accumulation).backward()
        return {"loss": loss.item(), **numbers}

    def _agreed(self, parts: list[Metrics], request: StopRequest) -> tuple[Metrics, bool]:
        """The numbers of all parts and processes together, and whether any process was asked to stop."""
        own = [sum(part[name] for part in parts) / len(parts) for name in parts[0]]
        *values, asked = self.processes.mean([*own, float(bool(request.name))])
        return dict(zip(parts[0], values, strict=True)), asked > 0

    def _check_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise VAREditError(
                f"the {what} became {value} at step {self.state.step}. The last checkpoint in {self.run.path} is good: "
                "lower learning_rate in the recipe, then give the same command again."
            )

    def _keep(self, numbers: Metrics, *, must_stop: bool) -> None:
        """Log, validate and save, where it is time to."""
        state, settings = self.state, self.settings
        is_end = state.step == settings.steps
        if state.step % LOG_EVERY == 0 and self.processes.is_main:
            self.run.log({"step": state.step, **numbers})
        if state.step % settings.validate_every == 0 or is_end:
            self._validate()
        if state.step % settings.checkpoint_every == 0 or is_end or must_stop:
            state.save(self.run, self.processes)
            self._note_skipped()

    def _validate(self) -> None:
        weights = whole_weights(self.state.average.weights, keep=self.processes.is_main)
        if self.processes.is_main:
            self.state.metrics = self.task.validate(weights, self.state.step)
            self.run.log({"step": self.state.step, **self.state.metrics})
        self.processes.wait()

    def _note_skipped(self) -> None:
        """Say how many records from outside could not be used, whenever there are more of them."""
        skipped = sum(state["skipped"] for state in self.state.data.streams.values())
        if skipped > self.skipped and self.processes.is_main:
            self.run.note(f"{skipped} records were skipped so far; varedit data check says which and why")
        self.skipped = skipped

"""The progress line of a training: loss, bit accuracies, speed, time left. Without a terminal, one every 100 steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from varedit.cli.terminal import Terminal
from varedit.training.loop import Metrics, OnStep

LINE_EVERY = 100  # steps
SMOOTHING = 0.98  # of what is shown, from step to step: single steps jump with their template and their flips


@contextmanager
def shown_progress(terminal: Terminal, threads: int | None) -> Iterator[OnStep]:
    """Yield a callback that shows each step; sets the number of compute threads first if one is given."""
    if threads is not None:
        torch.set_num_threads(threads)
    console = Console(stderr=True, quiet=terminal.quiet)
    columns = (MofNCompleteColumn(), BarColumn(bar_width=20), TextColumn("{task.description}"))
    has_bar = console.is_terminal and not terminal.quiet
    with Progress(*columns, console=console) if has_bar else nullcontext() as progress:
        bar = progress.add_task("starting") if progress else None
        line = ProgressLine()

        def on_step(step: int, steps: int, metrics: Metrics) -> None:
            line.add(step, metrics)
            if progress and bar is not None:
                progress.update(bar, completed=step, total=steps, description=line.text(step, steps))
            elif step % LINE_EVERY == 0 or step == steps:
                console.print(f"step {step}/{steps}  {line.text(step, steps)}", soft_wrap=True, highlight=False)

        yield on_step


@dataclass
class ProgressLine:
    """What the line says: running means of the metrics, and the pace since the first step that it saw."""

    means: Metrics | None = None
    first: tuple[int, float] | None = None  # the first step, and when it was done

    def add(self, step: int, metrics: Metrics) -> None:
        """Take in a step."""
        if self.means is None or self.first is None:
            self.means, self.first = dict(metrics), (step, time.monotonic())
        for name, value in metrics.items():
            before = self.means.get(name, value)
            self.means[name] = SMOOTHING * before + (1 - SMOOTHING) * value

    def text(self, step: int, steps: int) -> str:
        """One line, the accuracies of the scales (coarse to fine) in per cent together."""
        means = dict(self.means or {})
        by_scale = [f"{100 * means.pop(name):.0f}" for name in list(means) if name.startswith("accuracy_")]
        speed = means.pop("items_per_second", None)
        parts = [f"{name} {value:.4g}" for name, value in means.items()]
        if by_scale:
            parts.append(f"bits by scale {' '.join(by_scale)} %")
        if speed is not None:
            parts.append(f"{speed:.3g} items/s")
        if self.first is not None and step > self.first[0]:
            seconds = (time.monotonic() - self.first[1]) / (step - self.first[0]) * (steps - step)
            parts.append(f"{_duration(seconds)} left")
        return "  ".join(parts)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"

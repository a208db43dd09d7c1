"""A progress line for training: step, metrics, time left; one line every 100 steps where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from varedit.training.loop import Metrics, OnStep

LINE_EVERY = 100  # steps


@contextmanager
def shown_progress(threads: int | None) -> Iterator[OnStep]:
    """Yield a callback that shows each step; sets the number of compute threads first if one is given."""
    if threads is not None:
        torch.set_num_threads(threads)
    console = Console(stderr=True)
    columns = (MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("starting")

        def on_step(step: int, steps: int, metrics: Metrics) -> None:
            text = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            progress.update(bar, completed=step, total=steps, description=text)
            if not console.is_terminal and step % LINE_EVERY == 0:
                console.print(f"step {step}/{steps}  {text}", soft_wrap=True, highlight=False)

        yield on_step

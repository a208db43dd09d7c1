"""What the scripts that fit one part of a collage share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from rich.progress import Progress
from torch import Tensor, nn

from varedit.editor import Editor
from varedit.training.initialisation import take_from_file
from varedit.training.recipe import OptimizerSettings
from varedit.transformer.collage import Collage

Part = TypeVar("Part")


def editor_to_fit(folder: Path) -> tuple[Editor, Collage]:
    """An editor whose weights may change, all at rest, and its collage."""
    editor = Editor.load(folder, device=torch.device("cpu"), dtype=torch.float32)
    take_from_file(editor.transformer)
    copy_path = editor.transformer.copy_path
    assert copy_path is not None and copy_path.proposal is not None, "the model has no source_proposal"
    return editor, copy_path.proposal.collage


def in_chunks(make: Callable[[range], Part], count: int, size: int, progress: Progress, described: str) -> list[Part]:
    """What is made of the numbers below ``count``, so many at a time, in as many processes as there are processors."""
    chunks = [range(first, min(first + size, count)) for first in range(0, count, size)]
    with ProcessPoolExecutor() as processes:
        return list(progress.track(processes.map(make, chunks), total=len(chunks), description=described))


def fit(
    part: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: OptimizerSettings,
    next_loss: Callable[[], Tensor],
    report: Callable[[], str],
    progress: Progress,
) -> None:
    """Take all steps of a part, which rests again afterwards; a report every so often."""
    for step in progress.track(range(settings.steps), description="fitting"):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step)
        loss = next_loss()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(part.parameters(), settings.clip_norm)
        optimizer.step()
        if (step + 1) % settings.validate_every == 0:
            progress.console.print(f"step {step + 1}: {report()}")
    part.requires_grad_(False)


def fitting_parser(
    description: str | None, *, steps: int, batch_size: int, rate: float, seed: int
) -> argparse.ArgumentParser:
    """Arguments that every one of them takes, with its usual values."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="an editor with source_proposal")
    parser.add_argument("--material", type=Path, default=Path("material"))
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--learning-rate", type=float, default=rate)
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser

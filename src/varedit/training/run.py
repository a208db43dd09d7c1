"""A training run is a folder: recipe, log, metrics, sample pictures, and checkpoints that resume.

Everything random in a run is drawn from (seed, step), so that a resumed run needs no random state to continue exactly.
"""

from __future__ import annotations

import io
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from varedit.errors import OutputError
from varedit.training.curves import Curves
from varedit.training.recipe import OptimizerSettings
from varedit.training.recipe_changes import check_changes, check_extension

LOG = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
RECIPE = "recipe.toml"


class RunFolder:
    """Owner of one run's files; every file appears whole or grows line by line.

    Many processes may hold one run; only the main one writes.

    Raises:
        UsageError: the folder holds a run whose recipe differs in more than the steps to come.
        OutputError: the folder cannot be made.
    """

    def __init__(self, path: Path, recipe_text: str) -> None:
        self.path = path
        self.recipe_text = recipe_text
        with self.written():
            path.mkdir(parents=True, exist_ok=True)
        recipe = path / RECIPE
        self.earlier = recipe.read_text(encoding="utf-8") if recipe.exists() else None
        if self.earlier is not None:
            check_changes(path, self.earlier, recipe_text)
        self._curves: Curves | None = None

    def begin(self, settings: OptimizerSettings, step: int) -> None:
        """Go on from a step, 0 in a fresh run: keep the recipe, drop what was logged of steps that are done again.

        Raises: UsageError where the recipe's schedule cannot follow on the steps done so far.
        """
        if self.earlier is not None and self.earlier != self.recipe_text:
            check_extension(self.path, self.earlier, settings, step)
        with self.written():
            if self.earlier is not None and self.earlier != self.recipe_text:
                number = 1 + len(list(self.path.glob("recipe-*.toml")))
                write_atomically(self.path / f"recipe-{number:03d}.toml", self.earlier.encode())
            write_atomically(self.path / RECIPE, self.recipe_text.encode())
            self._forget_metrics_after(step)
        self._curves = Curves.opened(self.path / "tensorboard", step)
        self.note(f"begins at step {step} of {settings.steps}")

    def end(self) -> None:
        """Close what is open."""
        if self._curves is not None:
            with self.written():
                self._curves.close()

    def note(self, text: str) -> None:
        """Append a line with the time to log.txt."""
        LOG.info("%s: %s", self.path, text)
        with self.written(), (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Append one line of metrics to metrics.jsonl; those with a step become curves of TensorBoard, too."""
        with self.written(), (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 1), **metrics}) + "\n")
        if self._curves is not None:
            with self.written():
                self._curves.add(metrics)

    def save_picture(self, name: str, picture: Image.Image) -> None:
        """Write samples/NAME.png."""
        encoded = io.BytesIO()
        picture.save(encoded, format="PNG")
        with self.written():
            (self.path / "samples").mkdir(exist_ok=True)
            write_atomically(self.path / "samples" / f"{name}.png", encoded.getvalue())

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint; the old one stays whole until the new one is.

        Raises: OutputError where it cannot be written.
        """
        temporary = self.path / (CHECKPOINT + ".tmp")
        try:
            with self.written(RuntimeError):  # what torch raises where the file fails it
                with temporary.open("wb") as file:
                    torch.save(dict(state), file)
                flush(temporary)
                temporary.replace(self.path / CHECKPOINT)
        except OutputError:
            temporary.unlink(missing_ok=True)
            raise

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, or None in a fresh run."""
        path = self.path / CHECKPOINT
        if not path.exists():
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state

    def _forget_metrics_after(self, step: int) -> None:
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        if len(kept) < len(lines):
            write_atomically(path, "".join(kept).encode())

    @contextmanager
    def written(self, also: type[BaseException] = OSError) -> Iterator[None]:
        """Turn what a full disk makes Python, or a library, raise into a sentence."""
        try:
            yield
        except (OSError, also) as error:
            raise OutputError(
                f"the run in {self.path} cannot be written ({_cause(error)}); its last checkpoint is still good. "
                "Make room, then give the same command again."
            ) from error


def _cause(error: BaseException) -> str:
    """What the system said, which may lie below what a library made of it."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__context__
    return next(iter(str(error).splitlines()), type(error).__name__)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step: independent of all other steps, the same after a resume."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def picture_grid(columns: list[Tensor], scale: int = 2) -> Image.Image:
    """Columns of (B, 3, h, w) pixels in [-1, 1], one row an item, enlarged without smoothing."""
    rows = torch.cat([column.float().cpu() for column in columns], dim=3)
    grid = torch.cat(list(rows), dim=1)
    array = ((grid.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(array)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target, then rename."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    flush(temporary)
    temporary.replace(path)


def flush(path: Path) -> None:
    """Bring a file's content to the disk, so that its name never stands for a part of it, even after a power cut."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())

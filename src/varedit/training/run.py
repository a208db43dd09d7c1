"""A training run is a folder: recipe, metrics, sample pictures, and checkpoints that resume.

Everything random in a run is drawn from (seed, step), so that a resumed run needs no random state to continue exactly.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from varedit.errors import OutputError, UsageError

CHECKPOINT = "checkpoint.pt"


class RunFolder:
    """Owner of one run's files; every write goes to a temporary name first.

    Raises:
        UsageError: the folder holds a run of another recipe.
    """

    def __init__(self, path: Path, recipe_text: str) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        recipe = path / "recipe.toml"
        if recipe.exists() and recipe.read_text(encoding="utf-8") != recipe_text:
            raise UsageError(f"{path} holds a run of another recipe. Give another folder, or delete this one.")
        write_atomically(recipe, recipe_text.encode())

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Append one line of metrics to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 1), **metrics}) + "\n")

    def save_picture(self, name: str, picture: Image.Image) -> None:
        """Write samples/NAME.png."""
        folder = self.path / "samples"
        folder.mkdir(exist_ok=True)
        encoded = io.BytesIO()
        picture.save(encoded, format="PNG")
        write_atomically(folder / f"{name}.png", encoded.getvalue())

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint; the old one stays whole until the new one is."""
        temporary = self.path / (CHECKPOINT + ".tmp")
        try:
            torch.save(dict(state), temporary)
            temporary.replace(self.path / CHECKPOINT)
        except (OSError, RuntimeError) as error:
            temporary.unlink(missing_ok=True)
            raise OutputError(
                f"the checkpoint in {self.path} cannot be written; the last one is still good: {error}"
            ) from error

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, or None in a fresh run."""
        path = self.path / CHECKPOINT
        if not path.exists():
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state


class ExponentialAverage:
    """Running averages of a module's weights, with the usual warm-up: decay min(d, (1 + t) / (10 + t))."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.updates = state["updates"]
        self.weights = state["weights"]


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
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)

"""A toy training as a process of its own, to be killed: python -m tests.training_job FOLDER.

FOLDER holds recipe.toml and autoencoder; each step's loss is printed. VAREDIT_TEST_HOLD names a moment at which the
process says "held" and waits for its end: "step" (after step 5) or "save" (in the midst of the second checkpoint).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from tests.training_toys import DATA
from varedit.errors import VAREditError
from varedit.training.editor import train_editor
from varedit.training.recipe import Recipe

HELD_STEP = 5
_save = torch.save
_saves: list[int] = []


def hold() -> None:
    sys.stdout.write("held\n")
    sys.stdout.flush()
    signal.pause()


def save_half(state, file):
    _saves.append(state["step"])
    if len(_saves) == 2:
        file.write(b"half of a checkpoint")
        file.flush()
        hold()
    _save(state, file)


def main(folder: Path) -> None:
    if os.environ.get("VAREDIT_TEST_HOLD") == "save":
        torch.save = save_half  # type: ignore[assignment]  # it only needs what the run gives it

    def on_step(step, steps, metrics):
        sys.stdout.write(f"{step} {metrics['loss']!r}\n")
        sys.stdout.flush()
        if step == HELD_STEP and os.environ.get("VAREDIT_TEST_HOLD") == "step":
            hold()

    try:
        train_editor(Recipe.read(folder / "recipe.toml"), folder / "autoencoder", DATA, folder / "run", on_step)
    except VAREditError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

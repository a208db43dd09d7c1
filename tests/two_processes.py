"""What two processes do together, as a launcher starts them: the toy training, whole and with sharded weights.

torchrun --nproc-per-node=2 -m tests.two_processes FOLDER, where FOLDER holds recipe.toml and autoencoder; writes
FOLDER/losses.json.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from tests.training_toys import DATA
from varedit.errors import Stopped
from varedit.training.editor import train_editor
from varedit.training.processes import Processes
from varedit.training.recipe import Recipe

STOPPED_AFTER = 4  # steps, of the sharded run


def main(folder: Path) -> None:
    """Train twice: gradients averaged; then sharded, stopped by a signal to one process, and resumed."""
    recipe = Recipe.read(folder / "recipe.toml")
    losses: dict[str, dict[int, float]] = {}

    def train(name: str, run: str, *, stop: bool = False) -> None:
        losses[name] = {}

        def on_step(step, steps, metrics):
            losses[name][step] = metrics["loss"]
            if stop and step == STOPPED_AFTER:
                os.kill(os.getpid(), signal.SIGTERM)

        train_editor(recipe, folder / "autoencoder", DATA, folder / run, on_step)

    train("averaged", "averaged")
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    try:
        train("before", "sharded", stop=True)
    except Stopped as stopped:
        words = str(stopped)
    train("after", "sharded")
    processes = Processes.joined()
    if processes.is_main:
        told = {"count": processes.count, "words": words, **losses}
        (folder / "losses.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

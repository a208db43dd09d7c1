"""Two processes train what one trains: the same losses, the same weights, sharded or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.testing import assert_close

from tests.training_toys import DATA, read_recipe, toy_autoencoder
from tests.two_processes import STOPPED_AFTER
from varedit.checkpoints import load_config, load_weights
from varedit.config import TransformerConfig
from varedit.errors import UsageError
from varedit.training.editor import train_editor
from varedit.transformer.model import VAREditTransformer

LONGER = (
    ("[training.editor]\nsteps = 6\nbatch_size = 2", "[training.editor]\nsteps = 8\nbatch_size = 4"),
    ("text_dropout = 0.3\n", 'text_dropout = 0.3\nprecision = "float32"\n'),
    ("flip_strength = 0.3\n", "flip_strength = 0.3\ngradient_checkpointing = true\n"),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, dict[int, float]]:
    """A folder in which both one process and two have trained; the losses of one."""
    folder = tmp_path_factory.mktemp("processes")
    recipe = read_recipe(folder, *LONGER)
    autoencoder = toy_autoencoder(recipe, folder)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    root = Path(__file__).resolve().parents[1]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")]),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [*launch, "-m", "tests.two_processes", str(folder)],
        cwd=root, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    losses: dict[int, float] = {}
    train_editor(recipe, autoencoder, DATA, folder / "one", lambda step, _, m: losses.update({step: m["loss"]}))
    return folder, losses


def of_two(folder: Path) -> dict[str, dict[int, float]]:
    told = json.loads((folder / "losses.json").read_text())
    assert told.pop("count") == 2
    assert f"stopped at step {STOPPED_AFTER + 1} of 8" in told.pop("words")
    return {name: {int(step): loss for step, loss in losses.items()} for name, losses in told.items()}


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(trained):
    folder, losses = trained
    assert of_two(folder)["averaged"] == pytest.approx(losses, rel=1e-5)


@pytest.mark.slow
def test_sharded_weights_have_the_losses_of_one_process_through_a_stop_and_a_resume(trained):
    folder, losses = trained
    told = of_two(folder)
    assert list(told["after"]) == [6, 7, 8]
    assert told["before"] | told["after"] == pytest.approx(losses, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["averaged", "sharded"])
def test_two_processes_export_the_weights_of_one(trained, name):
    folder, _ = trained
    models = []
    for run in ("one", name):
        model = VAREditTransformer(read_config(folder / run / "model"))
        load_weights(model, folder / run / "model" / "transformer")
        models.append(model.state_dict())
    assert_close(models[1], models[0], rtol=1e-4, atol=1e-5)
    started = VAREditTransformer(read_config(folder / "one" / "model")).state_dict()
    assert any(not started[key].equal(value) for key, value in models[1].items())


@pytest.mark.slow
def test_a_sharded_run_does_not_go_on_in_one_process(trained):
    folder, _ = trained
    recipe = read_recipe(folder, *LONGER)
    with pytest.raises(UsageError, match="was begun with --use_fsdp and cannot go on without it"):
        train_editor(recipe, folder / "autoencoder", DATA, folder / "sharded")


def read_config(model: Path) -> TransformerConfig:
    return load_config(model).transformer

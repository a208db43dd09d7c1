"""Both trainings on a toy recipe: they learn, resume exactly, and end with a sentence where they must end."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training_toys import DATA, RECIPE, Negatives, read_recipe, toy_autoencoder
from varedit.config import GenerationConfig
from varedit.errors import ConfigError, InputMissing, VAREditError
from varedit.pipeline import VAREditPipeline
from varedit.training.autoencoder import train_autoencoder
from varedit.training.batches import DataPosition
from varedit.training.editor import EditorTask, train_editor
from varedit.training.export import export_editor, trained_editor
from varedit.training.recipe import OptimizerSettings, Recipe
from varedit.training.run import RunFolder


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    return read_recipe(tmp_path)


@pytest.fixture
def autoencoder(recipe: Recipe, tmp_path: Path) -> Path:
    return toy_autoencoder(recipe, tmp_path)


class Stop(Exception):
    """What a kill looks like from inside."""


def losses_of(train, folder: Path, *, stop_after: int | None = None) -> dict[int, float]:
    losses = {}

    def on_step(step, steps, metrics):
        losses[step] = metrics["loss"]
        if step == stop_after:
            raise Stop

    if stop_after is None:
        train(folder, on_step)
    else:
        with pytest.raises(Stop):
            train(folder, on_step)
    return losses


@pytest.mark.parametrize("kind", ["autoencoder", "editor"])
def test_a_run_that_was_killed_goes_on_exactly(recipe, autoencoder, tmp_path, kind):
    def train(folder, on_step):
        if kind == "autoencoder":
            return train_autoencoder(recipe, Negatives(), Negatives(), folder, on_step)
        return train_editor(recipe, autoencoder, DATA, folder, on_step)

    whole = losses_of(train, tmp_path / "whole")
    before = losses_of(train, tmp_path / "killed", stop_after=5)  # two steps after the checkpoint of step 3
    after = losses_of(train, tmp_path / "killed")
    assert list(after) == [4, 5, 6]
    assert before | after == whole
    states = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "killed")]
    for name, weight in states[0]["average"]["weights"].items():
        assert torch.equal(weight, states[1]["average"]["weights"][name]), name


def test_the_editor_learns_and_its_folder_edits(recipe, autoencoder, tmp_path):
    settings = dataclasses.replace(
        recipe.editor_training, steps=60, checkpoint_every=60, validate_every=60, text_dropout=0.0, batch_size=8
    )
    longer = dataclasses.replace(recipe, editor_training=settings)
    losses = []
    train_editor(longer, autoencoder, DATA, tmp_path / "run", lambda step, _, m: losses.append(m["loss"]))
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"validation_accuracy_1", "validation_changed", "validation_nearer_to_target"} <= set(logged[-1])
    assert (tmp_path / "run" / "samples" / "step-000060.png").is_file()
    generation = GenerationConfig(guidance_scale=1.25, temperature=0.5)
    export_editor(trained_editor(tmp_path / "run" / "model"), generation, tmp_path / "mini")
    large, small = (
        (folder / "transformer" / "model.safetensors").stat().st_size
        for folder in (tmp_path / "run" / "model", tmp_path / "mini")
    )
    assert small < 0.6 * large
    picture = np.full((40, 44, 3), 90, np.uint8)
    pipeline = VAREditPipeline.from_pretrained(tmp_path / "mini")
    assert pipeline.config.generation == generation
    output = pipeline(picture, "invert the colours", seed=1)
    assert output.images[0].size == (44, 40)


def test_training_starts_as_a_copy_of_the_source(recipe, autoencoder, tmp_path):
    task = EditorTask(recipe, autoencoder, DATA, RunFolder(tmp_path / "run", recipe.text))
    _, metrics = task.loss(next(task.batches(DataPosition())), 0)
    assert metrics["accuracy"] == pytest.approx(metrics["copy"], abs=0.05)


def test_a_loss_that_is_no_number_ends_with_a_sentence(recipe, autoencoder, tmp_path, monkeypatch):
    monkeypatch.setattr("varedit.training.editor.editor_loss", lambda losses, weights: losses.sum() * float("nan"))
    with pytest.raises(VAREditError, match="the loss became nan at step 0"):
        train_editor(recipe, autoencoder, DATA, tmp_path / "run")


def test_the_rate_warms_up_stays_and_falls_to_the_end():
    settings = OptimizerSettings(steps=100, batch_size=1, learning_rate=1.0, warmup_steps=10, decay_fraction=0.4)
    assert [settings.rate(step) for step in (0, 4, 9, 30, 60)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0])
    assert [settings.rate(step) for step in (80, 99)] == pytest.approx([0.5, 1 / 40])


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (("seed = 3", "seeed = 3"), ConfigError, "'seed'"),
        (("latent_channels = 6", "latent_channels = 7"), ConfigError, "token_bits is 6, but the autoencoder"),
        (('"wide" = 1', '"wild" = 1'), ConfigError, "wild"),
        (("steps = 6\n", "steps = 0\n"), ConfigError, "steps must be a positive whole number"),
        (("name =", "name"), ConfigError, "not a valid TOML file"),
        (("depth = 2", "depth = 2\ncolour = 1"), ConfigError, "colour"),
    ],
)
def test_a_bad_recipe_is_one_sentence(tmp_path, change, kind, words):
    (tmp_path / "recipe.toml").write_text(RECIPE.replace(*change))
    with pytest.raises(kind, match=words):
        Recipe.read(tmp_path / "recipe.toml")


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(InputMissing, match=r"no recipe at .*nothing\.toml"):
        Recipe.read(tmp_path / "nothing.toml")

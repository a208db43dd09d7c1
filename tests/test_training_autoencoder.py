"""The terms of the autoencoder's loss: each moves what it should, a recipe without them has none, and runs resume."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from tests.tiny import random
from tests.toys import CONFIG, picture
from varedit.autoencoder import Autoencoder
from varedit.checkpoints import load_weights
from varedit.config import ScheduleConfig
from varedit.data.pairs import PairBatch
from varedit.editor import latent_quantizer
from varedit.errors import ConfigError, InputMissing
from varedit.perceptual import PerceptualDistance
from varedit.quantizer import MultiScaleQuantizer
from varedit.training.autoencoder import AutoencoderTask, train_autoencoder
from varedit.training.batches import StepBatch, pair_batch
from varedit.training.entropy import bsq_entropy, entropy_penalty
from varedit.training.loop import Trained
from varedit.training.recipe import AutoencoderTraining, DataSettings, EditorTraining, Recipe
from varedit.training.run import RunFolder

TEMPLATES = {
    "square": [[1, 1], [2, 2], [4, 4], [6, 6]],  # 24 x 24 pixels
    "wide": [[1, 1], [2, 3], [4, 5], [6, 9]],
}


class Pictures:
    """Sources that are no two alike, and a darker target for each."""

    def batch(self, indices: Sequence[int], size_hw: tuple[int, int]) -> PairBatch:
        height, width = size_hw
        sources = np.stack([np.asarray(picture(width, height, seed=index)) for index in indices])
        return PairBatch(sources, ["darker"] * len(indices), sources // 2)


def recipe_with(templates: dict[str, Any] = TEMPLATES, **terms: Any) -> Recipe:
    common: dict[str, Any] = {"steps": 6, "batch_size": 2, "learning_rate": 2e-3, "warmup_steps": 2}
    settings = common | {"checkpoint_every": 3, "validate_every": 3, "discriminator_channels": 4} | terms
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    return Recipe(
        editor=dataclasses.replace(CONFIG, schedule=ScheduleConfig(templates=templates)),
        text_encoder={},
        seed=3,
        template_weights=dict.fromkeys(templates, 1.0),
        data=(DataSettings(),),
        validation=DataSettings(),
        autoencoder_training=AutoencoderTraining(**settings),
        editor_training=EditorTraining(**common),
        change_detector_training=None,
        text="\n".join(["[training.autoencoder]", *lines]),  # what a run compares with the recipe it began with
    )


def task_of(folder: Path, **terms: Any) -> AutoencoderTask:
    return AutoencoderTask(recipe_with(**terms), Pictures(), Pictures(), RunFolder(folder, ""))


def first_batch(task: AutoencoderTask) -> StepBatch:
    return pair_batch(task.recipe, Pictures(), task.recipe.editor.templates.square, range(2))


@pytest.fixture(autouse=True)
def _few_validation_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("varedit.training.autoencoder.VALIDATION_PAIRS", 3)


def plain_loss(task: AutoencoderTask, batch: StepBatch) -> Tensor:
    """L1 + squared error + 0.1 commitment, written out."""
    pixels = torch.cat((batch.sources, batch.targets))
    features = task.autoencoder.encode(pixels)
    code = latent_quantizer(task.recipe.editor, batch.template).encode(features.detach()).running[-1]
    decoded = task.autoencoder.decoder(features + (code - features).detach())
    commitment = (features - code).square().sum(dim=1).mean()
    error: Tensor = decoded - pixels
    return error.abs().mean() + error.square().mean() + 0.1 * commitment


def test_without_further_terms_the_loss_is_l1_squared_error_and_commitment(tmp_path):
    task = task_of(tmp_path / "run", precision="float32")
    loss, metrics = task.loss(first_batch(task), 0)
    assert_close(loss, plain_loss(task, first_batch(task)))
    assert set(metrics) == {"psnr", "commitment"}
    assert task.module is task.autoencoder


def test_each_weight_multiplies_its_own_term(tmp_path):
    weights = {"l1_weight": 0.0, "squared_weight": 0.0, "commitment_weight": 0.0}
    parts = []
    for name, weight in {"l1_weight": 2.0, "squared_weight": 3.0, "commitment_weight": 0.5}.items():
        task = task_of(tmp_path / name, precision="float32", **(weights | {name: weight}))
        parts.append(task.loss(first_batch(task), 0)[0] / weight * (0.1 if name == "commitment_weight" else 1.0))
    assert_close(torch.stack(parts).sum(), plain_loss(task, first_batch(task)))


def test_the_entropy_penalty_is_the_mean_over_scales_of_the_directions_entropies():
    residuals = [random(3, 4, 1, 1, seed=1), 5 * random(3, 4, 2, 3, seed=2)]
    each = []
    for residual in residuals:
        directions = [v / v.norm() for item in residual for v in item.flatten(1).T]
        entropies = bsq_entropy(torch.stack(directions), 10.0)
        each.append(0.3 * entropies.per_sample_entropy - 0.2 * entropies.codebook_entropy)
    found = entropy_penalty(residuals, sample_weight=0.3, codebook_weight=0.2, inverse_temperature=10.0)
    assert_close(found, (each[0] + each[1]) / 20)


def test_the_entropies_are_of_what_each_scale_is_given(tmp_path, monkeypatch):
    given: list[Tensor] = []

    def sum_of_the_first(residuals: list[Tensor], **weights: float) -> Tensor:
        given.extend(residuals)
        return residuals[0].sum()

    monkeypatch.setattr("varedit.training.autoencoder.entropy_penalty", sum_of_the_first)
    task = task_of(tmp_path / "run", precision="float32", sample_entropy_weight=0.1)
    batch = first_batch(task)
    _, metrics = task.loss(batch, 0)
    features = task.autoencoder.encode(torch.cat((batch.sources, batch.targets)))
    coded = latent_quantizer(task.recipe.editor, batch.template).encode(features)
    for residual, bits in zip(given, coded.bits, strict=True):
        assert torch.equal(residual > 0, bits)
    assert metrics["entropy"] == pytest.approx(given[0].sum().item())


def test_the_entropy_penalty_spreads_bits_that_were_all_alike():
    """Features that give the same code everywhere take on several after some descent."""
    features = (1 + 0.01 * random(4, 3, 4, 4, seed=0)).requires_grad_()
    quantizer = MultiScaleQuantizer(latent_quantizer(CONFIG, CONFIG.templates.square).grids, 3)
    optimizer = torch.optim.Adam([features], lr=0.1)
    assert (features > 0).all()
    for _ in range(30):
        optimizer.zero_grad()
        residuals = [quantizer.residual(features, torch.zeros_like(features), 1)]
        penalty = entropy_penalty(residuals, sample_weight=0.1, codebook_weight=1.0, inverse_temperature=2.0)
        penalty.backward()
        optimizer.step()
    assert 0.3 < (residuals[0] > 0).float().mean().item() < 0.7


def perceptual_files(folder: Path) -> dict[str, str]:
    """Random weights of the public sizes and names."""
    torch.manual_seed(0)
    state = PerceptualDistance().state_dict()
    heads = {f"lin{i}.model.1.weight": state.pop(f"heads.{i}.weight").abs() for i in range(5)}
    torch.save(state, folder / "vgg16.pth")
    torch.save(heads, folder / "vgg.pth")
    return {"perceptual_backbone": str(folder / "vgg16.pth"), "perceptual_heads": str(folder / "vgg.pth")}


def test_the_perceptual_term_moves_the_decoder_and_is_no_part_of_what_is_trained(tmp_path):
    alone = {"l1_weight": 0.0, "squared_weight": 0.0, "commitment_weight": 0.0, "perceptual_weight": 2.0}
    task = task_of(tmp_path / "run", precision="float32", **alone, **perceptual_files(tmp_path))
    loss, metrics = task.loss(first_batch(task), 0)
    loss.backward()
    assert loss.item() == pytest.approx(2 * metrics["perceptual"])
    gradient = task.autoencoder.decoder.conv_out.weight.grad
    assert gradient is not None and gradient.abs().max() > 0
    assert set(task.module.state_dict()) == set(Autoencoder(task.recipe.editor.autoencoder).state_dict())


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"perceptual_weight": 0.5}, "perceptual_weight is 0.5, so perceptual_backbone must name a file of weights"),
        (
            {"perceptual_weight": 0.5, "perceptual_backbone": "a", "perceptual_heads": 3},
            "perceptual_heads must .* 3$",
        ),
        ({"entropy_inverse_temperature": 0.0}, "entropy_inverse_temperature must be above 0"),
    ],
)
def test_a_term_without_what_it_needs_is_refused_with_the_recipe(terms, words):
    with pytest.raises(ConfigError, match=words):
        recipe_with(**terms)


def test_a_perceptual_loss_without_its_file_ends_before_the_first_step(tmp_path):
    with pytest.raises(InputMissing, match=r"no file nothing\.pth"):
        task_of(tmp_path, perceptual_weight=0.5, perceptual_backbone="nothing.pth", perceptual_heads="nothing.pth")


def test_a_discriminator_is_refused_where_pictures_are_too_small_for_it(tmp_path):
    recipe = recipe_with({"square": [[1, 1], [5, 5]]}, adversarial_weight=0.1)
    with pytest.raises(ConfigError, match="sides of at least 24 pixels, and the recipe has some of 20"):
        AutoencoderTask(recipe, Pictures(), Pictures(), RunFolder(tmp_path, ""))


def gradients(task: AutoencoderTask, step: int) -> dict[str, Tensor | None]:
    task.module.zero_grad()
    task.loss(first_batch(task), step)[0].backward()
    return {name: None if value.grad is None else value.grad.clone() for name, value in task.module.named_parameters()}


def test_neither_adversarial_term_moves_the_others_weights(tmp_path):
    """With nothing else in the loss, the autoencoder's gradient is the generator's, the discriminator's is its own."""
    alone = {"l1_weight": 0.0, "squared_weight": 0.0, "commitment_weight": 0.0, "adversarial_weight": 1.0}
    task = task_of(tmp_path / "run", precision="float32", **alone)
    found = gradients(task, 0)
    halved = task_of(tmp_path / "halved", precision="float32", **(alone | {"adversarial_weight": 0.5}))
    for name, gradient in gradients(halved, 0).items():
        before = found[name]
        assert gradient is not None and before is not None
        share = 0.5 if name.startswith("autoencoder.") else 1.0
        assert_close(gradient, share * before, rtol=1e-4, atol=1e-7)
    assert any(g is not None and g.abs().max() > 0 for n, g in found.items() if n.startswith("autoencoder.decoder"))


def test_the_adversarial_terms_start_at_their_step(tmp_path):
    task = task_of(tmp_path / "run", adversarial_weight=0.3, adversarial_start=5)
    plain = task_of(tmp_path / "plain")
    for step in (3, 4):
        found, expected = gradients(task, step), gradients(plain, step)
        same = [torch.equal(found[f"autoencoder.{name}"], value) for name, value in expected.items()]  # type: ignore[arg-type]
        assert all(same) if step == 3 else not all(same)
        resting = [value is None for name, value in found.items() if name.startswith("discriminator.")]
        assert all(resting) if step == 3 else not any(resting)


def test_a_balanced_adversarial_term_pulls_as_its_weight_says(tmp_path):
    """At the decoder's last weight, the generator's pull is the weight times that of the reconstruction."""
    settings = {"precision": "float32", "commitment_weight": 0.0, "adversarial_balance": True}
    name = "decoder.conv_out.weight"
    plain = gradients(task_of(tmp_path / "plain", precision="float32", commitment_weight=0.0), 0)[name]
    both = gradients(task_of(tmp_path / "run", adversarial_weight=0.7, **settings), 0)[f"autoencoder.{name}"]
    assert plain is not None and both is not None
    assert ((both - plain).norm() / plain.norm()).item() == pytest.approx(0.7, rel=0.02)  # VQGAN adds 1e-4 below


class Stop(Exception):
    """What a kill looks like from inside."""


def losses_of(recipe: Recipe, folder: Path, stop_after: int | None = None) -> tuple[dict[int, float], Trained | None]:
    losses: dict[int, float] = {}

    def on_step(step: int, steps: int, metrics: dict[str, float]) -> None:
        losses[step] = metrics["loss"]
        if step == stop_after:
            raise Stop

    try:
        return losses, train_autoencoder(recipe, Pictures(), Pictures(), folder, on_step)
    except Stop:
        return losses, None


@pytest.mark.parametrize("start", [2, 4], ids=["discriminator at the checkpoint", "discriminator after it"])
def test_an_adversarial_run_that_was_killed_goes_on_exactly(tmp_path, start):
    recipe = recipe_with(
        adversarial_weight=0.2, adversarial_start=start, adversarial_balance=True, codebook_entropy_weight=0.1
    )
    whole, trained = losses_of(recipe, tmp_path / "whole")
    before, _ = losses_of(recipe, tmp_path / "killed", stop_after=5)  # two steps after the checkpoint of step 3
    after, resumed = losses_of(recipe, tmp_path / "killed")
    assert list(after) == [4, 5, 6]
    assert before | after == whole
    assert trained is not None and resumed is not None
    for name, weight in trained.weights.items():
        assert torch.equal(weight, resumed.weights[name]), name


def test_an_adversarial_run_leaves_the_autoencoders_weights_alone(tmp_path):
    recipe = recipe_with(adversarial_weight=0.2)
    _, trained = losses_of(recipe, tmp_path / "run")
    assert trained is not None
    autoencoder = Autoencoder(recipe.editor.autoencoder)
    load_weights(autoencoder, tmp_path / "run" / "autoencoder")
    assert_close(dict(autoencoder.state_dict()), trained.weights, rtol=0, atol=0)
    assert not [name for name in load_file(tmp_path / "run" / "autoencoder" / "model.safetensors") if "discr" in name]


def test_a_validation_reports_scores_and_bits_of_every_scale_and_saves_a_picture(tmp_path):
    task = task_of(tmp_path / "run")
    metrics = task.validate(task.module.state_dict(), 3)
    pixels = torch.cat((task.held_out.sources, task.held_out.targets))
    quantizer = latent_quantizer(task.recipe.editor, task.held_out.template)
    with torch.no_grad():
        coded = quantizer.encode(task.autoencoder.encode(pixels))
        squared = F.mse_loss(task.autoencoder.decode(coded.running[-1]), pixels)
    assert metrics["validation_psnr"] == pytest.approx(10 * np.log10(4 / squared.item()), abs=1e-3)
    assert -1 <= metrics["validation_ssim"] <= 1
    for number, bits in enumerate(coded.bits, start=1):
        assert metrics[f"ones_{number}"] == pytest.approx(bits.float().mean().item(), abs=1e-4)
        assert {f"entropy_{number}", f"constant_channels_{number}"} <= set(metrics)
    assert (tmp_path / "run" / "samples" / "step-000003.png").is_file()
    assert json.loads(json.dumps(metrics)) == metrics

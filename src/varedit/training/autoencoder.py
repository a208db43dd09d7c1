"""Training the autoencoder through the whole quantiser, with one straight-through estimate.

The loss is L1 + squared error + commitment, and what the recipe adds: entropies of the bits, a perceptual distance, a
discriminator. A strong commitment term keeps the features within the quantiser's reach; without it they outgrow it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.autoencoder import Autoencoder
from varedit.checkpoints import save_weights
from varedit.editor import latent_quantizer
from varedit.errors import ConfigError
from varedit.perceptual import PerceptualDistance, load_perceptual
from varedit.quantizer import MultiScaleBits, MultiScaleQuantizer
from varedit.training.batches import Batches, DataPosition, PairSource, StepBatch, pair_batch, training_batches
from varedit.training.discriminator import (
    SMALLEST_SIDE,
    PatchDiscriminator,
    balance,
    discriminator_term,
    generator_term,
)
from varedit.training.entropy import entropy_penalty
from varedit.training.linear_code import start_as_linear_code
from varedit.training.loop import Metrics, OnStep, Trained, train
from varedit.training.processes import Processes
from varedit.training.recipe import Recipe
from varedit.training.reconstruction import psnr, reconstruct_all
from varedit.training.run import RunFolder, picture_grid

VALIDATION_PAIRS = 128
LINEAR_PAIRS = 512  # that the linear code is fitted to, see `linear_code`
SAMPLES = 12  # pictures in the sample grid of a validation


def train_autoencoder(
    recipe: Recipe, train_pairs: PairSource, validation_pairs: PairSource, folder: Path, on_step: OnStep | None = None
) -> Trained:
    """Train an autoencoder, or go on with the run in the folder; the averaged weights end in FOLDER/autoencoder.

    Args:
        recipe: model and settings.
        train_pairs, validation_pairs: their sources and targets are both reconstructed.
        folder: the run; made if missing.
        on_step: told (step, steps, metrics) after each step.

    Returns: the autoencoder's own weights, without those of a discriminator.
    """
    run = RunFolder(folder, recipe.text)
    task = AutoencoderTask(recipe, train_pairs, validation_pairs, run)
    trained = train(task, recipe.autoencoder_training, run, on_step)
    trained = dataclasses.replace(trained, weights=task.autoencoder_weights(trained.weights))
    if task.processes.is_main:
        save_weights(trained.weights, folder / "autoencoder")
    task.processes.wait()
    return trained


class AutoencoderTask:
    """Reconstruct the sources and the targets of editing pairs.

    The trained module is the autoencoder itself or, with an adversarial loss, both ``autoencoder`` and
    ``discriminator``.

    Raises:
        ConfigError: a discriminator cannot judge pictures as small as the recipe's.
        InputMissing, ModelError: the weights of the perceptual loss are missing or not the right ones.
    """

    def __init__(self, recipe: Recipe, train: PairSource, validation: PairSource, run: RunFolder) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.train_pairs, self.run = recipe, train, run
        self.settings = recipe.autoencoder_training
        self.processes = Processes.joined()
        self.autoencoder = Autoencoder(recipe.editor.autoencoder)
        self.averaged = Autoencoder(recipe.editor.autoencoder).eval()
        self.discriminator = _discriminator(recipe)
        self.perceptual = _perceptual(recipe, self.processes.device)
        self.module: nn.Module = self.autoencoder
        if self.discriminator is not None:
            self.module = nn.ModuleDict({"autoencoder": self.autoencoder, "discriminator": self.discriminator})
        if recipe.editor.autoencoder.linear_path:
            self._start_as_linear_code()
        self.held_out = pair_batch(recipe, validation, recipe.editor.templates.square, range(VALIDATION_PAIRS))

    def _start_as_linear_code(self) -> None:
        sample = pair_batch(self.recipe, self.train_pairs, self.recipe.editor.templates.square, range(LINEAR_PAIRS))
        pixels = torch.cat((sample.sources, sample.targets))
        generator = torch.Generator().manual_seed(self.recipe.seed)
        start_as_linear_code(self.autoencoder, pixels, latent_quantizer(self.recipe.editor, sample.template), generator)

    def batches(self, position: DataPosition) -> Batches:
        """See `loop.Task`."""
        return training_batches(self.recipe, self.train_pairs, self.settings, position)

    def loss(self, batch: StepBatch, step: int) -> tuple[Tensor, Metrics]:
        """All terms of one step, the discriminator's included."""
        pixels = torch.cat((batch.sources, batch.targets))
        quantizer = latent_quantizer(self.recipe.editor, batch.template)
        with self._autocast():
            features = self.autoencoder.encode(pixels).float()
        with torch.no_grad():
            coded = quantizer.encode(features)
        quantized = coded.running[-1]
        with self._autocast():
            decoded = self.autoencoder.decoder(features + (quantized - features).detach()).float()
        loss, numbers = self._reconstruction(decoded, pixels)
        if self.discriminator is not None and step + 1 >= self.settings.adversarial_start:
            adversarial, more = self._adversarial(self.discriminator, loss, decoded, pixels)
            loss, numbers = loss + adversarial, numbers | more
        commitment = F.mse_loss(features, quantized) * quantizer.channels
        loss = loss + self.settings.commitment_weight * commitment
        numbers["commitment"] = commitment.item()
        if self.settings.sample_entropy_weight or self.settings.codebook_entropy_weight:
            entropy = self._entropy(features, coded, quantizer)
            loss = loss + entropy
            numbers["entropy"] = entropy.item()
        return loss, numbers

    @torch.no_grad()
    def validate(self, weights: dict[str, Tensor], step: int) -> Metrics:
        """Scores of unseen pictures; per scale the share of ones (0.5 is best) and the entropy of a bit (1 is best).

        Saves some sources beside their reconstructions.
        """
        self.averaged.load_state_dict(self.autoencoder_weights(weights))
        self.averaged.to(self.processes.device)
        held_out = self.held_out.to(self.processes.device)
        quantizer = latent_quantizer(self.recipe.editor, held_out.template)
        pixels = torch.cat((held_out.sources, held_out.targets))
        decoded, scores = reconstruct_all(self.averaged, quantizer, pixels)
        self.averaged.cpu()
        self.run.save_picture(f"step-{step:06d}", picture_grid([pixels[:SAMPLES], decoded[:SAMPLES]]))
        report = scores.report()
        numbers = {"validation_psnr": psnr(F.mse_loss(decoded, pixels).item()), "validation_ssim": report["ssim"]}
        for number, usage in enumerate(report["scales"], start=1):
            numbers[f"ones_{number}"] = usage["ones"]
            numbers[f"entropy_{number}"] = usage["entropy"]
            numbers[f"constant_channels_{number}"] = usage["constant_channels"]
        return numbers

    def autoencoder_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The autoencoder's among the trained module's weights, by its own names."""
        if self.discriminator is None:
            return weights
        prefix = "autoencoder."
        return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}

    def _reconstruction(self, decoded: Tensor, pixels: Tensor) -> tuple[Tensor, Metrics]:
        squared = F.mse_loss(decoded, pixels)
        loss = self.settings.l1_weight * F.l1_loss(decoded, pixels) + self.settings.squared_weight * squared
        numbers = {"psnr": psnr(squared.item())}
        if self.perceptual is not None:
            with self._autocast():
                distance = self.perceptual(decoded, pixels).mean()
            loss = loss + self.settings.perceptual_weight * distance
            numbers["perceptual"] = distance.item()
        return loss, numbers

    def _adversarial(
        self, discriminator: PatchDiscriminator, reconstruction: Tensor, decoded: Tensor, pixels: Tensor
    ) -> tuple[Tensor, Metrics]:
        with self._autocast():
            fooling = generator_term(discriminator, decoded)
            judging = discriminator_term(discriminator, pixels, decoded)
        weighted = self.settings.adversarial_weight * fooling
        numbers = {"generator": fooling.item(), "discriminator": judging.item()}
        if self.settings.adversarial_balance:
            factor = balance(reconstruction, fooling, self.autoencoder.decoder.conv_out.weight)
            weighted = weighted * factor
            numbers["adversarial_balance"] = factor.item()
        return weighted + judging, numbers

    def _entropy(self, features: Tensor, coded: MultiScaleBits, quantizer: MultiScaleQuantizer) -> Tensor:
        before = (torch.zeros_like(features), *coded.running[:-1])
        return entropy_penalty(
            [quantizer.residual(features, running, scale) for scale, running in enumerate(before)],
            sample_weight=self.settings.sample_entropy_weight,
            codebook_weight=self.settings.codebook_entropy_weight,
            inverse_temperature=self.settings.entropy_inverse_temperature,
        )

    def _autocast(self) -> torch.autocast:
        is_bfloat16 = self.settings.precision == "bfloat16"
        return torch.autocast(self.processes.device.type, torch.bfloat16, enabled=is_bfloat16)


def _discriminator(recipe: Recipe) -> PatchDiscriminator | None:
    """The recipe's discriminator, if it has an adversarial loss."""
    settings, editor = recipe.autoencoder_training, recipe.editor
    if not settings.adversarial_weight:
        return None
    smallest = min(min(editor.picture_size(template.schedule)) for template in editor.templates.templates)
    if smallest < SMALLEST_SIDE:
        raise ConfigError(
            f"a discriminator needs pictures with sides of at least {SMALLEST_SIDE} pixels, and the recipe has some of "
            f"{smallest}; set adversarial_weight to 0"
        )
    return PatchDiscriminator(settings.discriminator_channels)


def _perceptual(recipe: Recipe, device: torch.device) -> PerceptualDistance | None:
    """The recipe's perceptual distance, if it has such a loss."""
    settings = recipe.autoencoder_training
    if not settings.perceptual_weight:
        return None
    assert settings.perceptual_backbone is not None and settings.perceptual_heads is not None, "checked by the recipe"
    return load_perceptual(settings.perceptual_backbone, settings.perceptual_heads).to(device)

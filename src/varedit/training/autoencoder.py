"""Training the autoencoder: L1 and squared error through the whole quantiser, with one straight-through estimate.

A strong commitment term keeps the features within the quantiser's reach; without it they outgrow it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from varedit.autoencoder import Autoencoder
from varedit.checkpoints import save_weights
from varedit.editor import latent_quantizer
from varedit.training.batches import PairSource, StepBatch, pair_batch, training_batches
from varedit.training.loop import Metrics, OnStep, Trained, train
from varedit.training.recipe import Recipe
from varedit.training.run import RunFolder, picture_grid

VALIDATION_PAIRS = 128


def train_autoencoder(
    recipe: Recipe, train_pairs: PairSource, validation_pairs: PairSource, folder: Path, on_step: OnStep | None = None
) -> Trained:
    """Train an autoencoder, or go on with the run in the folder; the averaged weights end in FOLDER/autoencoder.

    Args:
        recipe: model and settings.
        train_pairs, validation_pairs: their sources and targets are both reconstructed.
        folder: the run; made if missing.
        on_step: told (step, steps, metrics) after each step.
    """
    run = RunFolder(folder, recipe.text)
    trained = train(
        AutoencoderTask(recipe, train_pairs, validation_pairs, run), recipe.autoencoder_training, run, on_step
    )
    save_weights(trained.weights, folder / "autoencoder")
    return trained


class AutoencoderTask:
    """Reconstruct the sources and the targets of editing pairs."""

    def __init__(self, recipe: Recipe, train: PairSource, validation: PairSource, run: RunFolder) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.train_pairs, self.run = recipe, train, run
        self.settings = recipe.autoencoder_training
        self.module = Autoencoder(recipe.editor.autoencoder)
        self.averaged = Autoencoder(recipe.editor.autoencoder).eval()
        self.held_out = pair_batch(recipe, validation, recipe.editor.templates.square, range(VALIDATION_PAIRS))

    def batches(self, first_step: int) -> Iterator[StepBatch]:
        """See `loop.Task`."""
        return training_batches(self.recipe, self.train_pairs, self.settings, first_step)

    def loss(self, batch: StepBatch, step: int) -> tuple[Tensor, Metrics]:
        """L1 + squared error + commitment."""
        pixels = torch.cat((batch.sources, batch.targets))
        with torch.autocast("cpu", torch.bfloat16):
            features = self.module.encode(pixels).float()
        with torch.no_grad():
            quantized = latent_quantizer(self.recipe.editor, batch.template).encode(features).running[-1]
        with torch.autocast("cpu", torch.bfloat16):
            decoded = self.module.decoder(features + (quantized - features).detach()).float()
        commitment = F.mse_loss(features, quantized) * self.recipe.editor.autoencoder.latent_channels
        squared = F.mse_loss(decoded, pixels)
        loss = F.l1_loss(decoded, pixels) + squared + self.settings.commitment_weight * commitment
        return loss, {"psnr": psnr(squared), "commitment": commitment.item()}

    @torch.no_grad()
    def validate(self, weights: dict[str, Tensor], step: int) -> Metrics:
        """PSNR of unseen photographs, and the share of ones per scale (0.5 is best)."""
        self.averaged.load_state_dict(weights)
        pixels = torch.cat((self.held_out.sources, self.held_out.targets))
        quantizer = latent_quantizer(self.recipe.editor, self.held_out.template)
        coded = quantizer.encode(self.averaged.encode(pixels))
        decoded = self.averaged.decode(coded.running[-1])
        self.run.save_picture(f"step-{step:06d}", picture_grid([pixels[:12], decoded[:12]]))
        numbers = {"validation_psnr": psnr(F.mse_loss(decoded, pixels))}
        return numbers | {f"ones_{k + 1}": round(bits.float().mean().item(), 4) for k, bits in enumerate(coded.bits)}


def psnr(squared_error: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error over pixels in [-1, 1]."""
    return round(10 * math.log10(4 / max(squared_error.item(), 1e-12)), 3)

"""Training the editor: per-bit cross-entropy over all target scales on a frozen autoencoder.

Spec "Training". Text encoder and transformer learn together; validation looks at accuracy by scale, at the bits that a
copy of the source gets wrong, and at finished edits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from varedit.autoencoder import Autoencoder
from varedit.checkpoints import load_weights
from varedit.data.phrases import vocabulary
from varedit.editor import Editor, latent_quantizer
from varedit.generation import generate
from varedit.quantizer import MultiScaleQuantizer, latents_to_tokens
from varedit.sampling import BatchSampler, SamplingSettings
from varedit.text_features import TextFeatures
from varedit.training.batches import PairSource, StepBatch, pair_batch, training_batches
from varedit.training.initialisation import initialise
from varedit.training.loop import Metrics, OnStep, Trained, train
from varedit.training.objective import bit_loss, editor_loss, token_weights
from varedit.training.recipe import Recipe
from varedit.training.run import RunFolder, picture_grid, step_generator
from varedit.training.self_correction import draw_flips
from varedit.training.words import word_text_encoder
from varedit.transformer.model import VAREditTransformer
from varedit.transformer.reference import SequenceLayout, sequence_layout, source_tokens

VALIDATION_PAIRS = 96


def train_editor(
    recipe: Recipe,
    autoencoder: Path,
    train_pairs: PairSource,
    validation_pairs: PairSource,
    folder: Path,
    on_step: OnStep | None = None,
) -> Trained:
    """Train an editor, or go on with the run in the folder; ends with a model folder at FOLDER/model.

    Args:
        recipe: model and settings.
        autoencoder: folder of trained weights; they are frozen.
        train_pairs, validation_pairs: editing pairs.
        folder: the run; made if missing.
        on_step: told (step, steps, metrics) after each step.
    """
    run = RunFolder(folder, recipe.text)
    task = EditorTask(recipe, autoencoder, train_pairs, validation_pairs, run)
    trained = train(task, recipe.editor_training, run, on_step)
    task.editor_of(trained.weights).save(folder / "model")
    return trained


@dataclass(frozen=True)
class TeacherForced:
    """What one pass over all scales needs, made of source and target features.

    Attributes:
        source: (B, S, token bits).
        step_inputs: (B, L_2 + .. + L_K, token bits).
        residuals: (B, L, token bits), the source's features over the running sum.
        labels: (B, L, token bits) bool.
    """

    source: Tensor
    step_inputs: Tensor
    residuals: Tensor
    labels: Tensor


class EditorModule(nn.Module):
    """What is trained: transformer and text encoder."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        config = recipe.editor.transformer
        self.transformer = VAREditTransformer(config)
        self.text_encoder = word_text_encoder(vocabulary(), recipe.text_encoder, config.max_text_length)


class EditorTask:
    """Predict the target's bits from the source and the instruction; see `loop.Task`."""

    def __init__(
        self, recipe: Recipe, autoencoder: Path, train: PairSource, validation: PairSource, run: RunFolder
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.train_pairs, self.run = recipe, train, run
        self.settings = recipe.editor_training
        self.autoencoder = Autoencoder(recipe.editor.autoencoder).eval().requires_grad_(False)
        load_weights(self.autoencoder, autoencoder)
        self.held_out = pair_batch(recipe, validation, recipe.editor.templates.square, range(VALIDATION_PAIRS))
        self.module = EditorModule(recipe)
        initialise(self.module.transformer, seed=recipe.seed, initial_gain=self.settings.initial_gain)
        if self.module.transformer.copy_path is not None:
            self.module.transformer.copy_path.spread.copy_(self.autoencoder.encode(self.held_out.sources).std())
        self.averaged = EditorModule(recipe).eval()

    def batches(self, first_step: int) -> Iterator[StepBatch]:
        """See `loop.Task`."""
        return training_batches(self.recipe, self.train_pairs, self.settings, first_step)

    def loss(self, batch: StepBatch, step: int) -> tuple[Tensor, Metrics]:
        """Weighted cross-entropy, and the accuracies of the batch."""
        generator = step_generator(self.recipe.seed + 1, step)
        quantizer = latent_quantizer(self.recipe.editor, batch.template)
        layout = sequence_layout(self.recipe.editor.transformer, batch.template)
        flips = draw_flips(
            len(batch.sources), quantizer.channels, quantizer.grids, self.settings.flip_strength, generator
        )
        with torch.no_grad():
            source, target = self.autoencoder.encode(torch.cat((batch.sources, batch.targets))).chunk(2)
            forced = self.teacher_forced(source, target, layout, quantizer, flips)
        dropped = torch.rand(len(batch.sources), generator=generator) < self.settings.text_dropout
        # The fused attention's backward pass is slower on CPUs than the plain formula at these lengths.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            logits = self.logits(self.module, forced, batch.instructions, layout, dropped)
        is_copied = (forced.residuals > 0) == forced.labels
        fading = 1 + (self.settings.changed_bit_weight - 1) * max(0.0, 1 - 2 * step / self.settings.steps)
        losses = bit_loss(logits, forced.labels) * torch.where(is_copied, 1.0, fading)
        loss = editor_loss(losses.mean(dim=2), token_weights(batch.template.schedule, "by_scale"))
        return loss, _accuracies(logits, forced.labels, is_copied)

    def teacher_forced(
        self,
        source: Tensor,
        target: Tensor,
        layout: SequenceLayout,
        quantizer: MultiScaleQuantizer,
        flips: list[Tensor] | None = None,
    ) -> TeacherForced:
        """Inputs and labels of all scales from features (B, d, H, W)."""
        merge = self.recipe.editor.merge
        coded = quantizer.encode(target, flips=flips)
        before = (torch.zeros_like(target), *coded.running[:-1])
        scales = range(len(quantizer.grids))
        inputs = [latents_to_tokens(quantizer.step_input(before[k], k), merge) for k in scales[1:]]
        residuals = [latents_to_tokens(quantizer.residual(source, before[k], k), merge) for k in scales]
        labels = [latents_to_tokens(bits.float(), merge) > 0.5 for bits in coded.bits]
        return TeacherForced(
            source=source_tokens(source, quantizer, layout, merge),
            step_inputs=torch.cat(inputs, dim=1),
            residuals=torch.cat(residuals, dim=1),
            labels=torch.cat(labels, dim=1),
        )

    def logits(
        self,
        module: EditorModule,
        forced: TeacherForced,
        instructions: list[str],
        layout: SequenceLayout,
        dropped: Tensor,
    ) -> Tensor:
        """Logits (B, L, token bits, 2); items that are dropped (B,) get the null text."""
        text: TextFeatures = module.text_encoder(module.text_encoder.tokenize(instructions))
        null = module.transformer.unconditional_text(text.lengths)
        features = torch.where(dropped[:, None, None], null.features, text.features)
        residuals = forced.residuals if module.transformer.copy_path is not None else None
        logits: Tensor = module.transformer(
            forced.source, forced.step_inputs, TextFeatures(features, text.lengths), layout, residuals
        )
        return logits

    @torch.no_grad()
    def validate(self, weights: dict[str, Tensor], step: int) -> Metrics:
        """Accuracies on unseen photographs; how near finished edits come to their targets; a picture of some."""
        self.averaged.load_state_dict(weights)
        batch, template = self.held_out, self.held_out.template
        quantizer = latent_quantizer(self.recipe.editor, template)
        layout = sequence_layout(self.recipe.editor.transformer, template)
        source, target = self.autoencoder.encode(torch.cat((batch.sources, batch.targets))).chunk(2)
        forced = self.teacher_forced(source, target, layout, quantizer)
        kept = torch.zeros(len(batch.sources), dtype=torch.bool)
        logits = self.logits(self.averaged, forced, batch.instructions, layout, kept)
        numbers = _accuracies(logits, forced.labels, (forced.residuals > 0) == forced.labels)
        right = (logits[..., 1] > logits[..., 0]) == forced.labels
        for scale, part in enumerate(right.split(list(template.schedule.lengths), dim=1)):
            numbers[f"accuracy_{scale + 1}"] = round(part.float().mean().item(), 4)
        results = self.edited(source, batch.instructions, layout, quantizer)
        targets = self.autoencoder.decode(quantizer.encode(target).running[-1])
        sources = self.autoencoder.decode(quantizer.encode(source).running[-1])
        to_target = (results - targets).abs().mean(dim=(1, 2, 3))
        to_source = (results - sources).abs().mean(dim=(1, 2, 3))
        self.run.save_picture(f"step-{step:06d}", picture_grid([batch.sources[:16], results[:16], batch.targets[:16]]))
        return {f"validation_{name}": value for name, value in numbers.items()} | {
            "validation_l1_to_target": round(to_target.mean().item(), 4),
            "validation_l1_source_to_target": round((sources - targets).abs().mean().item(), 4),
            "validation_nearer_to_target": round((to_target < to_source).float().mean().item(), 4),
        }

    @torch.no_grad()
    def edited(
        self, source: Tensor, instructions: list[str], layout: SequenceLayout, quantizer: MultiScaleQuantizer
    ) -> Tensor:
        """Greedy edits of source features with the averaged weights, as pixels (B, 3, h, w)."""
        transformer = self.averaged.transformer
        text: TextFeatures = self.averaged.text_encoder(self.averaged.text_encoder.tokenize(instructions))
        defaults = self.recipe.editor.generation
        settings = SamplingSettings(guidance=defaults.guidance_scale, temperature=defaults.temperature, greedy=True)
        lengths = layout.schedule.lengths
        bits = self.recipe.editor.transformer.token_bits
        scales = generate(
            transformer,
            quantizer,
            layout,
            source,
            text,
            transformer.unconditional_text(text.lengths),
            BatchSampler.of([settings] * len(source), len(lengths), "cpu"),
            [torch.zeros(len(source), length, bits) for length in lengths],
        )
        features = source
        for state in scales:
            features = state.features
        return self.autoencoder.decode(features)

    def editor_of(self, weights: dict[str, Tensor]) -> Editor:
        """The finished editor with averaged weights."""
        self.averaged.load_state_dict(weights)
        return Editor(self.recipe.editor, self.autoencoder, self.averaged.transformer, self.averaged.text_encoder)


def _accuracies(logits: Tensor, labels: Tensor, is_copied: Tensor) -> Metrics:
    """Share of right bits, and the same among those that a copy of the source gets wrong."""
    right = ((logits[..., 1] > logits[..., 0]) == labels).float()
    changed = (~is_copied).float()
    return {
        "accuracy": round(right.mean().item(), 4),
        "copy": round(1 - changed.mean().item(), 4),
        "changed": round((right * changed).sum().item() / max(changed.sum().item(), 1), 4),
    }

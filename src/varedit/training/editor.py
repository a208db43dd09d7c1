"""Training the editor: per-bit cross-entropy over all target scales on a frozen autoencoder.

Spec "Training". What the first weights are is decided in `initialisation`, what learns in `editor_module` and `lora`;
how it is looked at, in `editor_validation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from varedit.editor import Editor
from varedit.quantizer import latents_to_tokens
from varedit.scales import Template
from varedit.training.batches import Batches, DataPosition, PairSource, StepBatch, pair_batch, training_batches
from varedit.training.editor_validation import VALIDATION_PAIRS, EditorValidation, accuracies
from varedit.training.initialisation import check_initial, initial_autoencoder, initial_parts, start_copy_path
from varedit.training.loop import Metrics, OnStep, Trained, train
from varedit.training.lora import add_adapters, save_adapters
from varedit.training.objective import bit_loss, collage_loss, editor_loss, proposal_loss, token_weights
from varedit.training.processes import Processes
from varedit.training.recipe import Recipe
from varedit.training.run import RunFolder, step_generator
from varedit.training.self_correction import draw_flips
from varedit.training.teacher_forcing import Frame, teacher_forced
from varedit.transformer.reference import source_tokens

COARSE_SEED = 5  # added to the recipe's seed for the draw of coarse steps
PROPOSAL_SEED = 7  # the same for steps of the proposal alone
PIXEL_SEED = 11  # for those of its pixel network
COLLAGE_WEIGHT = 0.5  # of the collage's layers beside the distance of the proposal
PIXELS = 256  # of each picture that a step of the pixel network looks at


@dataclass(frozen=True)
class EditingData:
    """What an editor is trained on.

    Attributes:
        train, validation: editing pairs.
        words: what the instructions are made of, for a text encoder that is trained from scratch.
    """

    train: PairSource
    validation: PairSource
    words: Sequence[str]


def train_editor(
    recipe: Recipe, autoencoder: Path | None, data: EditingData, folder: Path, on_step: OnStep | None = None
) -> Trained:
    """Train an editor, or go on with the run in the folder.

    Ends with a model folder at FOLDER/model or, where adapters are trained, with a folder of theirs at FOLDER/adapter,
    which `peft` reads and `varedit train export --merge` merges.

    Args:
        recipe: model and settings.
        autoencoder: folder of trained weights, which are frozen; None takes those of the editor that the recipe begins
            with.
        data: editing pairs.
        folder: the run; made if missing.
        on_step: told (step, steps, metrics) after each step.

    Raises: as `loop.train`, and ConfigError, InputMissing or ModelError where first weights do not fit the recipe.
    """
    check_initial(recipe, autoencoder)
    run = RunFolder(folder, recipe.text)
    task = EditorTask(recipe, autoencoder, data, run)
    trained = train(task, recipe.editor_training, run, on_step)
    if task.processes.is_main:
        task.save(trained.weights, folder)
    task.processes.wait()
    return trained


class EditorTask:
    """Predict the target's bits from the source and the instruction; see `loop.Task`."""

    def __init__(self, recipe: Recipe, autoencoder: Path | None, data: EditingData, run: RunFolder) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.data, self.settings = recipe, data, recipe.editor_training
        self.processes = Processes.joined()
        self.autoencoder = initial_autoencoder(recipe, autoencoder).eval().requires_grad_(False)
        held_out = pair_batch(recipe, data.validation, recipe.editor.templates.square, range(VALIDATION_PAIRS))
        self.parts = initial_parts(recipe, data.words)
        copy_path = self.parts.transformer.copy_path
        if copy_path is not None and self.settings.initial_kind == "scratch":
            start_copy_path(copy_path, self.autoencoder, held_out.sources, recipe.editor.merge)
        if self.settings.lora is not None:
            add_adapters(self.parts.transformer, self.settings.lora)
        self.validation = EditorValidation(recipe.editor, self.autoencoder, held_out, run)
        self.averaged = self.parts.twin() if self.processes.is_main else None
        self.autoencoder.to(self.processes.device)
        if self.parts.frozen_text is not None:
            self.parts.frozen_text.to(self.processes.device)
        self.frame = cache(self._frame)

    @property
    def module(self) -> nn.Module:
        """See `loop.Task`."""
        return self.parts.module

    def batches(self, position: DataPosition) -> Batches:
        """See `loop.Task`."""
        return training_batches(self.recipe, self.data.train, self.settings, position)

    def loss(self, batch: StepBatch, step: int) -> tuple[Tensor, Metrics]:
        """Weighted cross-entropy, and the batch's accuracies; in steps of the proposal, or a part of it, their loss."""
        device = batch.sources.device
        frame = self.frame(batch.template)
        flips, dropped = self._drawn(batch, frame, step, device)
        if self._falls(step, PIXEL_SEED, self.settings.pixel_share):
            return self._pixel_loss(batch, step, dropped)
        with torch.no_grad():
            source, target = self.autoencoder.encode(torch.cat((batch.sources, batch.targets))).chunk(2)
        if self._falls(step, PROPOSAL_SEED, self.settings.proposal_share):
            return self._proposal_loss(source, target, batch, frame, dropped)
        if self._falls(step, COARSE_SEED, self.settings.coarse_share):
            frame = frame.coarsest(min(self.settings.coarse_scales or 1, len(frame.layout.schedule)))
        forced = teacher_forced(source, target, frame, flips)
        with self._autocast(device):
            logits = self.parts.logits(
                forced,
                batch.instructions,
                frame.layout,
                dropped=dropped,
                gradient_checkpointing=self.settings.gradient_checkpointing,
            )
        weights = torch.where(forced.is_copied, 1.0, self.settings.changed_weight(step))
        losses = bit_loss(logits, forced.labels) * weights
        loss = editor_loss(losses.mean(dim=2), token_weights(frame.layout.schedule, "by_scale"))
        return loss, accuracies(logits, forced, frame.layout.schedule)

    def _proposal_loss(
        self, source: Tensor, target: Tensor, batch: StepBatch, frame: Frame, dropped: Tensor
    ) -> tuple[Tensor, Metrics]:
        """The distance of the proposal, and what is left of it over that of no change; the same of its collage, where
        the true one is known.
        """
        with torch.no_grad():
            tokens = source_tokens(source, frame.quantizer, frame.layout, frame.merge)
            difference = latents_to_tokens(target - source, frame.merge)
        with self._autocast(source.device):
            proposed = self.parts.proposal(tokens, batch.instructions, frame.layout, dropped)
        copy_path = self.parts.transformer.copy_path
        assert copy_path is not None, "a model with a proposal has a copy path"
        candidates = proposed.difference, torch.zeros_like(difference)
        loss, still = (proposal_loss(each, difference, copy_path.spread) for each in candidates)
        metrics = {"proposal_left": loss.item() / still.item()}
        if batch.layers is None:
            return loss, metrics
        collage, terms = collage_loss(proposed.layers, batch.layers)
        return loss + COLLAGE_WEIGHT * collage, metrics | terms

    def _pixel_loss(self, batch: StepBatch, step: int, dropped: Tensor) -> tuple[Tensor, Metrics]:
        """The distance of some pixels, edited by the pixel network as the instruction alone tells it."""
        copy_path = self.parts.transformer.copy_path
        assert copy_path is not None and copy_path.proposal is not None, "the recipe was checked"
        generator = step_generator(self.recipe.seed + PIXEL_SEED, step)
        chosen = torch.randint(batch.sources[0, 0].numel(), (PIXELS,), generator=generator).to(dropped.device)
        before, after = (each.flatten(2)[..., chosen].transpose(1, 2) for each in (batch.sources, batch.targets))
        proposal = copy_path.proposal
        asked = proposal.asked(proposal.instruction(self.parts.read_text(batch.instructions, dropped)))
        edited = proposal.pixels.edited(before, asked)
        loss, still = (proposal_loss(each, after, torch.ones_like(copy_path.spread)) for each in (edited, before))
        return loss, {"pixels_left": loss.item() / still.item()}

    def _autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16")

    def validate(self, weights: dict[str, Tensor], step: int) -> Metrics:
        """See `loop.Task`."""
        assert self.averaged is not None, "only the main process validates"
        self.averaged.module.load_state_dict(weights, strict=False)  # what is frozen is not in it
        return self.validation.of(self.averaged, step)

    def save(self, weights: dict[str, Tensor], folder: Path) -> None:
        """Write what the run has made, with averaged weights. Raises OutputError."""
        assert self.averaged is not None, "only the main process saves"
        self.averaged.module.load_state_dict(weights, strict=False)
        if self.settings.lora is not None:
            base = Path(str(self.settings.initial))
            save_adapters(self.averaged.transformer, self.settings.lora, base, folder / "adapter")
        else:
            parts = (self.averaged.transformer, self.averaged.text_encoder)
            Editor(self.recipe.editor, self.autoencoder.cpu(), *parts).save(folder / "model")

    def _frame(self, template: Template) -> Frame:
        return Frame.of(self.recipe.editor, template, self.processes.device)

    def _falls(self, step: int, seed: int, share: float) -> bool:
        """Whether a step is among some share of them, by a draw of its own."""
        return torch.rand((), generator=step_generator(self.recipe.seed + seed, step)).item() < share

    def _drawn(self, batch: StepBatch, frame: Frame, step: int, device: torch.device) -> tuple[list[Tensor], Tensor]:
        """Flips and dropped instructions of these items, out of those drawn for the whole step."""
        generator = step_generator(self.recipe.seed + 1, step)
        quantizer, settings = frame.quantizer, self.settings
        flips = draw_flips(batch.step_size, quantizer.channels, quantizer.grids, settings.flip_strength, generator)
        dropped = torch.rand(batch.step_size, generator=generator) < settings.text_dropout
        own = slice(batch.items.start, batch.items.stop)
        return [flip[own].to(device) for flip in flips], dropped[own].to(device)

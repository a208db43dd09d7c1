"""Training a change detector on scenes that its editor has edited; see `varedit.change_detector`.

Two terms. Cross-entropy of the true mask for every pixel. And the success of each scene, as
`varedit.evaluation.success` counts it, made smooth: *kept* falls with what leaks outside of the mask, beside the
preservation gate, *reached* with the share of the true change that is left out, and a scene succeeds by their product.
So a scene that cannot be won has no say in how much a winnable one should risk.

Most steps show the words of the instructions; the others, which have none, show the pictures turned, mirrored and in
exchanged colours, of which no instruction would be true. Some scenes show the decoded source in the photograph's place,
as it is where an edit goes on from another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from varedit.change_detector import ChangeDetector
from varedit.checkpoints import load_weights, save_weights
from varedit.data.scene import Family
from varedit.data.scenes import Scenes, held_out_scenes
from varedit.errors import ConfigError
from varedit.pipeline import VAREditPipeline
from varedit.text_features import TextFeatures
from varedit.training.batches import DataPosition, items_of
from varedit.training.edited_scenes import EditedScenes, edited_scenes
from varedit.training.initialisation import take_from_file
from varedit.training.loop import Metrics, OnStep, Trained, train
from varedit.training.processes import Processes
from varedit.training.recipe import ChangeDetectorTraining, Recipe
from varedit.training.run import RunFolder, picture_grid, step_generator

SHARES: dict[Family, float] = {"adjustment": 0.25, "colour": 0.35, "object": 0.4}  # edits in places are the hard ones
SCENES_SEED = 3  # added to the recipe's seed: scenes that the editor was not trained on
VALIDATION_SCENES = 120
SAMPLES = 16  # scenes in the picture of a validation
WITH_WORDS = 0.8  # of the steps
UNREAD = 0.05  # of the instructions in these steps
UNSEEN = 0.15  # of the photographs
GATE = 10 ** (-38 / 10)  # mean square error of values in [0, 1] outside of the mask: 38 dB
HALF_REACHED = 0.25  # share of the true change that is left out where a scene is as good as half reached


@dataclass(frozen=True)
class DetectorBatch:
    """A part of a step: pictures (B, 3, h, w) in [-1, 1], true masks (B, 1, h, w) of 0 and 1, and words.

    See `EditedScenes`; a length of 0 leaves an instruction unread. ``photographs`` is what the detector sees of the
    sources.
    """

    sources: Tensor
    targets: Tensor
    masks: Tensor
    photographs: Tensor
    unedited: Tensor
    results: Tensor
    words: Tensor
    lengths: Tensor

    @property
    def text(self) -> TextFeatures:
        """The instructions as an editor reads them."""
        return TextFeatures(self.words, tuple(self.lengths.tolist()))

    @property
    def stream(self) -> None:
        """Scenes are no stream of records."""
        return

    def to(self, device: torch.device) -> DetectorBatch:
        """The same on a device."""
        return DetectorBatch(*(getattr(self, field.name).to(device) for field in dataclasses.fields(self)))

    def with_pictures(self, change: Callable[[Tensor], Tensor]) -> DetectorBatch:
        """The same with pictures and masks changed alike."""
        names = ("sources", "targets", "masks", "photographs", "unedited", "results")
        return dataclasses.replace(self, **{name: change(getattr(self, name)) for name in names})


@dataclass(frozen=True)
class DetectorData:
    """What a detector is trained on, and what it is looked at with: photographs of two splits."""

    train: EditedScenes
    validation: EditedScenes


def detector_data(
    recipe: Recipe, model: Path, material: Path, folder: Path, on_edit: Callable[[int, int], None]
) -> DetectorData:
    """Let a model edit scenes, first those for validation. FOLDER/edits keeps them; what is there is not made again.

    Args:
        recipe: the one the model was trained with, with a table [training.change_detector].
        model: folder of the editor.
        material: what scenes are made of.
        folder: of the run; made if missing.
        on_edit: told (done, count).

    Raises: ConfigError without that table; InputMissing, ModelError, OutputError.
    """
    settings = change_detector_settings(recipe)
    pipeline = VAREditPipeline.from_pretrained(str(model))
    size = pipeline.config.picture_size(pipeline.config.templates.square.schedule)
    held_out = held_out_scenes(material, "validation", size)
    scenes = Scenes(material, split="train", size_hw=size, seed=recipe.seed + SCENES_SEED, shares=SHARES)
    validation = edited_scenes(pipeline, held_out, VALIDATION_SCENES, folder / "edits", on_edit)
    return DetectorData(edited_scenes(pipeline, scenes, settings.edits, folder / "edits", on_edit), validation)


def train_change_detector(recipe: Recipe, data: DetectorData, folder: Path, on_step: OnStep | None = None) -> Trained:
    """Train a detector, or go on with the run in the folder; the averaged weights end in FOLDER/change_detector.

    Args:
        on_step: told (step, steps, metrics) after each step.

    Raises: as `loop.train`; ConfigError where the recipe has no table [training.change_detector]; ModelError where the
    weights that it begins with are missing or of another size.
    """
    settings, run = change_detector_settings(recipe), RunFolder(folder, recipe.text)
    task = ChangeDetectorTask(settings, recipe.seed, data, run)
    trained = train(task, settings, run, on_step)
    if task.processes.is_main:
        save_weights(trained.weights, folder / "change_detector")
    task.processes.wait()
    return trained


def change_detector_settings(recipe: Recipe) -> ChangeDetectorTraining:
    """The recipe's table [training.change_detector]. Raises ConfigError where it has none."""
    if recipe.change_detector_training is None:
        raise ConfigError("the recipe has no table [training.change_detector]; configs/mini.toml has one")
    return recipe.change_detector_training


class ChangeDetectorTask:
    """Tell which pixels of a decoded result the true edit changes; see `loop.Task`."""

    def __init__(self, settings: ChangeDetectorTraining, seed: int, data: DetectorData, run: RunFolder) -> None:
        torch.manual_seed(seed)
        self.settings, self.seed, self.edits, self.run = settings, seed, data.train, run
        self.processes = Processes.joined()
        self.module, self.averaged = (_detector(settings, data.train.words.shape[2]) for _ in range(2))
        self.held_out = _batch(data.validation, torch.arange(len(data.validation)))

    def batches(self, position: DataPosition) -> Generator[DetectorBatch, None, None]:
        """See `loop.Task`. Scenes come in random order, with words or varied; see the module's description."""
        parts = items_of(self.settings, self.processes)
        for step in range(position.step, self.settings.steps):
            generator = step_generator(self.seed, step)
            chosen = torch.randint(len(self.edits), (self.settings.batch_size,), generator=generator)
            is_read, is_seen = (torch.rand(len(chosen), generator=generator) >= share for share in (UNREAD, UNSEEN))
            has_words = torch.rand((), generator=generator).item() < WITH_WORDS
            turn = torch.randint(8, (), generator=generator).item()
            channels = torch.randperm(3, generator=generator)
            for items in parts:
                part = slice(items.start, items.stop)
                batch = _seen(_batch(self.edits, chosen[part]), is_seen[part])
                yield _told(batch, is_read[part]) if has_words else _varied(batch, int(turn), channels)

    def loss(self, batch: DetectorBatch, step: int) -> tuple[Tensor, Metrics]:
        """The two terms of the module's description."""
        with torch.autocast(batch.masks.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            logits = self.module(batch.photographs, batch.unedited, batch.results, batch.text)
        probability = torch.sigmoid(logits)
        told = F.binary_cross_entropy_with_logits(logits, batch.masks)
        leaked, lost = _leaked(batch, probability), _lost(batch, probability)
        won = 1 / (1 + leaked / GATE) / (1 + (lost / HALF_REACHED).square())
        loss = told + self.settings.success_weight * (1 - won.mean())
        return loss, {
            "told": told.item(),
            "won": won.mean().item(),
            "lost": lost.mean().item(),
            "kept": (leaked < GATE).float().mean().item(),
        }

    @torch.no_grad()
    def validate(self, weights: dict[str, Tensor], step: int) -> Metrics:
        """The same numbers with averaged weights, and scenes as pictures: source, result, target, found, true."""
        self.averaged.load_state_dict(weights)
        held_out = self.held_out
        found = self.averaged.change(held_out.photographs, held_out.unedited, held_out.results, held_out.text)
        columns = [held_out.sources, held_out.results, held_out.targets]
        columns += [(2 * mask - 1).expand(-1, 3, -1, -1) for mask in (found, held_out.masks)]
        self.run.save_picture(f"step-{step:06d}", picture_grid([column[:SAMPLES] for column in columns]))
        right = ((found > 0.5) == (held_out.masks > 0.5)).float().mean().item()
        return {
            "validation_right": round(right, 4),
            "validation_lost": round(_lost(held_out, found).mean().item(), 4),
            "validation_kept": round((_leaked(held_out, found) < GATE).float().mean().item(), 4),
        }


def _detector(settings: ChangeDetectorTraining, text_channels: int) -> ChangeDetector:
    """The first weights, new or another detector's; the kernels lie as a CPU likes them best."""
    detector = ChangeDetector(settings.detector, text_channels)
    if settings.initial is not None:
        load_weights(detector, Path(settings.initial))
        take_from_file(detector)
    return detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # torch's stubs


def _leaked(batch: DetectorBatch, change: Tensor) -> Tensor:
    """Mean square error (B,) of values in [0, 1] outside of the masks, if so much of each difference is believed."""
    outside = 1 - batch.masks
    squared = (change * (batch.results - batch.unedited) / 2).square().mean(dim=1, keepdim=True)
    return _total(squared * outside) / _total(outside).clamp(min=0.01 * outside[0].numel())


def _lost(batch: DetectorBatch, change: Tensor) -> Tensor:
    """Share (B,) of the true change inside of the masks that is left out, if so much of it is believed."""
    weight = (batch.targets - batch.sources).abs().mean(dim=1, keepdim=True) * batch.masks
    return _total((1 - change) * weight) / _total(weight).clamp(min=1e-3)


def _total(values: Tensor) -> Tensor:
    return values.sum(dim=(1, 2, 3))


def _batch(edits: EditedScenes, chosen: Tensor) -> DetectorBatch:
    sources = edits.sources[chosen].float() / 127.5 - 1
    return DetectorBatch(
        sources=sources,
        targets=edits.targets[chosen].float() / 127.5 - 1,
        masks=edits.masks[chosen].float(),
        photographs=sources,
        unedited=edits.unedited[chosen].float(),
        results=edits.results[chosen].float(),
        words=edits.words[chosen].float(),
        lengths=edits.lengths[chosen],
    )


def _seen(batch: DetectorBatch, is_seen: Tensor) -> DetectorBatch:
    """Some of the photographs are known decoded alone."""
    photographs = torch.where(is_seen[:, None, None, None], batch.photographs, batch.unedited)
    return dataclasses.replace(batch, photographs=photographs)


def _told(batch: DetectorBatch, is_read: Tensor) -> DetectorBatch:
    """Some of the instructions are not read."""
    return dataclasses.replace(batch, lengths=batch.lengths * is_read)


def _varied(batch: DetectorBatch, turn: int, channels: Tensor) -> DetectorBatch:
    """One of the eight turns and reflections of a square picture, and the colours in another order; no word is read."""

    def changed(pictures: Tensor) -> Tensor:
        pictures = torch.rot90(pictures, turn % 4, dims=(2, 3))
        pictures = pictures.flip(3) if turn >= 4 else pictures
        return (pictures[:, channels] if pictures.shape[1] == 3 else pictures).contiguous()

    return _told(batch.with_pictures(changed), torch.zeros_like(batch.lengths))

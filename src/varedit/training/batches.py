"""Batches of editing pairs as tensors: one aspect ratio a batch, everything decided by (seed, step)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from varedit.scales import Template
from varedit.training.recipe import OptimizerSettings, Recipe
from varedit.training.run import step_generator


class PairSource(Protocol):
    """Where editing pairs come from: `varedit.data.scenes` offers this."""

    def batch(self, indices: Sequence[int], size_hw: tuple[int, int]) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Sources (B, h, w, 3) uint8, instructions, targets (B, h, w, 3) uint8; the same for the same indices."""
        ...


@dataclass(frozen=True)
class StepBatch:
    """One step's pairs, all of one template."""

    template: Template
    sources: Tensor  # (B, 3, h, w) in [-1, 1]
    targets: Tensor  # (B, 3, h, w) in [-1, 1]
    instructions: list[str]


def pair_batch(recipe: Recipe, pairs: PairSource, template: Template, indices: Sequence[int]) -> StepBatch:
    """Read the pairs of some indices at a template's pixel size."""
    sources, instructions, targets = pairs.batch(indices, recipe.editor.picture_size(template.schedule))
    return StepBatch(template, _pixels(sources), _pixels(targets), instructions)


class _Steps(IterableDataset[StepBatch]):
    """The batches of all steps from a first one on; a worker process makes them ahead of the trainer."""

    def __init__(self, recipe: Recipe, pairs: PairSource, settings: OptimizerSettings, first_step: int) -> None:
        self.recipe, self.pairs, self.settings, self.first_step = recipe, pairs, settings, first_step

    def __iter__(self) -> Iterator[StepBatch]:
        templates = {template.name: template for template in self.recipe.editor.templates.templates}
        names = list(self.recipe.template_weights)
        weights = torch.tensor([self.recipe.template_weights[name] for name in names], dtype=torch.float32)
        for step in range(self.first_step, self.settings.steps):
            chosen = names[int(torch.multinomial(weights, 1, generator=step_generator(self.recipe.seed, step)))]
            size = self.settings.batch_size
            yield pair_batch(self.recipe, self.pairs, templates[chosen], range(step * size, (step + 1) * size))


def training_batches(
    recipe: Recipe, pairs: PairSource, settings: OptimizerSettings, first_step: int
) -> Iterator[StepBatch]:
    """The batches of steps first_step..steps, made by one worker process beside the trainer."""
    return iter(DataLoader(_Steps(recipe, pairs, settings, first_step), batch_size=None, num_workers=1))


def _pixels(images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1

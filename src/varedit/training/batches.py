"""Batches of editing pairs as tensors: one aspect ratio a batch, scenes decided by (seed, step) alone.

The items of a step are divided among the processes that train, and a process's share into parts that are computed one
after the other; what an item is does not depend on either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from varedit.data.pairs import PairBatch, TrueLayers
from varedit.data.records import Share
from varedit.errors import UsageError, VAREditError
from varedit.scales import Template
from varedit.training.buckets import RecordBuckets, record_mixture
from varedit.training.processes import Processes
from varedit.training.recipe import OptimizerSettings, Recipe
from varedit.training.run import step_generator
from varedit.training.stopping import leave_stopping_to_the_trainer
from varedit.transformer.collage import Layers
from varedit.transformer.planner import SQUARES

SOURCE_SEED = 7  # added to the recipe's, for the draw of where a step's batch comes from
REPEAT_WINDOW = 120  # steps until scenes come again, where they do; many numbers of workers divide it


Batches = Generator["StepBatch", None, None]


class PairSource(Protocol):
    """Where editing pairs come from: `varedit.data.scenes` offers this."""

    def batch(self, indices: Sequence[int], size_hw: tuple[int, int]) -> PairBatch:
        """The pairs of some indices, (h, w) in size; the same for the same indices."""
        ...


@dataclass(frozen=True)
class DataPosition:
    """Where the data of one process stand.

    Attributes:
        step: the next one to make a batch for.
        streams: where the records from outside stand, by lane (see `_Steps`); empty where there are none.
    """

    step: int = 0
    streams: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepBatch:
    """One step's pairs, or a part of them, all of one template.

    Attributes:
        template: their aspect ratio and scales.
        sources, targets: (B, 3, h, w) in [-1, 1].
        instructions: B texts.
        items: which of the step's items these are.
        step_size: how many items the step has on all processes together.
        layers: how the targets came about, where that is known: masks in [0, 1], and yes or no as 1 or 0.
        stream: lane and position of the records from outside after this batch; None where it is of scenes.
    """

    template: Template
    sources: Tensor
    targets: Tensor
    instructions: list[str]
    items: range
    step_size: int
    layers: Layers | None = None
    stream: tuple[str, Any] | None = None

    def to(self, device: torch.device) -> StepBatch:
        """The same with its tensors on a device."""
        layers = None if self.layers is None else Layers(*(each.to(device) for each in self.layers))
        sources, targets = self.sources.to(device), self.targets.to(device)
        return dataclasses.replace(self, sources=sources, targets=targets, layers=layers)


def pair_batch(recipe: Recipe, pairs: PairSource, template: Template, indices: Sequence[int]) -> StepBatch:
    """Read the pairs of some indices at a template's pixel size."""
    found = pairs.batch(indices, recipe.editor.picture_size(template.schedule))
    layers = None if found.layers is None else layers_of(found.layers)
    pictures = _pixels(found.sources), _pixels(found.targets)
    return StepBatch(template, *pictures, found.instructions, range(len(indices)), len(indices), layers)


def training_batches(recipe: Recipe, pairs: PairSource, settings: OptimizerSettings, position: DataPosition) -> Batches:
    """This process's batches from a position to the last step: `accumulation` of them a step.

    Worker processes make them ahead of the trainer.

    Raises: UsageError where the batch size cannot be divided.
    """
    processes = Processes.joined()
    steps = _Steps(recipe, pairs, settings, position, items_of(settings, processes), processes.rank, processes.count)
    loader = DataLoader(
        steps, batch_size=None, num_workers=settings.data_workers, worker_init_fn=leave_stopping_to_the_trainer
    )
    for parts in loader:
        if isinstance(parts, VAREditError):
            raise parts
        yield from parts


def items_of(settings: OptimizerSettings, processes: Processes) -> list[range]:
    """A process's share of the items of each step, in parts. Raises UsageError where they cannot be equal."""
    parts = processes.count * settings.accumulation
    if settings.batch_size % parts:
        raise UsageError(
            f"batch_size is {settings.batch_size}; it must be a multiple of processes x accumulation, which are "
            f"{processes.count} x {settings.accumulation}"
        )
    size = settings.batch_size // parts
    first = processes.rank * settings.accumulation
    return [range(number * size, (number + 1) * size) for number in range(first, first + settings.accumulation)]


@dataclass(frozen=True)
class _Steps(IterableDataset[list[StepBatch] | VAREditError]):
    """The parts of every step from a position on, one list a step; or why there are no more, in one sentence.

    With n workers there are n lanes: lane k makes steps k, k + n, k + 2n, ... whichever worker it is that walks in it,
    so that a resumed run finds each stream of records where its lane has left it.
    """

    recipe: Recipe
    pairs: PairSource
    settings: OptimizerSettings
    position: DataPosition
    parts: list[range]
    rank: int
    num_processes: int

    def __iter__(self) -> Iterator[list[StepBatch] | VAREditError]:
        try:
            yield from self._steps()
        except VAREditError as error:
            yield error  # as a value: what a worker raises comes with its traceback in its text

    def _steps(self) -> Iterator[list[StepBatch]]:
        worker = get_worker_info()
        number, lanes = (worker.id, worker.num_workers) if worker else (0, 1)
        first = self.position.step + number
        lane = first % lanes
        buckets = self._buckets(lane, lanes)
        scenes = lru_cache(maxsize=0 if self.settings.scene_repeats == 1 else REPEAT_WINDOW // lanes)(self._scenes)
        for step in range(first, self.settings.steps, lanes):
            if buckets is None or self._takes_scenes(step):
                yield scenes(self._scenes_number(step))
            else:
                yield self._records(buckets, f"{lane} of {lanes}")

    def _scenes_number(self, step: int) -> int:
        """Which scenes a step trains on: a window of them is gone through `scene_repeats` times, then the next."""
        window, place = divmod(step, REPEAT_WINDOW * self.settings.scene_repeats)
        return window * REPEAT_WINDOW + place % REPEAT_WINDOW

    def _scenes(self, number: int) -> list[StepBatch]:
        templates = {template.name: template for template in self.recipe.editor.templates.templates}
        names = list(self.recipe.template_weights)
        weights = torch.tensor([self.recipe.template_weights[name] for name in names], dtype=torch.float32)
        chosen = names[int(torch.multinomial(weights, 1, generator=step_generator(self.recipe.seed, number)))]
        size = self.settings.batch_size
        return [self._part(templates[chosen], items, number * size) for items in self.parts]

    def _part(self, template: Template, items: range, first: int) -> StepBatch:
        batch = pair_batch(self.recipe, self.pairs, template, range(first + items.start, first + items.stop))
        return dataclasses.replace(batch, items=items, step_size=self.settings.batch_size)

    def _records(self, buckets: RecordBuckets, lane: str) -> list[StepBatch]:
        bucket = next(buckets)
        size = self.settings.batch_size
        batches, start = [], 0
        for items in self.parts:
            own = slice(start, start + len(items))
            start += len(items)
            pictures = torch.from_numpy(bucket.sources[own]), torch.from_numpy(bucket.targets[own])
            batches.append(StepBatch(bucket.template, *pictures, bucket.instructions[own], items, size))
        return [*batches[:-1], dataclasses.replace(batches[-1], stream=(lane, buckets.state()))]

    def _takes_scenes(self, step: int) -> bool:
        scenes = sum(data.weight for data in self.recipe.data if data.kind == "scenes")
        records = sum(data.weight for data in self.recipe.data) - scenes
        generator = step_generator(self.recipe.seed + SOURCE_SEED, step)
        return float(torch.rand((), generator=generator)) * (scenes + records) < scenes

    def _buckets(self, lane: int, lanes: int) -> RecordBuckets | None:
        mixture = record_mixture(self.recipe.data, self.recipe.seed)
        if mixture is None:
            return None
        share = Share.of(rank=self.rank, world_size=self.num_processes, worker=lane, num_workers=lanes)
        state = self.position.streams.get(f"{lane} of {lanes}")
        return RecordBuckets(mixture, share, self.recipe.editor, sum(map(len, self.parts)), state)


def layers_of(true: TrueLayers) -> Layers:
    """What is known of pairs as `objective.collage_loss` takes it: masks and choices in the place of logits."""
    changed, thing = (torch.from_numpy(masks).unsqueeze(1).float() / 255 for masks in true[:2])
    sprites, squares = torch.from_numpy(true.sprites).permute(0, 3, 1, 2), torch.from_numpy(true.squares)
    sprite = torch.cat((sprites[:, :3].float() / 127.5 - 1, sprites[:, 3:].float() / 255), dim=1)
    mosaic = (squares.unsqueeze(1) == torch.tensor((0, *SQUARES))).float()
    return Layers(changed, thing, torch.from_numpy(true.placements), sprite, mosaic)


def _pixels(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1

"""Fits what a model reads of instructions alone (`varedit.transformer.planner`), with all else at rest.

What goes where, what a new thing looks like and how many squares a mosaic has need no picture, so a hundred times as
many instructions pass in the same time as in a step of the whole. It comes last, since it depends on how words are
read.

    python training/fit_planner.py runs/mini/model --material material -o runs/mini/planned
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fitting import editor_to_fit, fit, fitting_parser, in_chunks
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from varedit.data.pairs import TrueLayers
from varedit.data.scene import Family
from varedit.data.scenes import Scenes, SceneSplit, held_out_scenes
from varedit.editor import Editor
from varedit.training.batches import layers_of
from varedit.training.objective import plan_loss
from varedit.training.optimizer import optimizer_of
from varedit.training.recipe import OptimizerSettings
from varedit.transformer.planner import Plan, Planner, squares_of

SHARES: dict[Family, float] = {"adjustment": 0.2, "colour": 0.05, "object": 0.75}
SIZE_HW = (64, 64)
CHUNK = 500  # scenes that a process makes at a time
VALIDATION = 3000  # instructions of the validation split


@dataclass(frozen=True)
class Told:
    """Instructions, and what they tell."""

    instructions: list[str]
    true: TrueLayers  # with masks of no size

    def plan(self, chosen: torch.Tensor) -> Plan:
        """The truth of some of them."""
        return layers_of(TrueLayers(*(each[chosen.numpy()] for each in self.true))).plan


def main() -> None:
    arguments = _arguments()
    editor, collage = editor_to_fit(arguments.model)
    planner = collage.planner.requires_grad_(True)
    settings = OptimizerSettings(
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        warmup_steps=25,
        decay_fraction=0.6,
        weight_decay=0.01,
        optimizer="muon",
        validate_every=250,
    )
    optimizer = optimizer_of(collage, settings, shards_weights=False)
    generator = torch.Generator().manual_seed(arguments.seed)
    with Progress(console=Console(stderr=True)) as progress:
        told = told_by(arguments.material, "train", arguments.instructions, arguments.seed, progress)
        held_out = told_by(arguments.material, "validation", VALIDATION, 0, progress)
        progress.console.print(f"at first: {report(editor, planner, held_out)}")

        def next_loss() -> Tensor:
            chosen = torch.randint(len(told.instructions), (settings.batch_size,), generator=generator)
            loss, _ = plan_loss(planned(editor, planner, told, chosen), told.plan(chosen))
            return loss

        fit(planner, optimizer, settings, next_loss, partial(report, editor, planner, held_out), progress)
    editor.save(arguments.output)


def told_by(material: Path, split: SceneSplit, count: int, seed: int, progress: Progress) -> Told:
    """What ``count`` scenes of a split tell in words."""
    made = in_chunks(partial(_chunk, material, split, seed), count, CHUNK, progress, f"{split} scenes")
    layers = [each.true for each in made]
    instructions = [text for each in made for text in each.instructions]
    return Told(instructions, TrueLayers(*(np.concatenate(parts) for parts in zip(*layers, strict=True))))


def _chunk(material: Path, split: SceneSplit, seed: int, numbers: Sequence[int]) -> Told:
    if split == "train":
        scenes = Scenes(material, split=split, size_hw=SIZE_HW, seed=seed, shares=SHARES)
    else:
        scenes = held_out_scenes(material, split, SIZE_HW)
    batch = scenes.batch(numbers)
    assert batch.layers is not None, "scenes know their layers"
    nothing = np.zeros((len(numbers), 1, 1), np.uint8)
    return Told(batch.instructions, batch.layers._replace(changed=nothing, things=nothing))


def planned(editor: Editor, planner: Planner, told: Told, chosen: torch.Tensor) -> Plan:
    """What the planner makes of some instructions."""
    with torch.no_grad():
        text = editor.transformer.read_text(editor.read([told.instructions[index] for index in chosen]))
    plan: Plan = planner(text)
    return plan


@torch.no_grad()
def report(editor: Editor, planner: Planner, told: Told) -> str:
    """How well validation instructions are understood."""
    chosen = torch.arange(len(told.instructions))
    found, true = planned(editor, planner, told, chosen), told.plan(chosen)
    loss, _ = plan_loss(found, true)
    choices = [0, 1, 2, 4]
    is_wrong = ((found.placement[:, choices] > 0) != (true.placement[:, choices] > 0)).any(dim=1)
    is_moved, is_new = true.placement[:, 4] > 0, true.placement[:, 2] > 0
    off = (found.placement - true.placement).abs()
    is_mosaic = true.mosaic[:, 0] < 1
    is_right = squares_of(found.mosaic) == squares_of(true.mosaic)
    cover = true.sprite[is_new, 3:]
    colour = (cover * (found.sprite - true.sprite)[is_new, :3].abs()).sum() / (3 * cover.sum())
    return (
        f"loss {loss:.4f}; choices wrong {is_wrong.float().mean():.4f}; places off {off[is_moved, 5:].mean():.4f}; "
        f"mosaics right {is_right[is_mosaic].float().mean():.3f} of {is_mosaic.sum()}; "
        f"others no mosaic {is_right[~is_mosaic].float().mean():.4f}; colours of new things off {colour:.3f}"
    )


def _arguments() -> argparse.Namespace:
    parser = fitting_parser(__doc__, steps=3000, batch_size=128, rate=3e-3, seed=4243)
    parser.add_argument("--instructions", type=int, default=80_000)
    return parser.parse_args()


if __name__ == "__main__":
    main()

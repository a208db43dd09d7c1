"""Fits what fills the places of things that are taken away (`varedit.transformer.fill_network`), with all else at rest.

It sees training scenes of removals with the true masks, which need neither words nor tokens.

    python training/fit_fill.py runs/mini/model --material material -o runs/mini/filling
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fitting import editor_to_fit, fit, fitting_parser, in_chunks
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from varedit.data.adjustments import Bytes
from varedit.data.crops import PhotographCrops
from varedit.data.cutouts import load_cutouts
from varedit.data.object_scenes import ObjectScenes
from varedit.data.scenes import CROP_DETAIL, SceneSplit, of_split
from varedit.training.recipe import OptimizerSettings
from varedit.transformer.collage import widened
from varedit.transformer.fill_network import smoothly_filled

SIZE_HW = (64, 64)
CHUNK = 250  # scenes that a process makes at a time
VALIDATION = 400  # scenes on validation photographs


def main() -> None:
    arguments = _arguments()
    editor, collage = editor_to_fit(arguments.model)
    network = collage.fill.requires_grad_(True)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    settings = OptimizerSettings(
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        warmup_steps=50,
        decay_fraction=0.7,
        validate_every=100,
    )
    random = np.random.default_rng(arguments.seed)
    with Progress(console=Console(stderr=True)) as progress:
        told = removals(arguments.material, "train", arguments.scenes, arguments.seed, progress)
        held_out = removals(arguments.material, "validation", VALIDATION, 0, progress)

        def next_loss() -> Tensor:
            chosen = random.integers(0, len(told[0]), settings.batch_size)
            source, target, known = pictures(tuple(each[chosen] for each in told))
            return _off(network(source, known), target, known)

        @torch.no_grad()
        def report() -> str:
            source, target, known = pictures(held_out)
            found, smooth = (_off(fill(source, known), target, known) for fill in (network, smoothly_filled))
            return f"off {found:.4f} on validation, {smooth:.4f} with a smooth filling"

        fit(network, optimizer, settings, next_loss, report, progress)
    editor.save(arguments.output)


Removals = tuple[Bytes, ...]  # sources and targets (N, H, W, 3), and the things that are taken away (N, H, W)


def removals(material: Path, split: SceneSplit, count: int, seed: int, progress: Progress) -> Removals:
    """``count`` scenes on photographs of a split."""
    parts = in_chunks(partial(_chunk, material, split, seed), count, CHUNK, progress, f"{split} scenes")
    return tuple(np.concatenate(each) for each in zip(*parts, strict=True))


def _chunk(material: Path, split: SceneSplit, seed: int, numbers: range) -> Removals:
    photographs = PhotographCrops(of_split(material / "photographs", split), short_side=CROP_DETAIL * min(SIZE_HW))
    cutouts = load_cutouts(material / "cutouts")
    family = ObjectScenes(photographs, None, cutouts, phrasing="train", held_out=False, kinds=("remove",))
    scenes = [family.scene(np.random.default_rng((seed, number)), SIZE_HW) for number in numbers]
    things = [scene.thing for scene in scenes if scene.thing is not None]
    return tuple(np.stack(each) for each in ([s.source for s in scenes], [s.target for s in scenes], things))


def pictures(found: Removals) -> tuple[Tensor, Tensor, Tensor]:
    """Sources and targets (B, 3, H, W) in [-1, 1], and what is known, (B, 1, H, W), as a collage has it."""
    source, target = (torch.from_numpy(each).permute(0, 3, 1, 2).float() / 127.5 - 1 for each in found[:2])
    thing = (torch.from_numpy(found[2]).unsqueeze(1) > 127).float()
    return source, target, 1 - widened(thing, 2)


def _off(filled: Tensor, target: Tensor, known: Tensor) -> Tensor:
    off = (filled - target).abs().mean(dim=1, keepdim=True) * (1 - known)
    return off.sum() / (1 - known).sum()


def _arguments() -> argparse.Namespace:
    parser = fitting_parser(__doc__, steps=1500, batch_size=48, rate=2e-3, seed=7771)
    parser.add_argument("--scenes", type=int, default=25_000)
    return parser.parse_args()


if __name__ == "__main__":
    main()

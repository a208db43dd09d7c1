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
from fitting import editor_to_fit, fitting_parser, in_chunks
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from varedit.data.adjustments import Bytes
from varedit.data.crops import PhotographCrops, photograph_files
from varedit.data.cutouts import load_cutouts
from varedit.data.object_scenes import ObjectScenes
from varedit.data.scenes import CROP_DETAIL
from varedit.data.splits import Split, split_of
from varedit.transformer.collage import widened
from varedit.transformer.fill_network import smoothly_filled

SIZE_HW = (64, 64)
CHUNK = 250  # scenes that a process makes at a time
VALIDATION = 400  # scenes on validation photographs
WARMUP_STEPS, DECAY_FRACTION = 50, 0.7
REPORT_EVERY = 100  # steps


def main() -> None:
    arguments = _arguments()
    editor, collage = editor_to_fit(arguments.model)
    network = collage.fill.requires_grad_(True)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    random, steps, console = np.random.default_rng(arguments.seed), arguments.steps, Console(stderr=True)
    with Progress(console=console) as progress:
        told = removals(arguments.material, "train", arguments.scenes, arguments.seed, progress)
        held_out = removals(arguments.material, "validation", VALIDATION, 0, progress)
        for step in progress.track(range(steps), description="fitting"):
            share = min(1.0, (step + 1) / WARMUP_STEPS, (steps - step) / (DECAY_FRACTION * steps))
            for group in optimizer.param_groups:
                group["lr"] = share * arguments.learning_rate
            chosen = random.integers(0, len(told[0]), arguments.batch_size)
            source, target, known = pictures(tuple(each[chosen] for each in told))
            off = (network(source, known) - target).abs().mean(dim=1, keepdim=True)
            loss = (off * (1 - known)).sum() / (1 - known).sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            if (step + 1) % REPORT_EVERY == 0:
                with torch.no_grad():
                    source, target, known = pictures(held_out)
                    found = [_off(fill(source, known), target, known) for fill in (network, smoothly_filled)]
                console.print(
                    f"step {step + 1}: off {found[0]:.4f} on validation, {found[1]:.4f} with a smooth filling"
                )
    network.requires_grad_(False)
    editor.save(arguments.output)


Removals = tuple[Bytes, ...]  # sources and targets (N, H, W, 3), and the things that are taken away (N, H, W)


def removals(material: Path, split: Split, count: int, seed: int, progress: Progress) -> Removals:
    """``count`` scenes on photographs of a split."""
    parts = in_chunks(partial(_chunk, material, split, seed), count, CHUNK, progress, f"{split} scenes")
    return tuple(np.concatenate(each) for each in zip(*parts, strict=True))


def _chunk(material: Path, split: Split, seed: int, numbers: range) -> Removals:
    files = [file for file in photograph_files(material / "photographs") if split_of(file.stem) == split]
    photographs = PhotographCrops(files, short_side=CROP_DETAIL * min(SIZE_HW))
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


def _off(filled: Tensor, target: Tensor, known: Tensor) -> float:
    off = (filled - target).abs().mean(dim=1, keepdim=True) * (1 - known)
    return float(off.sum() / (1 - known).sum())


def _arguments() -> argparse.Namespace:
    parser = fitting_parser(__doc__, steps=1500, batch_size=48, rate=2e-3, seed=7771)
    parser.add_argument("--scenes", type=int, default=25_000)
    return parser.parse_args()


if __name__ == "__main__":
    main()

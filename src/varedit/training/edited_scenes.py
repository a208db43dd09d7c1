"""Scenes beside what an editor made of them: what a change detector learns from. Made once, kept in files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor

from varedit.data.scenes import Scenes
from varedit.output import write_whole
from varedit.pipeline import VAREditPipeline
from varedit.text_features import TextFeatures

SCENES_A_FILE = 40  # edited together


@dataclass(frozen=True)
class EditedScenes:
    """N scenes of one size and their results.

    Attributes:
        sources, targets: (N, 3, h, w) uint8 sRGB.
        masks: (N, 1, h, w) bool, where the true edit may change the source.
        unedited, results: (N, 3, h, w) float16 in [-1, 1], the source and the edit out of the decoder.
        words: (N, T, text channels) float16, the encoded instructions; T is as long as one may be.
        lengths: (N,) int64, how many of the T each has.
    """

    sources: Tensor
    targets: Tensor
    masks: Tensor
    unedited: Tensor
    results: Tensor
    words: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.masks)


def edited_scenes(
    pipeline: VAREditPipeline, scenes: Scenes, count: int, folder: Path, on_progress: Callable[[int, int], None]
) -> EditedScenes:
    """Scenes 0 to ``count`` - 1, edited as a user's call does it; seed i for scene i.

    Files that stand in the folder are taken as they are, so that work that was stopped goes on there.

    Args:
        on_progress: told (done, count).

    Raises: OutputError where a file cannot be written; those before it stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in range(0, count, SCENES_A_FILE):
        numbers = range(start, min(start + SCENES_A_FILE, count))
        file = folder / f"{scenes.split}-{numbers.start:06d}-{numbers.stop:06d}.safetensors"
        if not file.exists():
            write_whole(file, save(_edited(pipeline, scenes, numbers)))
        parts.append(load_file(file))
        on_progress(numbers.stop, count)
    return EditedScenes(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def _edited(pipeline: VAREditPipeline, scenes: Scenes, numbers: range) -> dict[str, Tensor]:
    made = [scenes.scene(number) for number in numbers]
    pictures, instructions = [scene.source for scene in made], [scene.instruction for scene in made]
    run = pipeline.started(pictures, instructions, seed=list(numbers))
    for _ in run.scales():
        pass
    text = _read(pipeline, instructions)
    return {
        "sources": torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous(),
        "targets": torch.from_numpy(np.stack([scene.target for scene in made])).permute(0, 3, 1, 2).contiguous(),
        "masks": torch.from_numpy(np.stack([scene.mask for scene in made]) > 0).unsqueeze(1),
        "unedited": torch.from_numpy(run.unedited()).half(),
        "results": torch.from_numpy(run.decoded()).half(),
        "words": text.features.half(),
        "lengths": torch.tensor(text.lengths),
    }


def _read(pipeline: VAREditPipeline, instructions: list[str]) -> TextFeatures:
    """The encoded instructions, padded to what the model reads at most."""
    text = pipeline.editor.read(instructions)
    room = pipeline.config.transformer.max_text_length - text.features.shape[1]
    return TextFeatures(F.pad(text.features, (0, 0, 0, room)), text.lengths)

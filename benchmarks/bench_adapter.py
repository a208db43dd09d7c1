"""The two calls by which `varedit bench --folder benchmarks` measures the naive baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from naive import NaiveEdit, naive_edit
from torch import Tensor

from varedit.bench.models import BenchModel
from varedit.editor import Editor
from varedit.scales import Template


@dataclass(frozen=True)
class Loaded:
    """A model with the schedule that it is measured on."""

    editor: Editor
    template: Template


def load(model: Mapping[str, Any], template: str, device: str, dtype: str) -> Loaded:
    chosen = BenchModel.from_dict(model)
    editor = chosen.load(torch.device(device), getattr(torch, dtype))
    return Loaded(editor, chosen.template(template))


def edit(loaded: Loaded, pixels: Tensor, instructions: Sequence[str], seeds: Sequence[int]) -> list[NaiveEdit]:
    return [
        naive_edit(loaded.editor, loaded.template, picture[None], instruction, seed)
        for picture, instruction, seed in zip(pixels, instructions, seeds, strict=True)
    ]

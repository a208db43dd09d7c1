"""A whole scenes evaluation: a model by its name, held-out scenes from a folder of material, and the written report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from varedit.data.scenes import held_out_scenes
from varedit.evaluation.contestants import GenerationChoice
from varedit.evaluation.facts import measurement_facts
from varedit.evaluation.files import write_report
from varedit.evaluation.scene_page import scene_page
from varedit.evaluation.scene_report import results_report
from varedit.evaluation.scenes import SEED, JudgedScene, OnProgress, SceneSource, all_contestants, evaluate_scenes
from varedit.hub import ModelSource, find_model
from varedit.pipeline import VAREditPipeline
from varedit.sampling import PerScale

HeldOut = Literal["validation", "test", "generalisation"]


@dataclass(frozen=True, kw_only=True)
class ScenesRequest:
    """What is to be measured.

    Attributes:
        model: a folder, a hub id or "mini".
        split: which held-out scenes.
        count: scenes 0 to ``count`` - 1.
        material: folder of photographs and cut-outs.
        choice: how bits are drawn.
        batch_size: scenes edited at a time; changes no result.
        device: as for `VAREditPipeline.from_pretrained`.
    """

    model: str
    split: HeldOut
    count: int
    material: Path
    choice: GenerationChoice
    batch_size: int
    device: str

    @property
    def command(self) -> str:
        """The command line that measures the same."""
        words = ["varedit", "eval", "scenes", "--model", self.model, "--split", self.split, "--count", str(self.count)]
        words += ["--material", str(self.material)]
        for name, number in (("--guidance", self.choice.guidance), ("--temperature", self.choice.temperature)):
            words += [] if number is None else [name, typed_numbers(number)]
        words += ["--greedy"] * self.choice.greedy
        words += [] if self.choice.reuse is None else ["--reuse" if self.choice.reuse else "--no-reuse"]
        words += ["--candidates", str(self.choice.candidates)] * (self.choice.candidates > 1)
        return shlex.join(words)


@dataclass(frozen=True, eq=False)
class ScenesResult:
    """Judged scenes, where they came from, and what their numbers must carry."""

    source: SceneSource
    scenes: list[JudgedScene]
    facts: dict[str, Any]

    @cached_property
    def report(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
        return results_report(self.scenes, self.facts)

    def write(self, folder: Path) -> Path:
        """Write MODEL-SPLIT.json and MODEL-SPLIT.html, in place of older ones; returns the page. Raises OutputError."""
        stem = f"{self.facts['model']['name']}-{self.facts['split']}"
        write_report(folder / f"{stem}.json", json.dumps(self.report, indent=1) + "\n")
        page = folder / f"{stem}.html"
        write_report(page, scene_page(self.source, self.scenes, self.facts))
        return page


def typed_numbers(numbers: PerScale) -> str:
    """One number, or one for each scale, as the command line takes them."""
    return ",".join(f"{number:g}" for number in (numbers if isinstance(numbers, Sequence) else [numbers]))


def run_scenes(request: ScenesRequest, on_progress: OnProgress) -> ScenesResult:
    """Load the model, edit the scenes and judge them, at the model's own size.

    Raises: ModelError, ConfigError, UsageError; InputMissing where the material is not there.
    """
    found, pipeline = loaded_model(request.model, request.device)
    size_hw = pipeline.config.picture_size(pipeline.config.templates.square.schedule)
    source = held_out_scenes(request.material, request.split, size_hw)
    contestants = all_contestants(pipeline, request.choice)
    scenes = evaluate_scenes(
        source, contestants, range(request.count), batch_size=request.batch_size, on_progress=on_progress
    )
    facts = {
        **measurement_facts(found, pipeline, request.choice, request.command),
        "split": request.split,
        "count": request.count,
        "seed": SEED,
        "size": list(size_hw),
    }
    return ScenesResult(source, scenes, facts)


def loaded_model(model: str, device: str) -> tuple[ModelSource, VAREditPipeline]:
    """The model's files and the model."""
    found = find_model(model)
    return found, VAREditPipeline.from_pretrained(found.folder, device=device)

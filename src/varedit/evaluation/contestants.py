"""Who is judged on a scene: the model, and beside it the floor (nothing is done) and the ceiling (the true target).

Each makes both results of an edit, the decoder's own and the restored one. Knows nothing of how they are judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from varedit.candidates import CandidateChoice
from varedit.evaluation.success import Readouts, Truth
from varedit.pipeline import VAREditPipeline
from varedit.reuse import ReuseSettings
from varedit.runs import EditRun
from varedit.sampling import PerScale, SamplingSettings

MODEL, FLOOR, CEILING = "model", "do nothing", "target through the autoencoder"


class Task(Truth, Protocol):
    """A scene as an editor meets it."""

    @property
    def instruction(self) -> str:
        """What to do."""


class Contestant(Protocol):
    """Edits scenes of one size (H, W); seed i is for scene i. Each result is that of the same scene alone."""

    def __call__(self, scenes: Sequence[Task], seeds: Sequence[int]) -> list[Readouts]: ...


@dataclass(frozen=True, kw_only=True)
class GenerationChoice:
    """How the bits are drawn; None is the model's own default."""

    guidance: PerScale | None = None
    temperature: PerScale | None = None
    greedy: bool = False
    reuse: bool | ReuseSettings | None = None
    candidates: int = 1

    def __post_init__(self) -> None:
        """Raises UsageError for a number that no model takes."""
        numbers: dict[str, Any] = {"guidance": self.guidance, "temperature": self.temperature}
        SamplingSettings(**{name: number for name, number in numbers.items() if number is not None})
        CandidateChoice(self.candidates)

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of a pipeline's call."""
        return {
            "guidance_scale": self.guidance,
            "temperature": self.temperature,
            "greedy": self.greedy,
            "reuse": self.reuse,
            "candidates": self.candidates,
        }


@dataclass(frozen=True)
class ModelEdits:
    """The model's own edits."""

    pipeline: VAREditPipeline
    choice: GenerationChoice

    def __call__(self, scenes: Sequence[Task], seeds: Sequence[int]) -> list[Readouts]:
        """One edit a scene, read out twice."""
        instructions = [scene.instruction for scene in scenes]
        sources = [scene.source for scene in scenes]
        run = self.pipeline.started(sources, instructions, seed=list(seeds), **self.choice.arguments)
        for _ in run.scales():
            pass
        return readouts(run)


@dataclass(frozen=True)
class TargetThroughAutoencoder:
    """The true target, encoded, quantised and decoded: what a model that draws every bit right would give."""

    pipeline: VAREditPipeline

    @torch.inference_mode()
    def __call__(self, scenes: Sequence[Task], seeds: Sequence[int]) -> list[Readouts]:
        """The target's bits in place of the model's."""
        instructions = [scene.instruction for scene in scenes]
        run, coded = (
            self.pipeline.started(pictures, instructions, seed=list(seeds))
            for pictures in ([scene.source for scene in scenes], [scene.target for scene in scenes])
        )
        run.features = self.pipeline.editor.quantizer(run.template).encode(coded.source).running[-1]
        return readouts(run)


def do_nothing(scenes: Sequence[Task], seeds: Sequence[int]) -> list[Readouts]:
    """The source as the result."""
    return [Readouts(raw=scene.source, restored=scene.source) for scene in scenes]


def readouts(run: EditRun) -> list[Readouts]:
    """Both results of every edit of a run; its features are decoded once."""
    decoded = run.decoded()
    pairs = zip(run.raw(decoded), run.restored(decoded), strict=True)
    return [Readouts(raw=raw, restored=restored.rgb) for raw, restored in pairs]

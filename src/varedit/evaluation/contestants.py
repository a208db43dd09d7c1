"""Who is judged on a scene: the model, and beside it the floor (nothing is done) and the ceiling (the true target).

Each makes both results of an edit, the decoder's own and the restored one. Knows nothing of how they are judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from varedit.evaluation.success import Bytes, Readouts, Truth
from varedit.pipeline import VAREditPipeline
from varedit.runs import EditRun
from varedit.sampling import SamplingSettings

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

    guidance: float | None = None
    temperature: float | None = None
    greedy: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for a number that no model takes."""
        given = {name: number for name, number in asdict(self).items() if number is not None}
        SamplingSettings(**given)

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of a pipeline's call."""
        return {"guidance_scale": self.guidance, "temperature": self.temperature, "greedy": self.greedy}


@dataclass(frozen=True)
class ModelEdits:
    """The model's own edits."""

    pipeline: VAREditPipeline
    choice: GenerationChoice

    def __call__(self, scenes: Sequence[Task], seeds: Sequence[int]) -> list[Readouts]:
        """One edit a scene, read out twice."""
        instructions = [scene.instruction for scene in scenes]
        run = started_run(self.pipeline, [scene.source for scene in scenes], instructions, seeds, self.choice)
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
            started_run(self.pipeline, pictures, instructions, seeds)
            for pictures in ([scene.source for scene in scenes], [scene.target for scene in scenes])
        )
        run.features = self.pipeline.editor.quantizer(run.template).encode(coded.source).running[-1]
        return readouts(run)


def do_nothing(scenes: Sequence[Task], seeds: Sequence[int]) -> list[Readouts]:
    """The source as the result."""
    return [Readouts(raw=scene.source, restored=scene.source) for scene in scenes]


def started_run(
    pipeline: VAREditPipeline,
    pictures: Sequence[Bytes],
    instructions: Sequence[str],
    seeds: Sequence[int],
    choice: GenerationChoice = GenerationChoice(),
) -> EditRun:
    """A run over pictures of one size, encoded; the model's own defaults without a choice."""
    requests, _ = pipeline.requests(list(pictures), list(instructions), seed=list(seeds), **choice.arguments)
    first = requests[0].picture
    run = EditRun(pipeline.editor, requests, pipeline.config.templates.nearest(first.height, first.width), "template")
    run.encode()
    return run


def readouts(run: EditRun) -> list[Readouts]:
    """Both results of every edit of a run; its features are decoded once."""
    decoded = run.decoded()
    pairs = zip(run.raw(decoded), run.restored(decoded), strict=True)
    return [Readouts(raw=raw, restored=restored.rgb) for raw, restored in pairs]

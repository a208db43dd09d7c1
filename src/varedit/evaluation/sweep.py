"""Which generation settings suit a model: a grid of them, all on the same scenes, which should be validation scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from varedit.evaluation.contestants import MODEL, GenerationChoice, ModelEdits
from varedit.evaluation.scenes import SEED, OnProgress, SceneSource, evaluate_scenes
from varedit.evaluation.summary import Summary, summaries
from varedit.pipeline import VAREditPipeline


@dataclass(frozen=True)
class SweepRow:
    """What one choice of settings reached.

    Attributes:
        choice: the settings.
        groups: overall, families and categories.
        mean_margin: mean margin of the restored results; tells equal rates apart.
    """

    choice: GenerationChoice
    groups: list[Summary]
    mean_margin: float

    @property
    def mean_success(self) -> float:
        """Mean success over the families, each alike however many scenes it has."""
        return fmean(group.success.share for group in self.groups if group.level == "family")


def settings_sweep(
    pipeline: VAREditPipeline,
    source: SceneSource,
    choices: Sequence[GenerationChoice],
    indices: Sequence[int],
    *,
    seed: int = SEED,
    batch_size: int = 32,
    on_progress: OnProgress = lambda done, total: None,
) -> list[SweepRow]:
    """Evaluate every choice on the same scenes with the same seeds; arguments as for `evaluate_scenes`.

    ``on_progress`` counts scenes over all choices.
    """
    rows: list[SweepRow] = []
    total = len(choices) * len(indices)
    for choice in choices:
        scenes = evaluate_scenes(
            source,
            {MODEL: ModelEdits(pipeline, choice)},
            indices,
            seed=seed,
            batch_size=batch_size,
            on_progress=_counted_on(on_progress, len(rows) * len(indices), total),
        )
        margins = [scene.scores[MODEL].restored.margin for scene in scenes]
        rows.append(SweepRow(choice, summaries(scenes, MODEL), fmean(margins)))
    return rows


def best_row(rows: Sequence[SweepRow]) -> SweepRow:
    """The row of the highest mean success over the families; among equals, of the highest margin."""
    return max(rows, key=lambda row: (row.mean_success, row.mean_margin))


def _counted_on(on_progress: OnProgress, before: int, total: int) -> OnProgress:
    """Count one evaluation's scenes after those that were done before it."""
    return lambda done, _: on_progress(before + done, total)

"""Run contestants over scenes whose true result is known, and judge every edit (spec "Embedded model", section 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from varedit.evaluation.contestants import (
    CEILING,
    FLOOR,
    MODEL,
    Contestant,
    GenerationChoice,
    ModelEdits,
    TargetThroughAutoencoder,
    Task,
    do_nothing,
)
from varedit.evaluation.success import Bytes, Readouts, Score, judged
from varedit.output import encode_image
from varedit.pipeline import VAREditPipeline
from varedit.requests import derived_seed

SEED = 20261124
FEWEST_ALTERNATIVES = 7
JPEG_QUALITY = 92  # of the results that are kept to be looked at

OnProgress = Callable[[int, int], None]  # scenes done, scenes in all


class Scene(Task, Protocol):
    """One scene: source, instruction, target and mask of one size, and what kind of edit it is."""

    @property
    def family(self) -> str:
        """Such as "adjustment", "colour", "object"."""

    @property
    def category(self) -> str:
        """The kind of edit inside the family, such as "brighter" or "remove"."""

    @property
    def photograph(self) -> str:
        """Stem of the photograph, or ""."""


class SceneSource(Protocol):
    """Scenes by number, the same at every call."""

    def scene(self, index: int) -> Scene:
        """Scene number ``index``, from 0."""

    def alternatives(self, index: int) -> Sequence[Bytes]:
        """Wrong results for it, (H, W, 3) uint8 each, at least `FEWEST_ALTERNATIVES`."""


@dataclass(frozen=True, eq=False)
class JudgedScene:
    """A scene with the scores of all contestants.

    Attributes:
        index: its number in the source.
        seed: what the edit was drawn with.
        scores: by contestant.
        raw_jpeg, restored_jpeg: files of the first contestant's results.
    """

    index: int
    seed: int
    family: str
    category: str
    instruction: str
    photograph: str
    scores: Mapping[str, Score]
    raw_jpeg: bytes
    restored_jpeg: bytes


def all_contestants(pipeline: VAREditPipeline, choice: GenerationChoice) -> dict[str, Contestant]:
    """The model first, then its floor and its ceiling."""
    return {MODEL: ModelEdits(pipeline, choice), FLOOR: do_nothing, CEILING: TargetThroughAutoencoder(pipeline)}


def evaluate_scenes(
    source: SceneSource,
    contestants: Mapping[str, Contestant],
    indices: Sequence[int],
    *,
    seed: int = SEED,
    batch_size: int = 32,
    on_progress: OnProgress = lambda done, total: None,
) -> list[JudgedScene]:
    """Let every contestant edit the scenes of these numbers, and judge the results.

    Scene i is drawn with a seed of its own, made of ``seed`` and i, so that neither the batch size nor the number of
    scenes changes a result.

    Args:
        source: scenes of one size.
        contestants: by name; the pictures of the first one are kept.
        indices: which scenes.
        batch_size: scenes that are edited together.
        on_progress: called after each batch.
    """
    done: list[JudgedScene] = []
    for numbers in _batches(indices, batch_size):
        scenes = [source.scene(index) for index in numbers]
        seeds = [derived_seed(seed, index) for index in numbers]
        results = {name: contestant(scenes, seeds) for name, contestant in contestants.items()}
        for place, index in enumerate(numbers):
            edits = {name: made[place] for name, made in results.items()}
            done.append(_judged_scene(index, seeds[place], scenes[place], source.alternatives(index), edits))
        on_progress(len(done), len(indices))
    return done


def _judged_scene(
    index: int, seed: int, scene: Scene, alternatives: Sequence[Bytes], edits: Mapping[str, Readouts]
) -> JudgedScene:
    assert len(alternatives) >= FEWEST_ALTERNATIVES, f"scene {index} has only {len(alternatives)} alternatives"
    shown = next(iter(edits.values()))
    return JudgedScene(
        index=index,
        seed=seed,
        family=scene.family,
        category=scene.category,
        instruction=scene.instruction,
        photograph=scene.photograph,
        scores={name: judged(scene, alternatives, results) for name, results in edits.items()},
        raw_jpeg=jpeg(shown.raw),
        restored_jpeg=jpeg(shown.restored),
    )


def jpeg(picture: Bytes) -> bytes:
    """A picture (H, W, 3) as a file to look at."""
    return encode_image(picture, "JPEG", provenance=None, quality=JPEG_QUALITY)


def _batches(indices: Sequence[int], size: int) -> list[Sequence[int]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]

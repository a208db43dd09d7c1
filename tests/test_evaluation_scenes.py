"""Running contestants over scenes: what the model, the floor and the ceiling are given, and what becomes of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image

from tests.stub_scenes import StubScenes, colour_blind, oracle
from tests.toys import picture, toy_pipeline
from varedit.errors import UsageError
from varedit.evaluation.contestants import (
    CEILING,
    FLOOR,
    MODEL,
    GenerationChoice,
    ModelEdits,
    TargetThroughAutoencoder,
    Task,
    do_nothing,
)
from varedit.evaluation.scenes import all_contestants, evaluate_scenes
from varedit.evaluation.success import Readouts
from varedit.evaluation.summary import Rate, summaries
from varedit.evaluation.sweep import best_row, settings_sweep
from varedit.fit import fit_picture
from varedit.requests import derived_seed

SCENES = StubScenes()


@dataclass
class Recorder:
    """A contestant that remembers what it was given."""

    calls: list[tuple[list[str], list[int]]] = field(default_factory=list)

    def __call__(self, scenes: Sequence[Task], seeds: Sequence[int]) -> list[Readouts]:
        self.calls.append(([scene.instruction for scene in scenes], list(seeds)))
        return do_nothing(scenes, seeds)


def test_scenes_are_edited_in_batches_each_with_a_seed_of_its_own():
    recorder, progress = Recorder(), []
    judged = evaluate_scenes(
        SCENES,
        {MODEL: recorder},
        range(5),
        seed=3,
        batch_size=2,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert [len(seeds) for _, seeds in recorder.calls] == [2, 2, 1]
    seeds = [seed for _, batch in recorder.calls for seed in batch]
    assert seeds == [derived_seed(3, index) for index in range(5)] == [scene.seed for scene in judged]
    assert [scene.instruction for scene in judged] == [SCENES.scene(index).instruction for index in range(5)]
    assert progress == [(2, 5), (4, 5), (5, 5)]


def test_the_pictures_of_the_first_contestant_are_kept():
    judged = evaluate_scenes(SCENES, {MODEL: oracle, FLOOR: do_nothing}, [1])[0]
    with Image.open(io.BytesIO(judged.restored_jpeg)) as image:
        kept = np.asarray(image).astype(int)
    scene = SCENES.scene(1)
    assert np.abs(kept - scene.target).mean() < np.abs(kept - scene.source).mean() / 4


def test_summaries_count_each_group_once():
    def half_right(scenes, seeds):
        return [(oracle if scene.family == "object" else do_nothing)([scene], seeds)[0] for scene in scenes]

    judged = evaluate_scenes(SCENES, {MODEL: half_right}, range(8))
    rows = {(row.level, row.name): row for row in summaries(judged, MODEL)}
    assert [name for _, name in rows] == [
        "all", "adjustment", "darker", "colour", "recolour_part", "object", "recolour",
    ]  # fmt: skip
    assert rows["overall", "all"].success == Rate(3, 8)
    assert rows["family", "object"].success == rows["category", "recolour"].success == Rate(3, 3)
    assert rows["family", "adjustment"].success == Rate(0, 2)
    assert rows["family", "adjustment"].outside_raw_l1 is None
    assert (rows["overall", "all"].outside_count, rows["family", "colour"].outside_restored_psnr) == (6, 100.0)


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],  # the last from Newcombe (1998), table I
)
def test_intervals_are_wilsons(successes, count, low, high):
    assert Rate(successes, count).interval == pytest.approx((low, high), abs=5e-5)


# With a model of random weights


@dataclass(frozen=True, eq=False)
class PictureScene:
    source: np.ndarray
    instruction: str
    target: np.ndarray
    mask: np.ndarray


def scene_of(seed: int) -> PictureScene:
    source, target = (np.asarray(picture(20, 20, seed=each)) for each in (seed, seed + 50))
    return PictureScene(source, ("make it darker", "a lot warmer")[seed % 2], target, np.full((20, 20), 255, np.uint8))


@pytest.fixture(scope="module")
def pipeline():
    return toy_pipeline()


def assert_same(first: Readouts, second: Readouts) -> None:
    assert np.array_equal(first.raw, second.raw) and np.array_equal(first.restored, second.restored)


def test_both_readouts_are_those_of_two_calls_of_the_pipeline(pipeline):
    scene, edits = scene_of(0), ModelEdits(pipeline, GenerationChoice(guidance=1.5, temperature=0.3))
    result = edits([scene], [7])[0]
    for restored, pixels in ((True, result.restored), (False, result.raw)):
        output = pipeline(
            scene.source, scene.instruction, seed=7, guidance_scale=1.5, temperature=0.3, restore=restored
        )
        assert np.array_equal(np.asarray(output.images[0]), pixels)


def test_an_edit_does_not_depend_on_its_batch(pipeline):
    edits = ModelEdits(pipeline, GenerationChoice())
    scenes, seeds = [scene_of(seed) for seed in range(3)], [5, 6, 7]
    together = edits(scenes, seeds)
    assert_same(edits(scenes[1:2], seeds[1:2])[0], together[1])
    assert not np.array_equal(edits(scenes[1:2], [8])[0].raw, together[1].raw)


def test_the_ceiling_decodes_the_quantised_target(pipeline):  # against the same, step by step
    scene = scene_of(1)
    result = TargetThroughAutoencoder(pipeline)([scene], [0])[0]
    editor, template = pipeline.editor, pipeline.config.templates.square
    pixels, fit = fit_picture(scene.target, (20, 20), mode="template")
    with torch.inference_mode():
        features = editor.autoencoder.encode(torch.from_numpy(pixels)[None])
        bits = editor.quantizer(template).encode(features).bits
        decoded = editor.decode(editor.quantizer(template).decode(bits))[0].numpy()
    assert np.array_equal(result.raw, fit.undo(decoded))
    unchanged = TargetThroughAutoencoder(pipeline)([PictureScene(scene.source, "", scene.source, scene.mask)], [0])[0]
    assert np.array_equal(unchanged.restored, scene.source)


def test_the_three_contestants_stand_in_their_order(pipeline):
    assert list(all_contestants(pipeline, GenerationChoice())) == [MODEL, FLOOR, CEILING]


def test_settings_that_no_model_takes_are_refused_at_once():
    with pytest.raises(UsageError, match="guidance is 99"):
        GenerationChoice(guidance=99.0)


def test_a_sweep_runs_every_choice_on_the_same_scenes_and_finds_the_best(monkeypatch):
    given = []

    def fake_edits(pipeline, choice):
        def edit(scenes, seeds):
            given.append((choice.guidance, tuple(seeds)))
            return (oracle if choice.guidance == 2 else colour_blind)(scenes, seeds)

        return edit

    monkeypatch.setattr("varedit.evaluation.sweep.ModelEdits", fake_edits)
    choices = [GenerationChoice(guidance=value) for value in (1.0, 2.0, 3.0)]
    progress: list[tuple[int, int]] = []
    rows = settings_sweep(
        toy_pipeline(), SCENES, choices, range(3), on_progress=lambda done, total: progress.append((done, total))
    )
    assert best_row(rows).choice.guidance == 2 and best_row(rows).mean_success == 1
    assert [guidance for guidance, _ in given] == [1.0, 2.0, 3.0] and len({seeds for _, seeds in given}) == 1
    assert progress == [(3, 9), (6, 9), (9, 9)]

"""Records from outside: each in the bucket of its aspect ratio, resumed exactly, and beside scenes in one run."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.materials import write_material
from tests.training_toys import DATA, Negatives, read_recipe, toy_autoencoder
from varedit.data.mixture import Mixture, WeightedSource
from varedit.data.records import Candidate, EditRecord, EncodedRecord, Share, Skipped
from varedit.data.scenes import Scenes
from varedit.data.shards import ShardSettings, ShardWriter
from varedit.errors import ConfigError, InputMissing, UsageError
from varedit.training.batches import DataPosition, StepBatch, training_batches
from varedit.training.buckets import LONGEST_WAIT, Bucket, RecordBuckets, RecordPairs, fitted_pair
from varedit.training.editor import train_editor
from varedit.training.sources import editing_data


@dataclass(frozen=True)
class Shaped:
    """Records whose instruction is their number; every ``wide``-th is wide, the others are square; some are damaged."""

    count: int
    wide: int
    damaged: int = 1000
    name: str = "shaped"
    num_shards: int = 1

    def candidates(self, shard: int, start: int = 0, stride: int = 1) -> Iterator[Candidate]:
        return islice((self._candidate(number) for number in range(self.count)), start, None, stride)

    def _candidate(self, number: int) -> Candidate:
        if number % self.damaged == self.damaged - 1:
            return Skipped(str(number), "damaged row")
        picture = png(17 if number % self.wide == 0 else 10, 10, number)
        return EncodedRecord(source=picture, target=picture, instruction=str(number), id=str(number))


def png(width: int, height: int, level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (level % 256, 40, 200)).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def editor(tmp_path_factory):
    return read_recipe(tmp_path_factory.mktemp("recipe")).editor  # templates of 32 x 32 and of 24 x 40 pixels


def buckets(editor, source: Shaped, size: int, state=None, share: Share = Share()) -> RecordBuckets:  # noqa: B008
    return RecordBuckets(Mixture([WeightedSource(source)], seed=3, shuffle_block=5), share, editor, size, state)


def told(bucket: Bucket) -> tuple[str, tuple[str, ...]]:
    return bucket.template.name, tuple(bucket.instructions)


def test_each_record_goes_to_the_template_of_its_shape_and_covers_it(editor):
    for bucket in islice(buckets(editor, Shaped(40, wide=3), 4), 12):
        is_wide = bucket.template.name == "wide"
        assert bucket.sources.shape == bucket.targets.shape == ((4, 3, 24, 40) if is_wide else (4, 3, 32, 32))
        assert all((int(text) % 3 == 0) == is_wide for text in bucket.instructions)
        levels = (bucket.sources.mean(axis=(2, 3))[:, 0] + 1) * 127.5
        assert levels == pytest.approx([int(text) for text in bucket.instructions], abs=0.01)


def test_every_record_of_an_epoch_is_in_one_batch(editor):
    source = Shaped(60, wide=2)  # 30 wide and 30 square ones: the batches of 5 are all full
    seen = [text for bucket in islice(buckets(editor, source, 5), 12) for text in bucket.instructions]
    assert sorted(map(int, seen)) == list(range(60))


@settings(max_examples=15)
@given(stop=st.integers(0, 20), wide=st.integers(2, 9), size=st.integers(1, 4), index=st.integers(0, 1))
def test_a_resumed_reader_gives_the_batches_of_the_uninterrupted_one(editor, stop, wide, size, index):
    source, share = Shaped(23, wide=wide, damaged=7), Share(index, 2)
    whole = buckets(editor, source, size, share=share)
    expected = [(told(next(whole)), whole.state()) for _ in range(30)]
    stopped = buckets(editor, source, size, share=share)
    for _ in range(stop):
        next(stopped)
    resumed = buckets(editor, source, size, json.loads(json.dumps(stopped.state())), share)
    assert resumed.state() == stopped.state()
    assert [(told(next(resumed)), resumed.state()) for _ in range(30 - stop)] == expected[stop:]


def test_a_rare_shape_waits_so_long_and_no_longer_and_is_filled_up_with_copies(editor):
    size = 3
    reader = buckets(editor, Shaped(500, wide=250), size)  # two wide records among five hundred
    read = []
    while True:
        bucket = next(reader)
        read.append(bucket)
        assert reader.state()["read"] <= LONGEST_WAIT * size
        if bucket.template.name == "wide":
            break
    assert len(read) <= 500 / size
    assert len(set(bucket.instructions)) < size and len(bucket.instructions) == size


def test_a_target_of_another_size_is_brought_to_its_source():
    source = Image.fromarray(np.arange(12 * 20 * 3, dtype=np.uint8).reshape(12, 20, 3))
    record = EditRecord(instruction="x", source=source, target=source.resize((60, 36), Image.Resampling.NEAREST))
    pixels, target = fitted_pair(record, (12, 20))
    assert np.abs(pixels - target).mean() < 0.15  # bicubic there and nearest back
    np.testing.assert_allclose(pixels, np.asarray(source).transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


# A run with scenes and records.


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder of WebDataset shards with 24 records, eight of them wide."""
    records = []
    for number in range(24):
        picture = Image.open(io.BytesIO(png(17 if number % 3 == 0 else 10, 10, 9 * number))).convert("RGB")
        records.append(EditRecord(instruction=f"number {number}", id=f"r{number:03d}", source=picture, target=picture))
    with ShardWriter(tmp_path / "shards", ShardSettings(picture_format="PNG", records_per_shard=10)) as writer:
        for record in records:
            writer.write(record)
    return tmp_path / "shards"


def mixed_recipe(folder: Path, shards: Path, *, workers: int = 1, scenes: str = ""):
    tables = f'\n[[training.data]]\nkind = "webdataset"\npath = "{shards}"\nweight = 2\n{scenes}'
    return read_recipe(folder, ("text_dropout = 0.3\n", f"text_dropout = 0.3\ndata_workers = {workers}\n{tables}"))


SCENES = '\n[[training.data]]\nkind = "scenes"\nweight = 1\n'


def steps_of(recipe, position: DataPosition = DataPosition()) -> list[StepBatch]:  # noqa: B008
    with closing(training_batches(recipe, Negatives(), recipe.editor_training, position)) as batches:
        return list(batches)


@pytest.mark.parametrize("workers", [1, 2])
def test_steps_take_from_scenes_and_from_records_and_resume_with_any_lane(tmp_path, shards, workers):
    recipe = mixed_recipe(tmp_path, shards, workers=workers, scenes=SCENES)
    whole = steps_of(recipe)
    assert {batch.stream is None for batch in whole} == {False, True}
    for done in range(1, 6):
        streams = dict(batch.stream for batch in whole[:done] if batch.stream is not None)
        rest = steps_of(recipe, DataPosition(done, json.loads(json.dumps(streams))))
        assert [batch.instructions for batch in rest] == [batch.instructions for batch in whole[done:]]
        assert all(a.sources.equal(b.sources) for a, b in zip(rest, whole[done:], strict=True))


def test_a_run_on_records_that_was_killed_goes_on_exactly(tmp_path, shards):
    recipe = mixed_recipe(tmp_path, shards, scenes=SCENES)
    autoencoder = toy_autoencoder(recipe, tmp_path)

    class Killed(Exception):
        pass

    def losses_of(run: str, stop: int | None = None) -> dict[int, float]:
        losses = {}

        def on_step(step, steps, metrics):
            losses[step] = metrics["loss"]
            if step == stop:
                raise Killed

        with suppress(Killed):
            train_editor(recipe, autoencoder, DATA, tmp_path / run, on_step)
        return losses

    before, after = losses_of("killed", stop=5), losses_of("killed")
    assert list(after) == [4, 5, 6]
    assert before | after == losses_of("whole")


def test_records_for_validation_are_read_by_number(editor):
    sources, instructions, targets, _ = RecordPairs(Shaped(9, wide=2, damaged=4)).batch([4, 0], (16, 16))
    assert instructions == ["5", "0"]  # number 3 is damaged
    assert sources.shape == (2, 16, 16, 3) and sources.dtype == np.uint8
    assert sources[:, 8, 8].tolist() == targets[:, 8, 8].tolist() == [[5, 40, 200], [0, 40, 200]]
    with pytest.raises(UsageError, match=r"shaped has 7 usable records, and validation needs 8 \(skipped: 2\)"):
        RecordPairs(Shaped(9, wide=2, damaged=4)).batch(range(8), (16, 16))


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        ('kind = "webdataset"', ConfigError, 'a source of kind "webdataset" needs a path'),
        ('kind = "scenes"\npath = "x"', ConfigError, 'a source of kind "scenes" takes no path'),
        ("weight = 0", ConfigError, "has weight 0; leave it out"),
        ('kind = "webdatasets"\npath = "."', UsageError, "'webdatasets' is no kind of data set"),
        ('kind = "webdataset"\npath = "nowhere"', InputMissing, "nowhere does not exist"),
        ("kindness = 1", ConfigError, "kindness"),
        (
            'kind = "webdataset"\npath = "."\nshares = { colour = 1.0 }',
            ConfigError,
            "takes no shares: only scenes",
        ),
        ("shares = { colour = 1.0 }", UsageError, "give adjustment, colour, object one each"),
    ],
)
def test_a_source_that_cannot_be_is_one_sentence_before_any_step(tmp_path, shards, table, error, words):
    validation = f'[training.validation]\nkind = "webdataset"\npath = "{shards}"\n'
    changed = f"text_dropout = 0.3\n\n{validation}\n[[training.data]]\n{table}\n"
    with pytest.raises(error, match=words):
        editing_data(read_recipe(tmp_path, ("text_dropout = 0.3\n", changed)), tmp_path / "no-material")


def test_a_recipe_says_how_often_each_family_of_scenes_comes(tmp_path, shards):
    validation = f'[training.validation]\nkind = "webdataset"\npath = "{shards}"\n'
    shares = "[[training.data]]\nshares = { adjustment = 0.0, colour = 1.0, object = 0.0 }\n"
    recipe = read_recipe(tmp_path, ("text_dropout = 0.3\n", f"text_dropout = 0.3\n\n{validation}\n{shares}"))
    scenes = editing_data(recipe, write_material(tmp_path / "material")).train
    assert isinstance(scenes, Scenes)
    assert {scenes.scene(index).family for index in range(12)} == {"colour"}


@pytest.mark.parametrize("workers", [1, 2])
def test_scenes_may_come_again_a_window_of_steps_later(tmp_path, monkeypatch, workers):
    monkeypatch.setattr("varedit.training.batches.REPEAT_WINDOW", 4)
    recipe = read_recipe(tmp_path)
    training = replace(recipe.editor_training, steps=15, scene_repeats=3, data_workers=workers)
    recipe = replace(recipe, editor_training=training)
    steps = steps_of(recipe)
    numbers = [0, 1, 2, 3] * 3 + [4, 5, 6]
    scenes = {number: steps[numbers.index(number)].sources for number in numbers}
    assert len({each.sum().item() for each in scenes.values()}) == 7
    assert all(step.sources.equal(scenes[number]) for number, step in zip(numbers, steps, strict=True))
    resumed = steps_of(recipe, DataPosition(6))
    assert all(a.sources.equal(b.sources) for a, b in zip(resumed, steps[6:], strict=True))

"""The change detector: what it says limits what is restored, for one edit and for chains; it is saved with its model,
and it learns to tell a change from noise."""

from __future__ import annotations

import dataclasses
import errno
import json
import os

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from tests.materials import write_material
from tests.toys import CONFIG, picture, toy_editor, toy_pipeline
from tests.training_toys import RECIPE, read_recipe
from varedit.change_detector import ChangeDetector
from varedit.cli.terminal import Terminal
from varedit.cli.train import train as train_command
from varedit.config import ChangeDetectorConfig, EditorConfig
from varedit.errors import ConfigError, ModelError, OutputError
from varedit.fit import fit_picture
from varedit.pipeline import VAREditPipeline
from varedit.text_features import TextFeatures
from varedit.training import edited_scenes
from varedit.training.batches import DataPosition
from varedit.training.change_detector import (
    ChangeDetectorTask,
    DetectorData,
    change_detector_settings,
    detector_data,
    train_change_detector,
)
from varedit.training.edited_scenes import EditedScenes
from varedit.training.run import RunFolder

CHANNELS = CONFIG.transformer.text_channels
SMALL = ChangeDetectorConfig(widths=(4, 8), certainty=(0.25, 0.75))
TABLE = """
[training.change_detector]
edits = 6
detector = { widths = [4, 8], certainty = [0.25, 0.75] }
steps = 4
batch_size = 2
learning_rate = 2e-3
warmup_steps = 1
checkpoint_every = 2
validate_every = 2
"""


class Says(ChangeDetector):
    """A detector that finds a change in some columns, whatever it is shown."""

    def __init__(self, columns: slice) -> None:
        super().__init__(SMALL, CHANNELS)
        self.columns = columns

    def change(self, photograph, source, result, text):
        found = torch.zeros(len(source), 1, *source.shape[2:])
        found[..., self.columns_of(source, text)] = 1
        return found

    def columns_of(self, source, text):
        return self.columns


def tell(detector: ChangeDetector, logit: float) -> None:
    """Make a detector that has learned nothing answer the same everywhere."""
    assert detector.head.bias is not None
    nn.init.constant_(detector.head.bias, logit)


def with_detector(detector: ChangeDetector | None) -> VAREditPipeline:
    pipeline = toy_pipeline()
    pipeline.editor.change_detector = detector
    return pipeline


def edited(pipeline: VAREditPipeline, image, **options):
    return pipeline(image, "make it a lot darker", seed=4, **options)


@pytest.mark.parametrize("size", [(20, 28), (7, 5), (1, 1)])
def test_every_pixel_of_any_size_gets_an_answer_that_leaves_nothing_to_chance(size):
    detector = ChangeDetector(ChangeDetectorConfig(widths=(4, 8, 12)), CHANNELS).eval()
    pictures = torch.rand(2, 3, *size) * 2 - 1
    assert detector(pictures, pictures, -pictures, None).shape == (2, 1, *size)
    tell(detector, 8.0)
    assert detector.change(pictures, pictures, -pictures, None).eq(1).all()
    tell(detector, -8.0)
    assert detector.change(pictures, pictures, -pictures, None).eq(0).all()


def test_certainty_says_where_a_change_begins_and_where_it_is_sure():
    detector = ChangeDetector(SMALL, CHANNELS).eval()
    pictures = torch.zeros(1, 3, 4, 4)
    for probability, expected in ((0.25, 0.0), (0.5, 0.5), (0.75, 1.0)):
        tell(detector, torch.logit(torch.tensor(probability)).item())
        assert detector.change(pictures, pictures, pictures, None)[0, 0, 2, 2].item() == pytest.approx(
            expected, abs=1e-5
        )


def test_an_edit_of_nearly_all_of_a_picture_has_no_holes():
    detector = ChangeDetector(SMALL, CHANNELS).eval()
    for hole, expected in ((5, 1.0), (20, 0.0)):  # of 100 pixels
        certain = torch.full((1, 1, 10, 10), 8.0)
        certain.flatten()[:hole] = -8.0
        detector.forward = lambda *_, certain=certain: certain  # type: ignore[method-assign]
        change = detector.change(certain, certain, certain, None)
        assert change.flatten()[:hole].eq(expected).all() and change.flatten()[hole:].eq(1).all()


def test_where_no_change_is_found_the_photograph_stays_bit_for_bit():
    image = picture(40, 40)
    width = CONFIG.picture_size(CONFIG.templates.square.schedule)[1]
    free = np.asarray(edited(with_detector(None), image).images[0])
    everywhere = np.asarray(edited(with_detector(Says(slice(None))), image).images[0])
    left = np.asarray(edited(with_detector(Says(slice(width // 2))), image).images[0])
    assert np.array_equal(everywhere, free) and not np.array_equal(free, np.asarray(image))
    assert np.array_equal(left[:, 24:], np.asarray(image)[:, 24:])  # a model pixel is four wide, and a seam is soft
    assert np.array_equal(left[:, :16], free[:, :16])
    nothing = edited(with_detector(Says(slice(0))), image)
    assert np.array_equal(np.asarray(nothing.images[0]), np.asarray(image))


def test_the_decoders_own_picture_is_not_limited():
    image = picture(40, 40)
    free, limited = (
        np.asarray(edited(with_detector(detector), image, restore=False).images[0])
        for detector in (None, Says(slice(0)))
    )
    assert np.array_equal(free, limited)


def test_a_mask_and_the_detector_limit_together():
    image = picture(40, 40)
    mask = np.zeros((40, 40), np.uint8)
    mask[:20] = 255
    result = np.asarray(edited(with_detector(Says(slice(10))), image, mask=mask).images[0])
    changed = (result != np.asarray(image)).any(axis=2)
    assert changed[:20, :18].any() and not changed[20:].any() and not changed[:, 24:].any()


def test_no_edit_of_a_batch_depends_on_those_beside_it():
    torch.manual_seed(0)
    detector = ChangeDetector(SMALL, CHANNELS).eval()
    nn.init.normal_(detector.head.weight)
    pipeline = with_detector(detector)
    images = [picture(40, 40, seed) for seed in range(3)]
    words = ["make it warmer", "make it darker", "make it black and white"]
    together = pipeline(images, words, seed=[1, 2, 3])
    for image, instruction, seed, found in zip(images, words, (1, 2, 3), together.images, strict=True):
        alone = pipeline(image, instruction, seed=seed)
        apart = np.abs(np.asarray(alone.images[0]).astype(int) - np.asarray(found))
        assert apart.max() <= 1  # the decoder rounds a batch in another order


def texts(*lengths: int) -> TextFeatures:
    generator = torch.Generator().manual_seed(2)
    return TextFeatures(torch.randn(len(lengths), max(lengths), CHANNELS, generator=generator), lengths)


def test_words_are_read_as_far_as_an_instruction_goes():
    """What stands past an instruction's end changes nothing; each of its words does; none is as no instruction."""
    torch.manual_seed(0)
    detector = ChangeDetector(SMALL, CHANNELS).eval()
    for weights in detector.parameters():  # a new one does nothing
        nn.init.normal_(weights, std=0.3)
    picture_of_one = torch.rand(1, 3, 8, 8)
    pictures, text = picture_of_one.expand(3, -1, -1, -1), texts(5, 2, 0)
    together = detector(pictures, pictures, -pictures, text)
    for item in (0, 1):
        length = text.lengths[item]
        words = TextFeatures(text.features[item : item + 1, :length], (length,))
        alone = detector(picture_of_one, picture_of_one, -picture_of_one, words)
        assert torch.allclose(together[item : item + 1], alone, atol=1e-5)
    assert torch.allclose(together[2:], detector(picture_of_one, picture_of_one, -picture_of_one, None), atol=1e-5)
    for word in range(5):
        features = text.features.clone()
        features[:, word] += 1
        changed = detector(pictures, pictures, -pictures, TextFeatures(features, text.lengths))
        apart = (changed - together).abs().amax(dim=(1, 2, 3))
        assert (apart > 1e-3).tolist() == [word < length for length in text.lengths]


class SaysByText(Says):
    """Finds the left half for an edit with words and the right one for earlier edits, of which there are none."""

    def columns_of(self, source, text):
        half = source.shape[3] // 2
        return slice(half) if text is not None else slice(half, None)


def test_an_edit_that_goes_on_keeps_what_came_before_whatever_its_words():
    image = picture(40, 40)
    chains = []
    for detector in (None, SaysByText(slice(0))):
        pipeline = with_detector(detector)
        first = edited(pipeline, image)
        second = pipeline(image, "make it red", seed=5, codes=first.codes)
        chains.append((np.asarray(first.images[0]), np.asarray(second.images[0])))
    (_, free), (first_limited, limited) = chains
    assert np.array_equal(first_limited[:, 24:], np.asarray(image)[:, 24:])
    assert np.array_equal(limited, free) and not np.array_equal(free[:, 24:], np.asarray(image)[:, 24:])


class Remembers(Says):
    """Finds changes everywhere, and keeps what it was shown: photograph, decoded source, whether there were words."""

    def change(self, photograph, source, result, text):
        self.seen = [*getattr(self, "seen", []), (photograph.numpy(), source.numpy(), text is not None)]
        return super().change(photograph, source, result, text)


def test_it_sees_the_photograph_itself_unless_an_edit_goes_on_from_another():
    image = picture(40, 40)
    detector = Remembers(slice(None))
    pipeline = with_detector(detector)
    first = edited(pipeline, image)
    height, width = CONFIG.picture_size(CONFIG.templates.square.schedule)
    fitted, _ = fit_picture(np.asarray(image), (width, height), mode="template")
    ((photograph, source, _),) = detector.seen
    assert np.array_equal(photograph[0], fitted) and not np.array_equal(photograph, source)
    pipeline(image, "make it red", seed=5, codes=first.codes)
    _, (photograph, source, has_words), (going_on, decoded, goes_on_with_words) = detector.seen
    assert np.array_equal(photograph[0], fitted) and not has_words
    assert np.array_equal(going_on, decoded) and goes_on_with_words


def test_the_photograph_has_a_say():
    torch.manual_seed(0)
    detector = ChangeDetector(SMALL, CHANNELS).eval()
    for weights in detector.parameters():  # a new one does nothing
        nn.init.normal_(weights, std=0.3)
    photograph, source, result = torch.rand(3, 1, 3, 8, 8)
    assert (detector(photograph, source, result, None) - detector(source, source, result, None)).abs().max() > 1e-3


def test_a_model_is_saved_and_read_with_its_detector(tmp_path):
    torch.manual_seed(0)
    detector = ChangeDetector(SMALL, CHANNELS).eval()
    nn.init.normal_(detector.head.weight)
    editor = toy_editor(dataclasses.replace(CONFIG, change_detector=SMALL))
    editor.change_detector = detector
    pipeline = VAREditPipeline(editor)
    pipeline.save_pretrained(tmp_path / "model")
    again = VAREditPipeline.from_pretrained(str(tmp_path / "model"))
    assert again.config.change_detector == SMALL
    image = picture(40, 40)
    assert np.array_equal(np.asarray(edited(again, image).images[0]), np.asarray(edited(pipeline, image).images[0]))
    assert "change_detector" not in json.loads(CONFIG.to_json())


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"widths": [4, 6]}, "multiples of 4"),
        ({"widths": []}, "multiples of 4"),
        ({"certainty": [0.7, 0.4]}, "two rising numbers"),
        ({"certainty": [0.7]}, "two rising numbers"),
        ({"whole": [0.9, 0.9]}, "two rising numbers"),
        ({"certainty": [0.7, 1.5]}, "two rising numbers"),
    ],
)
def test_a_detector_that_cannot_be_is_one_sentence(section, sentence):
    text = json.dumps({**json.loads(CONFIG.to_json()), "change_detector": section})
    with pytest.raises(ConfigError, match=sentence):
        EditorConfig.from_json(text)


def blocks(count: int, seed: int) -> EditedScenes:
    """Edits that lighten one rectangle by an editor that always lightens two, and leaves faint noise everywhere.

    Each lies in a half of the picture; the second of three words says which half is meant.
    """
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randint(0, 120, (count, 3, 1, 1), generator=generator).expand(-1, -1, 16, 16)
    masks, redrawn = torch.zeros(2, count, 1, 16, 16, dtype=torch.bool)
    words = torch.randn(1, 3, CHANNELS, generator=generator).repeat(count, 1, 1)
    for item in range(count):
        meant = int(torch.randint(2, (), generator=generator))
        for half, mask in ((meant, masks), (1 - meant, redrawn)):
            top, left = torch.randint(0, 3, (2,), generator=generator).tolist()
            mask[item, :, top + 8 * half : top + 8 * half + 6, left : left + 12] = True
        words[item, 1] = 2 * meant - 1
    targets = sources + 90 * masks
    unedited, results = (pictures / 127.5 - 1 for pictures in (sources, targets + 90 * redrawn))
    noise = 0.1 * torch.randn(results.shape, generator=generator)
    return EditedScenes(
        sources=sources.byte(),
        targets=targets.byte(),
        masks=masks,
        unedited=unedited.half(),
        results=(results + noise).half(),
        words=words.half(),
        lengths=torch.full((count,), 3),
    )


def recipe_of(tmp_path, *changes):
    recipe = read_recipe(tmp_path, (RECIPE, RECIPE + TABLE), *changes)
    return recipe, change_detector_settings(recipe)


def test_it_learns_to_tell_the_change_that_was_asked_for_from_noise_and_from_another(tmp_path):
    longer = ("edits = 6\n", "edits = 64\nema_decay = 0.9\n"), ("steps = 4", "steps = 240")
    faster = ("batch_size = 2\nlearning_rate = 2e-3\nwarmup_steps = 1", "batch_size = 8\nlearning_rate = 1e-2")
    seldom = ("checkpoint_every = 2\nvalidate_every = 2", "checkpoint_every = 240\nvalidate_every = 240")
    recipe, _ = recipe_of(tmp_path, *longer, faster, seldom)
    trained = train_change_detector(recipe, DetectorData(blocks(64, 0), blocks(120, 1)), tmp_path / "run")
    assert trained.metrics["validation_kept"] > 0.8
    assert trained.metrics["validation_lost"] < 0.1
    assert trained.metrics["validation_right"] > 0.98
    assert list((tmp_path / "run" / "samples").glob("*.png"))


def test_one_that_goes_on_from_another_begins_as_that_one(tmp_path):
    edits = DetectorData(blocks(8, 0), blocks(8, 1))
    recipe, settings = recipe_of(tmp_path)
    first = train_change_detector(recipe, edits, tmp_path / "first")
    folder = tmp_path / "first" / "change_detector"
    settings = dataclasses.replace(settings, initial=str(folder))
    task = ChangeDetectorTask(settings, 0, edits, RunFolder(tmp_path / "run", ""))
    for name, weight in task.module.state_dict().items():
        assert torch.equal(weight, first.weights[name])
    before = (folder / "model.safetensors").read_bytes()
    with torch.no_grad():
        for weight in task.module.parameters():
            weight.add_(1)
    assert (folder / "model.safetensors").read_bytes() == before
    missing = dataclasses.replace(settings, initial=str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="nowhere"):
        ChangeDetectorTask(missing, 0, edits, RunFolder(tmp_path / "run", ""))


def test_leaks_and_losses_count_what_they_say(tmp_path):
    """A detector that believes everything leaks all the noise and loses nothing; one that believes nothing, the
    reverse."""
    _, settings = recipe_of(tmp_path)
    task = ChangeDetectorTask(settings, 0, DetectorData(blocks(8, 0), blocks(8, 1)), RunFolder(tmp_path / "run", ""))
    batch = next(task.batches(DataPosition()))
    outside = 1 - batch.masks
    noise = ((batch.results - batch.unedited) / 2).square().mean(dim=1, keepdim=True) * outside
    expected = noise.sum(dim=(1, 2, 3)) / outside.sum(dim=(1, 2, 3))
    assert (expected > 10 ** (-38 / 10)).all()
    for bias, kept, lost in ((20.0, 0.0, 0.0), (-20.0, 1.0, 1.0)):
        tell(task.module, bias)
        numbers = task.loss(batch, 0)[1]
        assert numbers["kept"] == kept and numbers["lost"] == pytest.approx(lost, abs=1e-4)


def test_a_run_that_goes_on_sees_the_batches_that_it_would_have_seen(tmp_path):
    _, settings = recipe_of(tmp_path)
    task = ChangeDetectorTask(settings, 0, DetectorData(blocks(8, 0), blocks(8, 1)), RunFolder(tmp_path / "run", ""))
    all_of_them, the_rest = (list(task.batches(DataPosition(step))) for step in (0, 2))
    assert len(all_of_them) == 4
    for expected, found in zip(all_of_them[2:], the_rest, strict=True):
        assert torch.equal(expected.results, found.results) and torch.equal(expected.masks, found.masks)
    assert not torch.equal(all_of_them[0].results, all_of_them[1].results)


def test_a_turned_scene_stays_one_and_its_words_are_not_read(tmp_path):
    """Pictures and masks of a varied batch belong together: the change lies in the mask, whatever the turn."""
    _, settings = recipe_of(tmp_path, ("steps = 4", "steps = 16"))
    scenes, kinds = blocks(8, 0), set[str]()
    original = scenes.results.float()
    task = ChangeDetectorTask(settings, 0, DetectorData(scenes, blocks(8, 1)), RunFolder(tmp_path / "run", ""))
    for batch in task.batches(DataPosition()):
        assert torch.equal((batch.targets != batch.sources).any(dim=1, keepdim=True), batch.masks > 0)
        apart = (batch.results - batch.targets).abs().amax(dim=1, keepdim=True)
        assert (apart[batch.masks > 0] < 0.6).all()
        as_they_were = [any(torch.equal(item, scene) for scene in original) for item in batch.results]
        kinds.add("told" if batch.lengths.any() else "varied" if not all(as_they_were) else "untold")
        for shown, source, decoded in zip(batch.photographs, batch.sources, batch.unedited, strict=True):
            assert torch.equal(shown, source) or torch.equal(shown, decoded)
            kinds.add("seen" if torch.equal(shown, source) else "decoded alone")
        assert all(as_they_were) or not batch.lengths.any()
    assert {"told", "varied", "seen", "decoded alone"} <= kinds


def small_files(tmp_path, monkeypatch):
    """Material and a recipe beside a model in tmp_path/model; edits in files of three scenes, four for validation."""
    material = write_material(tmp_path / "material")
    toy_pipeline().save_pretrained(tmp_path / "model")
    recipe, _ = recipe_of(tmp_path)
    monkeypatch.setattr(edited_scenes, "SCENES_A_FILE", 3)
    monkeypatch.setattr("varedit.training.change_detector.VALIDATION_SCENES", 4)
    return material, recipe


def test_one_command_trains_it_and_another_exports_it(tmp_path, monkeypatch):
    material, recipe = small_files(tmp_path, monkeypatch)
    model, recipe_file = str(tmp_path / "model"), str(tmp_path / "recipe.toml")
    options = ["--recipe", recipe_file, "--material", str(material), "-o", str(tmp_path / "run")]
    ran = CliRunner().invoke(train_command, ["change-detector", model, *options], obj=Terminal(quiet=True))
    assert ran.exit_code == 0, ran.output
    edits = tmp_path / "run" / "edits"
    assert sorted(file.name for file in edits.iterdir()) == [
        "train-000000-000003.safetensors",
        "train-000003-000006.safetensors",
        "validation-000000-000003.safetensors",
        "validation-000003-000004.safetensors",
    ]

    missing = edits / "train-000003-000006.safetensors"
    whole = missing.read_bytes()
    missing.unlink()
    done = []
    data = detector_data(recipe, tmp_path / "model", material, tmp_path / "run", lambda *step: done.append(step))
    assert missing.read_bytes() == whole and done == [(3, 4), (4, 4), (3, 6), (6, 6)]
    assert len(data.train) == 6 and len(data.validation) == 4

    options = ["--recipe", recipe_file, "--change-detector", str(tmp_path / "run" / "change_detector")]
    exported = CliRunner().invoke(train_command, ["export", model, *options, "-o", str(tmp_path / "out")])
    assert exported.exit_code == 0, exported.output
    pipeline = VAREditPipeline.from_pretrained(str(tmp_path / "out"))
    assert pipeline.config.change_detector == SMALL and pipeline.editor.change_detector is not None


def test_a_full_disk_leaves_the_scenes_edited_so_far_and_nothing_half(tmp_path, monkeypatch):
    material, recipe = small_files(tmp_path, monkeypatch)

    def run():
        return detector_data(recipe, tmp_path / "model", material, tmp_path / "run", lambda *step: None)

    fsync = os.fsync
    calls = iter(range(9))

    def full(descriptor):
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr("varedit.output.os.fsync", full)
    with pytest.raises(OutputError, match=r"train-000000-000003.safetensors cannot be written: No space left"):
        run()
    assert len(list((tmp_path / "run" / "edits").iterdir())) == 2
    assert len(run().train) == 6


def test_a_recipe_without_its_table_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"no table \[training.change_detector\]"):
        change_detector_settings(read_recipe(tmp_path))

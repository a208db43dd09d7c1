"""A result made again from its own file: the same bytes, or a sentence that says why not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.toys import CONFIG, picture, toy_pipeline
from varedit.cli import cli
from varedit.content_hash import FolderHash, array_sha256
from varedit.errors import ImageError, ModelError, UsageError
from varedit.hub import find_model
from varedit.images import read_image
from varedit.output import encode_image, save_image
from varedit.pipeline import VAREditPipeline
from varedit.provenance import read_provenance, recorded
from varedit.replay import loading_of, replay
from varedit.results import EditOutput
from varedit.reuse import ReuseSettings

FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
MASK = Image.fromarray(np.arange(40 * 36, dtype=np.uint32).reshape(36, 40).__mod__(251).astype(np.uint8))


@pytest.fixture(scope="module")
def pipeline() -> VAREditPipeline:
    return toy_pipeline()


def written(output: EditOutput, folder: Path, suffix: str, *, quality: int = 95) -> list[Path]:
    """The results as files."""
    paths = [folder / f"{index}.{suffix}" for index in range(len(output.images))]
    for path, image, made in zip(paths, output.images, output.settings, strict=True):
        save_image(np.asarray(image), path, provenance=made, quality=quality)
    return paths


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"guidance_scale": [1.0, 3.0, 2.0, 1.5], "temperature": 1.3, "top_k": 1, "negative_prompt": "darker"},
        {"greedy": True, "restore": False, "fit": "square"},
        {"mask": MASK},
        {"reuse": ReuseSettings(first_scale=2, tolerance=0.4, margin=0)},
        {"reuse": True, "mask": MASK},
        {"width": 71, "height": 52},
        {"num_images_per_prompt": 3},
        {"num_images_per_prompt": 2, "candidates": 3, "reuse": True},
    ],
    ids=lambda settings: "+".join(settings) or "plain",
)
@pytest.mark.parametrize("suffix", FORMATS)
def test_the_file_its_source_and_its_mask_give_the_same_bytes_again(pipeline, tmp_path, suffix, settings):
    source = picture(40, 36, 8)
    paths = written(pipeline(source, "a lot warmer", seed=11, **settings), tmp_path, suffix)
    assert len({path.read_bytes() for path in paths}) == len(paths)
    for path in paths:
        result = replay(pipeline, recorded(path), source, mask=settings.get("mask"))
        assert result.encoded(FORMATS[suffix]) == path.read_bytes()
        assert result.notes == ()
        difference = result.difference(path)
        assert difference.is_same_picture and difference.text == "the same bytes"


def test_images_of_a_mixed_batch_are_made_again(pipeline, tmp_path):
    sources = [picture(40, 36, seed) for seed in (1, 2)]
    output = pipeline(sources, ["a lot warmer", "slightly darker"], seed=[5, 9])
    for path, source in zip(written(output, tmp_path, "png"), sources, strict=True):
        assert replay(pipeline, recorded(path), source).encoded("PNG") == path.read_bytes()


def test_variants_of_the_embedded_model_need_their_batch_and_get_it(tmp_path):
    """Its sums are large enough to be rounded otherwise alone, which a toy's are not."""
    embedded = VAREditPipeline.from_pretrained()
    source = Path(__file__).parents[1] / "examples" / "coffee.jpg"
    output = embedded(source, "a lot warmer", seed=3, num_images_per_prompt=2)
    path = written(output, tmp_path, "png")[1]
    assert recorded(path)["batch"] == {"seeds": output.seeds, "place": 1}
    assert replay(embedded, recorded(path), source).encoded("PNG") == path.read_bytes()


def test_the_quality_of_a_lossy_file_is_recorded(pipeline, tmp_path):
    source = picture(40, 36, 8)
    (path,) = written(pipeline(source, "warmer", seed=1), tmp_path, "jpg", quality=41)
    assert recorded(path)["quality"] == 41
    assert replay(pipeline, recorded(path), source).encoded("JPEG") == path.read_bytes()


def test_transparency_returns(pipeline, tmp_path):
    source = picture(40, 36, 8)
    source.putalpha(MASK)
    edited = read_image(source)
    output = pipeline(source, "warmer", seed=1)
    path = tmp_path / "out.png"
    save_image(np.asarray(output.images[0]), path, alpha=edited.alpha, provenance=output.settings[0])
    assert replay(pipeline, recorded(path), source).encoded("PNG") == path.read_bytes()


def test_another_source_another_mask_and_another_model_are_refused(pipeline, tmp_path):
    source = picture(40, 36, 8)
    (path,) = written(pipeline(source, "warmer", seed=1, mask=MASK), tmp_path, "png")
    made = recorded(path)
    other = np.asarray(source).copy()
    other[3, 4, 1] ^= 1
    with pytest.raises(ImageError, match="not the picture that was edited"):
        replay(pipeline, made, other, mask=MASK)
    with pytest.raises(ImageError, match="not that of the edit"):
        replay(pipeline, made, source, mask=Image.new("L", (40, 36), 255))
    with pytest.raises(UsageError, match="had a mask"):
        replay(pipeline, made, source)
    with pytest.raises(UsageError, match="had no mask"):
        replay(pipeline, {**made, "mask_sha256": None}, source, mask=MASK)
    with pytest.raises(ModelError, match="was made by toy with model_sha256"):
        named = VAREditPipeline.from_pretrained()
        replay(named, {**made, "model_sha256": "0" * 64}, source, mask=MASK)


def test_what_may_round_otherwise_is_told_and_measured(pipeline, tmp_path):
    source = picture(40, 36, 8)
    (path,) = written(pipeline(source, "warmer", seed=1), tmp_path, "png")
    result = replay(pipeline, {**recorded(path), "torch": "1.0", "device": "cuda"}, source)
    assert result.notes == (
        f"torch was 1.0 and is {result.made['torch']} now, so the result may be rounded otherwise",
        "device was cuda and is cpu now, so the result may be rounded otherwise",
    )
    pixels = result.rgb.copy()
    pixels[0, :9] ^= 4
    path.write_bytes(encode_image(pixels, "PNG", provenance=None))
    difference = result.difference(path)
    assert not difference.is_same_picture
    assert difference.text == "0.6250% of the pixels are others, by 4 of 255 levels at most"
    path.write_bytes(encode_image(result.rgb, "PNG", provenance=None))
    assert result.difference(path).text == "the same pixels, in other bytes"
    path.write_bytes(encode_image(result.rgb[1:], "PNG", provenance=None))
    assert result.difference(path).text == "another size, 40x36 instead of 40x35"


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": {"seeds": "abc", "place": 0}},
        {"batch": {"seeds": [1], "place": 7}},
        {"batch": {"seeds": [1] * 1000, "place": 0}},
        {"batch": 3},
        {"size": None},
        {"size": [10**9, 1]},
        {"seed": -1},
        {"seed": "1"},
        {"instruction": None},
        {"guidance_scale": "much"},
        {"top_p": [2]},
        {"reuse": {"tolerance": "x"}},
        {"reuse": {"unknown": 1}},
        {"candidates": 1.5},
        {"fit": 4},
    ],
    ids=str,
)
def test_a_file_that_says_nonsense_of_itself_gives_one_sentence(pipeline, wrong):
    source = picture(40, 36, 8)
    made = pipeline(source, "warmer", seed=1).settings[0]
    with pytest.raises(UsageError):
        replay(pipeline, {**made, **wrong}, source)


def test_a_file_without_its_making_is_refused(pipeline, tmp_path):
    path = tmp_path / "out.png"
    save_image(np.zeros((4, 5, 3), np.uint8), path, provenance=None)
    with pytest.raises(ImageError, match="does not say how it was made"):
        recorded(path)
    with pytest.raises(UsageError, match="does not tell its instruction"):
        replay(pipeline, {"version": "0.1.0"}, picture(4, 5))


# Which model


def test_the_hash_of_a_folder_is_that_of_its_content(tmp_path):
    toy_pipeline().save_pretrained(tmp_path / "one")
    toy_pipeline().save_pretrained(tmp_path / "two")
    first = FolderHash(tmp_path / "one").hexdigest()
    assert first == FolderHash(tmp_path / "two").hexdigest()
    (tmp_path / "two" / "README.md").write_text("a card")
    assert first == FolderHash(tmp_path / "two").hexdigest()
    weights = tmp_path / "two" / "transformer" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert first != FolderHash(tmp_path / "two").hexdigest()
    weights.write_bytes((tmp_path / "one" / "transformer" / "model.safetensors").read_bytes())
    weights.rename(weights.with_name("other.safetensors"))
    assert first != FolderHash(tmp_path / "two").hexdigest()


def test_a_loaded_model_names_its_content_and_a_commit_takes_its_place(tmp_path):
    toy_pipeline().save_pretrained(tmp_path / "toy")
    loaded = VAREditPipeline.from_pretrained(tmp_path / "toy")
    content = FolderHash(tmp_path / "toy").hexdigest()
    assert loaded.identity == {"repository": None, "revision": None, "model_sha256": content}
    assert loaded(picture(9, 9), "warmer", seed=1).settings[0]["model_sha256"] == content
    origin = dataclasses.replace(find_model(None), repository="owner/name", revision="c0ffee")
    fetched = VAREditPipeline(loaded.editor, origin=origin)
    assert fetched.identity == {"repository": "owner/name", "revision": "c0ffee", "model_sha256": None}
    made = fetched(picture(9, 9), "warmer", seed=1).settings[0]
    assert loading_of(made) == {
        "source": "owner/name",
        "revision": "c0ffee",
        "dtype": "float32",
        "weights": "full",
    }


def test_the_hash_of_arrays_tells_shapes_kinds_and_order_apart():
    numbers = np.arange(6, dtype=np.uint8)
    hashes = {
        array_sha256(numbers),
        array_sha256(numbers.reshape(2, 3)),
        array_sha256(numbers.reshape(3, 2)),
        array_sha256(numbers.astype(np.int8)),
        array_sha256(numbers, None),
        array_sha256(None, numbers),
    }
    assert len(hashes) == 6
    assert array_sha256(numbers.reshape(2, 3).T) == array_sha256(np.ascontiguousarray(numbers.reshape(2, 3).T))


# The commands


def varedit(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def edited(tmp_path_factory) -> Any:
    """A folder with a photograph that knows its place, its edit by a toy, and the toy."""
    folder = tmp_path_factory.mktemp("edited")
    toy_pipeline(dataclasses.replace(CONFIG, name="folder toy")).save_pretrained(folder / "toy")
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.0)})
    picture(40, 36, 8).save(folder / "photo.png", exif=exif)
    MASK.save(folder / "mask.png")
    result = varedit(
        "edit", folder / "photo.png", "a lot warmer", "-m", folder / "toy", "--mask", folder / "mask.png",
        "--guidance", "1,2,3,1.5", "--reuse", "--seed", 5, "-o", folder / "out.webp",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return folder


def test_replay_writes_the_same_bytes_and_says_so(edited):
    result = varedit(
        "replay", edited / "out.webp", "--source", edited / "photo.png", "--mask", edited / "mask.png",
        "-m", edited / "toy", "-o", edited / "again.webp",
    )  # fmt: skip
    assert (result.exit_code, result.stdout) == (0, f"{edited}/again.webp\n"), result.stderr
    assert "compared with" in result.stderr and "the same bytes" in result.stderr
    assert (edited / "again.webp").read_bytes() == (edited / "out.webp").read_bytes()
    with Image.open(edited / "again.webp") as image:
        assert not image.getexif().get_ifd(0x8825)


def test_replay_by_another_model_or_of_another_picture_ends_with_a_sentence(edited):
    options = ("--mask", edited / "mask.png")
    result = varedit("replay", edited / "out.webp", "--source", edited / "photo.png", *options)
    assert result.exit_code == 69 and "was made by folder toy with model_sha256" in result.stderr
    result = varedit("replay", edited / "out.webp", "--source", edited / "mask.png", *options, "-m", edited / "toy")
    assert result.exit_code == 65 and "mask.png is not the picture that was edited" in result.stderr
    result = varedit("replay", edited / "photo.png", "--source", edited / "photo.png")
    assert result.exit_code == 65 and "does not say how it was made" in result.stderr


def test_provenance_shows_what_the_file_says(edited):
    made = read_provenance(edited / "out.webp")
    result = varedit("provenance", edited / "out.webp", "--json")
    assert json.loads(result.stdout) == made
    result = varedit("provenance", edited / "out.webp")
    assert dict(line.split(maxsplit=1) for line in result.stdout.splitlines())["instruction"] == "a lot warmer"
    assert f"varedit replay {edited}/out.webp --source IMAGE --mask MASK" in result.stderr
    assert varedit("provenance", edited / "photo.png").exit_code == 65

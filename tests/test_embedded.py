"""What the embedded model was measured to do, on bundled photographs that it has never seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.detail import gradient_energy
from tests.registration import shift_between
from tests.test_registration import ODD, photograph
from varedit.data.adjustments import ALL_ADJUSTMENTS, TINT_COLOURS, Adjustment
from varedit.data.colours import colour_shares, recoloured
from varedit.output import save_image
from varedit.pipeline import VAREditPipeline
from varedit.provenance import read_provenance
from varedit.results import EditOutput

EXAMPLES = Path(__file__).parents[1] / "examples"
NOT_TRAINED = ("fade", "vignette", "blur", "pixelate", "mirror", *TINT_COLOURS)
TRAINED = [adjustment for adjustment in ALL_ADJUSTMENTS if adjustment.kind not in NOT_TRAINED]


@pytest.fixture(scope="module")
def pipeline() -> VAREditPipeline:
    return VAREditPipeline.from_pretrained(device="cpu")


def edited(pipeline: VAREditPipeline, image: Image.Image, instruction: str) -> NDArray[np.uint8]:
    output = pipeline(image, instruction, seed=1)
    assert isinstance(output, EditOutput)
    return np.asarray(output.images[0])


def test_black_and_white_keeps_the_detail_of_a_large_photograph(pipeline):
    with Image.open(EXAMPLES / "seeding.jpg") as file:
        image = file.convert("RGB")
    assert max(image.size) >= 3000
    result = edited(pipeline, image, "make it black and white")
    truth = Adjustment("black_and_white").apply_to_bytes(np.asarray(image))
    assert gradient_energy(result) >= 0.95 * gradient_energy(truth)
    colour = np.ptp(result.astype(int), axis=2).mean()
    assert colour < 0.1 * np.ptp(np.asarray(image).astype(int), axis=2).mean()


INSTRUCTIONS = {
    "make it black and white": Adjustment("black_and_white"),
    "give it a sepia tone": Adjustment("sepia"),
    "invert the colours": Adjustment("negative"),
}


@pytest.mark.parametrize(("instruction", "adjustment"), INSTRUCTIONS.items())
def test_looks_are_nearest_to_their_true_target(pipeline, instruction, adjustment):
    for name in ("coffee", "chelsea", "rocket", "blossom"):
        with Image.open(EXAMPLES / f"{name}.jpg") as file:
            image = file.convert("RGB")
        assert nearest(np.asarray(image), edited(pipeline, image, instruction)) == adjustment, name


# Every other kind at one strength; benchmarks/results/mini-whole-picture.json has all kinds and strengths.
LIGHT_AND_COLOUR = {
    "make it a lot brighter": Adjustment("brighter", "strong"),
    "make it darker": Adjustment("darker", "plain"),
    "make it a lot warmer": Adjustment("warmer", "strong"),
    "make it slightly cooler": Adjustment("cooler", "slight"),
    "less contrast": Adjustment("less_contrast", "plain"),
    "a lot less saturation": Adjustment("less_saturation", "strong"),
}


def test_light_and_colour_edits_are_nearest_to_their_true_targets(pipeline):
    right = []
    for name in ("coffee", "chelsea", "rocket", "blossom"):
        with Image.open(EXAMPLES / f"{name}.jpg") as file:
            image = file.convert("RGB")
        output = pipeline(image, list(LIGHT_AND_COLOUR), seed=1)
        for result, adjustment in zip(output.images, LIGHT_AND_COLOUR.values(), strict=True):
            right.append(nearest(np.asarray(image), np.asarray(result)) == adjustment)
    assert np.mean(right) >= 0.85  # measured, less a margin of 0.10


def test_a_colour_by_name_turns_into_another_and_all_else_stays(pipeline):
    with Image.open(EXAMPLES / "coffee.jpg") as file:
        image = file.convert("RGB")
    source = np.asarray(image)
    shares = colour_shares(source.astype(np.float32) / 255)
    result = edited(pipeline, image, "make the red parts green")
    red, other = shares["red"][..., 0] > 0.9, shares["red"][..., 0] == 0
    target = 255 * recoloured(source.astype(np.float32) / 255, shares["red"], "green")
    assert red.mean() > 0.1
    assert np.abs(target - result)[red].mean() < 0.3 * np.abs(target - source)[red].mean()
    assert np.abs(source.astype(float) - result)[other].mean() < 8


def test_a_named_place_changes_and_the_rest_is_the_photographs_own(pipeline):
    with Image.open(EXAMPLES / "chelsea.jpg") as file:
        image = file.convert("RGB")
    source, result = np.asarray(image), edited(pipeline, image, "darken the left half")
    width = source.shape[1]
    assert result[:, : width // 3].mean() < 0.85 * source[:, : width // 3].mean()
    assert np.array_equal(result[:, 3 * width // 4 :], source[:, 3 * width // 4 :])


def nearest(source: NDArray[np.uint8], result: NDArray[np.uint8]) -> Adjustment | None:
    """The adjustment whose target is nearest in L1; None where the source itself is."""
    choices: list[Adjustment | None] = [None, *TRAINED]
    pictures = [source if choice is None else choice.apply_to_bytes(source) for choice in choices]
    distances = [np.abs(picture.astype(float) - result).mean() for picture in pictures]
    return choices[int(np.argmin(distances))]


@pytest.mark.parametrize(("name", "box", "size"), ODD)
def test_a_restored_edit_stays_in_place_within_a_tenth_of_a_pixel(pipeline, name, box, size):
    image = photograph(name, box, size)
    down, right = shift_between(np.asarray(image), edited(pipeline, image, "make it black and white"))
    assert abs(down) <= 0.1
    assert abs(right) <= 0.1


def test_the_command_edits_with_the_embedded_model(tmp_path):
    save_image(np.asarray(photograph(*ODD[0])), tmp_path / "photo.png", provenance=None)
    command = [sys.executable, "-m", "varedit", "edit", "photo.png", "make it black and white", "-o", "out.png"]
    done = subprocess.run(
        [*command, "--seed", "7", "--json", "--compare", "both.png"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["seed"] == 7 and told["output"] == "out.png"
    with Image.open(tmp_path / "out.png") as result, Image.open(tmp_path / "both.png") as both:
        assert result.size == ODD[0][2]
        assert both.height >= result.height and both.width > 2 * result.width - 1
    provenance = read_provenance(tmp_path / "out.png")
    assert provenance is not None
    assert (provenance["instruction"], provenance["model"]) == ("make it black and white", "mini")

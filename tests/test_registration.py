"""Nothing shifts or zooms on the way through the pipeline.

The autoencoder here is lossless (it only regroups pixels), so that what is measured is the geometry of the pipeline:
fitting, the grids of the model, undoing, restoring. What a trained autoencoder adds is measured with the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from tests.registration import shift_between
from tests.toys import CONFIG, toy_editor
from varedit.autoencoder import Autoencoder
from varedit.config import AutoencoderConfig, ScheduleConfig
from varedit.editor import Editor
from varedit.pipeline import VAREditPipeline
from varedit.quantizer import MultiScaleBits, MultiScaleQuantizer
from varedit.scales import Template

EXAMPLES = Path(__file__).parents[1] / "examples"
PATCH = 8
GREY = torch.tensor([0.299, 0.587, 0.114])

# Five photographs, cut and reduced to odd sizes of five shapes.
ODD = [
    ("coffee", (0, 0, 600, 400), (599, 397)),
    ("chelsea", (20, 0, 320, 300), (301, 299)),
    ("rocket", (150, 0, 427, 427), (333, 517)),
    ("seeding", (0, 0, 3200, 1800), (701, 395)),
    ("blossom", (0, 100, 500, 300), (467, 187)),
]


class Lossless(nn.Module):
    """Pixels regrouped into channels, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.ModuleDict({"conv_in": nn.Conv2d(1, 1, 1)})  # whose type is the compute type
        self.config = AutoencoderConfig(
            latent_channels=3 * PATCH**2, base_channels=24, channel_multipliers=(1, 1, 1, 1)
        )

    def encode(self, pixels: Tensor) -> Tensor:
        return F.pixel_unshuffle(pixels, PATCH)

    def decode(self, features: Tensor) -> Tensor:
        return F.pixel_shuffle(features, PATCH).clamp(-1, 1)


class Faithful(MultiScaleQuantizer):
    """A quantiser that loses nothing: the sum of all scales is the features themselves."""

    def encode(self, features: Tensor, *, flips: Sequence[Tensor] | None = None) -> MultiScaleBits:
        coded = super().encode(features, flips=flips)
        return MultiScaleBits(coded.bits, (*coded.running[:-1], features))


class LosslessEditor(Editor):
    """A toy editor that loses nothing but what the random transformer makes of the picture."""

    def quantizer(self, template: Template) -> MultiScaleQuantizer:
        return Faithful(template.schedule, self.config.autoencoder.latent_channels)

    def decode(self, features: Tensor) -> Tensor:
        return self.autoencoder.decode(features)


def lossless_pipeline() -> VAREditPipeline:
    bits = 3 * PATCH**2
    config = dataclasses.replace(
        CONFIG,
        autoencoder=Lossless().config,
        transformer=dataclasses.replace(CONFIG.transformer, token_bits=bits),
        schedule=ScheduleConfig(
            templates={
                "square": [[1, 1], [24, 24]],
                "wide": [[1, 1], [20, 30]],
                "wider": [[1, 1], [14, 34]],
                "tall": [[1, 1], [30, 20]],
            }
        ),
    )
    toy = toy_editor(config)
    lossless = cast(Autoencoder, Lossless())  # it has the two methods that are called
    return VAREditPipeline(LosslessEditor(config, lossless, toy.transformer, toy.text_encoder))


def photograph(name: str, box: tuple[int, int, int, int], size: tuple[int, int]) -> Image.Image:
    with Image.open(EXAMPLES / f"{name}.jpg") as image:
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS, box=box)


def in_black_and_white(pipeline: VAREditPipeline, image: Image.Image, *, restore: bool) -> np.ndarray:
    """The whole-picture edit, put in place of what the random model draws."""
    requests, options = pipeline.requests(image, "it", seed=0)
    ((_, run),) = pipeline._runs(requests, options)
    run.encode()
    pixels = F.pixel_shuffle(run.source, PATCH)
    grey = (pixels * GREY.view(3, 1, 1)).sum(dim=1, keepdim=True).expand_as(pixels)
    edited = F.pixel_unshuffle(grey, PATCH)
    output = pipeline(image, "it", seed=0, restore=restore, callback_on_step_end=lambda *_: {"features": edited})
    return np.asarray(output.images[0])


@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize(("name", "box", "size"), ODD)
def test_a_whole_picture_edit_stays_in_place_within_a_tenth_of_a_pixel(name, box, size, restore):
    image = photograph(name, box, size)
    pipeline = lossless_pipeline()
    result = in_black_and_white(pipeline, image, restore=restore)
    assert result.shape == (size[1], size[0], 3)
    # A raw result holds no detail beyond the model's own pixels; 190 of them lie along the shorter side.
    band = 1.0 if restore else 0.8 * min(1.0, 112 / min(size))
    down, right = shift_between(np.asarray(image), result, band=band)
    assert abs(down) <= 0.1
    assert abs(right) <= 0.1


def test_the_measure_sees_a_shift_of_a_quarter_pixel_and_a_zoom():
    image = photograph(*ODD[0])
    array = np.asarray(image)
    moved = np.asarray(
        image.transform(image.size, Image.Transform.AFFINE, (1, 0, -0.25, 0, 1, 0.5), Image.Resampling.BICUBIC)
    )
    down, right = shift_between(array, moved)
    assert down == pytest.approx(-0.5, abs=0.06)
    assert right == pytest.approx(0.25, abs=0.06)

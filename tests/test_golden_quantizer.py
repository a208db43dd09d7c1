"""The quantiser and the token order, against the released implementation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.golden_files import GoldenFile, golden_files
from varedit.quantizer import MultiScaleBits, MultiScaleQuantizer, latents_to_tokens, tokens_to_latents
from varedit.scales import ScaleSchedule

pytestmark = pytest.mark.golden


@pytest.fixture(scope="module")
def files(golden_dir: Path) -> list[GoldenFile]:
    return golden_files(golden_dir, "quantizer")


def quantizer_of(file: GoldenFile) -> MultiScaleQuantizer:
    return MultiScaleQuantizer(ScaleSchedule.from_grids(file.facts["latent_scales_hw"]), file.facts["latent_channels"])


def labels(bits: Tensor, merge: int) -> Tensor:
    return latents_to_tokens(bits.float(), merge) > 0.5


def step_inputs(quantizer: MultiScaleQuantizer, coded: MultiScaleBits, merge: int) -> Tensor:
    """Inputs of scales 2..K behind one another."""
    scales = range(1, len(quantizer.grids))
    inputs = [quantizer.step_input(coded.running[scale - 1], scale) for scale in scales]
    return torch.cat([latents_to_tokens(latents, merge) for latents in inputs], dim=1)


def test_bits_codes_and_running_sums_of_every_scale(files):
    for file in files:
        quantizer = quantizer_of(file)
        coded = quantizer.encode(file.tensors["features"])
        assert file.count("bits") == len(quantizer.grids)
        for scale, (bits, running) in enumerate(zip(coded.bits, coded.running, strict=True)):
            file.check_grid_bits(f"bits.{scale}", bits)
            file.check_bits(f"labels.{scale}", labels(bits, file.merge))
            file.check(f"codes.{scale}", quantizer.codes(bits, scale))
            file.check(f"cumulative.{scale}", running)
        file.check("quantized", coded.running[-1])
        file.check("quantized", quantizer.decode([file.grid_bits(f"bits.{k}") for k in range(file.count("bits"))]))


def test_labels_in_token_order_lead_back_to_bits_on_the_latent_grid(files):
    for file in files:
        for scale, grid in enumerate(file.facts["token_scales_hw"]):
            tokens = file.tensors[f"labels.{scale}"].float()
            file.check_grid_bits(f"bits.{scale}", tokens_to_latents(tokens, tuple(grid), file.merge) > 0.5)


def test_tokens_of_the_source_and_inputs_of_every_scale(files):
    for file in files:
        quantizer = quantizer_of(file)
        coded = quantizer.encode(file.tensors["features"])
        file.check("source_tokens", latents_to_tokens(file.tensors["features"], file.merge))
        file.check("step_inputs", step_inputs(quantizer, coded, file.merge))


def test_the_tokenizer_alone_averages_where_the_transformer_interpolates(files):
    # The released tokenizer's own by-product: a second sight of the running sums, on the grids of the scales.
    for file in files:
        quantizer = quantizer_of(file)
        coded = quantizer.encode(file.tensors["features"])
        for scale in range(1, len(quantizer.grids)):
            averaged = F.interpolate(coded.running[scale - 1], size=quantizer.grids.grids[scale], mode="area")
            file.check(f"tokenizer_step_input.{scale}", averaged)


def test_self_correction_labels_are_true_bits_and_later_inputs_follow_the_flips(files):
    for file in files:
        quantizer = quantizer_of(file)
        flips = [file.grid_bits(f"noise_flip_mask.{scale}") for scale in range(len(quantizer.grids))]
        coded = quantizer.encode(file.tensors["features"], flips=flips)
        for scale, bits in enumerate(coded.bits):
            file.check_bits(f"noise_labels.{scale}", labels(bits, file.merge))
        file.check("noise_step_inputs", step_inputs(quantizer, coded, file.merge))

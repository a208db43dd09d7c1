"""The autoencoder, against the released implementation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden_files import golden_autoencoder, golden_files
from varedit.quantizer import MultiScaleQuantizer
from varedit.scales import ScaleSchedule

pytestmark = pytest.mark.golden


def test_features_bits_and_reconstructions(golden_dir: Path):
    for file in golden_files(golden_dir, "autoencoder"):
        autoencoder = golden_autoencoder(file, file.facts, "state.")
        quantizer = MultiScaleQuantizer(
            ScaleSchedule.from_grids(file.facts["latent_scales_hw"]), file.facts["latent_channels"]
        )
        features = autoencoder.encode(file.tensors["image"])
        file.check("features", features)
        coded = quantizer.encode(features)
        for scale, bits in enumerate(coded.bits):
            file.check_grid_bits(f"bits.{scale}", bits)
        file.check("quantized", coded.running[-1])
        summed = quantizer.decode([file.grid_bits(f"bits.{scale}") for scale in range(file.count("bits"))])
        file.check("summed_codes_from_bits", summed)
        file.check("reconstruction", autoencoder.decode(file.tensors["quantized"]))
        file.check("reconstruction_unquantized", autoencoder.decode(file.tensors["features"]))
        file.check("reconstruction_from_bits", autoencoder.decode(summed))

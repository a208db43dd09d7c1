"""A whole edit from pixels to pixels, against the released implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.golden_files import golden_autoencoder, golden_files, golden_transformer
from tests.listening import HearingSampler
from varedit.fit import Fit
from varedit.generation import Generation
from varedit.sampling import SamplingSettings
from varedit.transformer.reference import source_tokens

pytestmark = pytest.mark.golden

STEPS_ALLOWED = 5  # pixels on the edge between two levels, of 20 to 50 thousand


def test_greedy_edits_from_pixels_to_pixels(golden_dir: Path):
    for file in golden_files(golden_dir, "edit"):
        autoencoder = golden_autoencoder(file, file.facts["autoencoder"], "autoencoder.")
        latent_channels = file.facts["autoencoder"]["latent_channels"]
        built = golden_transformer(file, file.facts["transformer"], latent_channels, "transformer.")
        features = autoencoder.encode(file.tensors["source_image"])
        file.check("source_features", features)
        file.check("source_tokens", source_tokens(features, built.quantizer, built.layout, built.merge))

        settings = SamplingSettings(guidance=file.facts["guidance"], temperature=file.facts["temperature"], greedy=True)
        lengths = built.layout.schedule.lengths
        sampler = HearingSampler.of([settings] * len(features), len(lengths))
        states = list(
            Generation.begin(
                built.model,
                built.quantizer,
                built.layout,
                features,
                file.text,
                built.model.unconditional_text(file.text.lengths),
                sampler,
                [torch.zeros(len(features), length, 1) for length in lengths],
            )
        )
        for state, logits in zip(states, sampler.heard, strict=True):
            file.check(f"guided_logits.{state.index}", logits.flatten(2))
            file.check_grid_bits(f"bits.{state.index}", state.bits)
        file.check("edited_features", states[-1].features)

        pixels = autoencoder.decode(states[-1].features)
        file.check("edited_image", pixels)
        height, width = pixels.shape[-2:]
        fit = Fit(
            mode="square",
            width=width,
            height=height,
            padded_width=width,
            padded_height=height,
            model_width=width,
            model_height=height,
            offset=(0, 0),
        )
        levels = np.stack([fit.undo(item.numpy()) for item in pixels]).astype(int)
        away = np.abs(levels - file.tensors["edited_uint8_rgb"].numpy())
        assert away.max() <= 1 and (away > 0).sum() <= STEPS_ALLOWED, f"{file.name}: {(away > 0).sum()} levels differ"

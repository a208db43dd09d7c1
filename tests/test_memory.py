"""The arithmetic of an edit's memory, against cases counted by hand."""

from __future__ import annotations

import pytest

from varedit.config import AutoencoderConfig, EditorConfig, ScheduleConfig, TransformerConfig
from varedit.memory import PROMPT_TOKENS, memory_plan


def tiny_config(reference: str = "sar") -> EditorConfig:
    """Scales 1x1, 2x3, 4x5: 27 target tokens, 20 of them in the last scale; pictures of 32x40 pixels."""
    return EditorConfig(
        name="tiny",
        autoencoder=AutoencoderConfig(
            latent_channels=6, base_channels=8, channel_multipliers=(1, 3, 2, 2), norm="pixel"
        ),
        transformer=TransformerConfig(
            width=48,
            depth=3,
            num_heads=4,
            ffn_hidden=800,
            token_bits=6,
            text_channels=16,
            pool_heads=4,
            reference=reference,  # type: ignore[arg-type]  # one of the three words
        ),
        schedule=ScheduleConfig(templates={"wide": [[1, 1], [2, 3], [4, 5]]}),
    )


@pytest.mark.parametrize("reference, rows", [("sar", 20 + 20 / 3), ("finest", 20), ("full", 27)])
def test_the_cache_holds_source_target_and_text_of_both_branches(reference, rows):
    config = tiny_config(reference)
    plan = memory_plan(config, config.templates.templates[0], parameters=7, bytes_per_value=2, batch=5)
    keys_and_values, branches, depth, width, bytes_per_value, batch = 2, 2, 3, 48, 2, 5
    per_row = keys_and_values * branches * depth * width * bytes_per_value * batch
    assert plan.cache == pytest.approx((rows + 27 + PROMPT_TOKENS) * per_row)
    assert plan.weights == 7 * 2
    assert plan.total == plan.weights + plan.cache + plan.activations


def test_activations_are_the_larger_of_feed_forward_and_decoder():
    config = tiny_config()
    template = config.templates.templates[0]
    assert config.picture_size(template.schedule) == (32, 40)
    feed_forward = 2 * 20 * (2 * (2 * 800 + 3 * 48) + 4 * 3 * 48)  # 2 branches, 20 tokens, 2 bytes a number
    decoder = 3 * (3 * 8) * 32 * 40 * 2  # the widest of the two finest levels has 3 * 8 channels
    encoder = 3 * (1 * 8) * 32 * 40 * 4  # float32
    assert decoder > max(feed_forward, encoder)
    assert memory_plan(config, template, parameters=1, bytes_per_value=2).activations == decoder
    narrow = EditorConfig(
        name="narrow",
        autoencoder=AutoencoderConfig(
            latent_channels=6, base_channels=1, channel_multipliers=(1, 1, 1, 1), norm="pixel"
        ),
        transformer=config.transformer,
        schedule=config.schedule,
    )
    assert memory_plan(narrow, template, parameters=1, bytes_per_value=2).activations == feed_forward

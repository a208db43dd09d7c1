"""The arithmetic of an edit's memory: against cases counted by hand, and against what an edit really takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from tests.live_bytes import LiveBytes
from tests.toys import CONFIG, picture, toy_editor, toy_pipeline
from varedit import strips
from varedit.config import AutoencoderConfig, EditorConfig, GenerationConfig, ScheduleConfig, TransformerConfig
from varedit.memory import PROMPT_TOKENS, MemoryOptions, memory_plan
from varedit.pipeline import VAREditPipeline
from varedit.presets import PRESETS
from varedit.shapes import preset_shapes

GB = 10**9


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


@pytest.mark.parametrize("guidance", [True, False])
@pytest.mark.parametrize("reference, rows", [("sar", 20 + 20 / 3), ("finest", 20), ("full", 27)])
def test_the_cache_holds_source_target_and_text_of_all_branches(reference, rows, guidance):
    config = tiny_config(reference)
    options = MemoryOptions(bytes_per_value=2, batch=5, guidance=guidance)
    plan = memory_plan(config, config.templates.templates[0], {}, options)
    keys_and_values, depth, width, bytes_per_value, batch = 2, 3, 48, 2, 5
    per_row = keys_and_values * (2 if guidance else 1) * depth * width * bytes_per_value * batch
    assert plan.cache == pytest.approx((rows + 7 + PROMPT_TOKENS) * per_row)  # 7 target tokens before the last scale


def test_weights_are_counted_in_the_format_that_each_is_held_in():
    config = tiny_config()
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "transformer": {
            "head.weight": (4, 5),  # float32 whatever the compute type
            "blocks.1.attention.project.weight": (6, 7),
            "blocks.1.attention.value_bias": (8,),
            "blocks.1.modulation_offset": (1, 1, 6, 48),  # float32
        },
        "autoencoder": {"encoder.conv_in.weight": (3, 3), "decoder.conv_in.weight": (5, 3)},  # the encoder is float32
        "text_encoder": {"shared.weight": (9, 2), "encoder.block.0.layer.0.SelfAttention.q.weight": (10, 3)},
    }
    template = config.templates.templates[0]
    plan = memory_plan(config, template, shapes, MemoryOptions(bytes_per_value=2))
    assert plan.weights == 4 * 20 + 2 * 42 + 2 * 8 + 4 * 288 + 4 * 9 + 2 * 15
    assert plan.text_encoder == plan.kept_text == 2 * 18 + 2 * 30
    plan = memory_plan(config, template, shapes, MemoryOptions(bytes_per_value=2, low_bit=True))
    assert plan.weights == 4 * 20 + (42 + 4 * 6) + 2 * 8 + 4 * 288 + 4 * 9 + 2 * 15
    assert plan.text_encoder == 2 * 18 + (30 + 4 * 10)
    assert plan.step == memory_plan(config, template, {}, MemoryOptions(bytes_per_value=2)).step + 2 * 4 * 42
    plan = memory_plan(config, template, shapes, MemoryOptions(bytes_per_value=2, low_bit=True, offload_text=True))
    assert (plan.text_encoder, plan.kept_text) == (2 * 18 + 2 * 30, 0)


def test_the_formats_are_those_that_a_loaded_model_has(tmp_path):
    editor = toy_editor()
    editor.save(tmp_path / "toy")
    editor = VAREditPipeline.from_pretrained(tmp_path / "toy", device="cpu", dtype="bfloat16").editor
    parts = {"autoencoder": editor.autoencoder, "transformer": editor.transformer}
    held = sum(weight.nbytes for part in parts.values() for weight in part.state_dict().values())
    shapes = {name: {key: tuple(v.shape) for key, v in part.state_dict().items()} for name, part in parts.items()}
    shapes["text_encoder"] = {key: tuple(v.shape) for key, v in editor.text_encoder.encoder.state_dict().items()}
    plan = memory_plan(CONFIG, CONFIG.templates.templates[0], shapes, MemoryOptions(bytes_per_value=2))
    assert plan.weights == held
    assert plan.text_encoder == sum(weight.nbytes for weight in editor.text_encoder.state_dict().values())


def test_activations_by_hand():
    config = tiny_config()
    template = config.templates.templates[0]
    assert config.picture_size(template.schedule) == (32, 40)
    plan = memory_plan(config, template, {}, MemoryOptions(bytes_per_value=2))
    assert plan.step == 2 * 20 * (2 * (2 * 800 + 3 * 48) + 4 * 3 * 48)  # 2 branches, 20 tokens, 2 bytes a number
    pixels = 3 * 32 * 40 * 4  # float32, of a photograph or a result
    assert plan.decode == 3 * (3 * 8) * 32 * 40 * 2 + pixels  # the widest of the two finest levels has 3 * 8 channels
    assert plan.encode == 3 * (1 * 8) * 32 * 40 * 4 + pixels  # float32
    many = memory_plan(config, template, {}, MemoryOptions(bytes_per_value=2, batch=5))
    assert (many.decode, many.encode) == (plan.decode + 4 * pixels, plan.encode + 4 * pixels), "one after the other"
    assert plan.total == max(plan.encode, plan.cache + plan.step, plan.decode)


def test_the_total_is_that_of_the_moment_that_needs_most():
    plan = memory_plan(tiny_config(), tiny_config().templates.templates[0], {})
    plan = dataclasses.replace(plan, weights=100, text_encoder=50, kept_text=0, encode=1, cache=2, step=3, decode=4)
    assert plan.total == 150, "an offloaded text encoder counts while it reads"
    assert dataclasses.replace(plan, kept_text=50).total == 155
    assert dataclasses.replace(plan, decode=60).total == 160


@pytest.mark.parametrize(
    "preset, low_bit, offload_text, limit", [("8b-1024", True, True, 24), ("8b-512", False, True, 24)]
)
def test_the_largest_released_model_fits_into_24_gb(preset, low_bit, offload_text, limit):
    config = PRESETS[preset].config
    shapes = preset_shapes(PRESETS[preset])
    options = MemoryOptions(bytes_per_value=2, low_bit=low_bit, offload_text=offload_text)
    plans = [memory_plan(config, template, shapes, options).total for template in config.templates.templates]
    assert max(plans) < limit * GB
    plain = memory_plan(config, config.templates.square, shapes, MemoryOptions(bytes_per_value=2))
    assert 8e9 < sum(len_of(shape) for shape in shapes["transformer"].values()) < 9e9
    assert plain.total > max(plans)


def len_of(shape: Any) -> int:
    return int(torch.Size(shape).numel())


# A model whose shapes are wide enough for its tensors to outweigh what the arithmetic leaves out
WIDE = EditorConfig(
    name="wide",
    autoencoder=AutoencoderConfig(latent_channels=8, base_channels=24, channel_multipliers=(1, 2, 2, 2), norm="pixel"),
    transformer=TransformerConfig(
        width=96,
        depth=4,
        num_heads=4,
        ffn_hidden=384,
        token_bits=8,
        text_channels=16,
        max_text_length=12,
        pool_heads=4,
    ),
    schedule=ScheduleConfig(templates={"square": [[1, 1], [4, 4], [8, 8], [16, 16], [24, 24]]}),
    generation=GenerationConfig(guidance_scale=2.0),
)
DEEP = dataclasses.replace(WIDE, transformer=dataclasses.replace(WIDE.transformer, depth=24, ffn_hidden=96))


@pytest.mark.parametrize("in_strips", [False, True])
@pytest.mark.parametrize("config", [WIDE, DEEP], ids=["decoder", "cache"])
@pytest.mark.parametrize("batch", [1, 2])
def test_an_edit_takes_what_the_plan_says(config, batch, in_strips, monkeypatch):
    if in_strips:
        monkeypatch.setattr(strips, "WHOLE_BYTES", 0)
        monkeypatch.setattr(strips, "STRIP_PIXELS", 8 * 192)
    pipeline = VAREditPipeline(toy_editor(config))
    plan = memory_plan(config, config.templates.square, {}, MemoryOptions(batch=batch))
    with LiveBytes() as live:
        pipeline([picture(30, 30)] * batch, "warmer", seed=5, restore=False)
    # What is not counted: the tokens, the logits and drawn numbers, the text, and short-lived copies.
    assert 0.7 < live.peak / plan.total < 1.4


def test_the_cache_has_no_rows_for_the_last_scale_and_is_dropped_before_decoding():
    pipeline = toy_pipeline()
    requests, options = pipeline.requests(picture(30, 30), "warmer", seed=5)
    [(_, run)] = pipeline._runs(requests, options)
    run.encode()
    scales = run.scales()
    next(scales)
    assert run.generation is not None
    layers = run.generation.cache.layers
    assert layers[0].keys.shape[2] == 25 + 1 + 4 + 9  # the source, and all target scales before the last 25 tokens
    *_, last = scales
    assert last.index == 3 and not layers

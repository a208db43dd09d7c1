"""Configurations: their JSON, what they work out, and every contradiction by its message."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from varedit.config import (
    AutoencoderConfig,
    EditorConfig,
    GenerationConfig,
    ScheduleConfig,
    TransformerConfig,
)
from varedit.errors import ConfigError
from varedit.scales import RELEASED_TEMPLATES, ScaleSchedule

AUTOENCODER: dict[str, Any] = {"latent_channels": 6, "base_channels": 24, "channel_multipliers": [1, 2, 2]}
TRANSFORMER: dict[str, Any] = {
    "width": 24,
    "depth": 3,
    "num_heads": 3,
    "ffn_hidden": 40,
    "token_bits": 24,
    "text_channels": 10,
    "pool_heads": 2,
    "level_rows": 4,
}
TEMPLATES: dict[str, Any] = {"square": [[1, 1], [2, 2], [4, 4]], "wide": [[1, 1], [2, 3], [3, 6]]}


def config(**parts: Any) -> EditorConfig:
    whole: dict[str, Any] = {
        "name": "tiny",
        "autoencoder": AutoencoderConfig.from_dict(AUTOENCODER),
        "transformer": TransformerConfig.from_dict(TRANSFORMER),
        "schedule": ScheduleConfig(templates=TEMPLATES, rotary_reference={"wide": [[1, 1], [2, 3], [3, 6], [5, 9]]}),
        "patch_merge": True,
    }
    return EditorConfig(**{**whole, **parts})


def test_a_configuration_survives_its_json():
    generation = GenerationConfig(guidance_scale=2.5, temperature=0.3, top_k=2, top_p=None)
    for original in (
        config(),
        config(generation=generation, schedule=ScheduleConfig(templates={"square": [[1, 1], [2, 2]]})),
        config(
            schedule=ScheduleConfig(budget="0.25M"),
            transformer=TransformerConfig.from_dict(
                {**TRANSFORMER, "level_rows": 15, "reference": "finest", "rotary_layout": "released_flat"}
            ),
        ),
        config(
            autoencoder=AutoencoderConfig.from_dict(
                {
                    **AUTOENCODER,
                    "norm": "pixel",
                    "stem_patch": 4,
                    "step_sizes": (1.0, 0.5),
                    "linear_path": True,
                    "res_blocks_per_level": 1,
                }
            ),
            transformer=TransformerConfig.from_dict({**TRANSFORMER, "token_bits": 6, "source_residual": True}),
            patch_merge=False,
        ),
    ):
        again = EditorConfig.from_json(original.to_json())
        assert again == original
        assert again.to_json() == original.to_json()
        assert [template.schedule for template in again.templates.templates] == [
            template.schedule for template in original.templates.templates
        ]


def test_what_a_configuration_works_out():
    tiny = config()
    assert tiny.autoencoder.downscale == 4
    assert tiny.token_pixels == 8
    assert config(transformer=replace(tiny.transformer, token_bits=6), patch_merge=False).token_pixels == 4
    assert tiny.transformer.head_width == 8
    assert replace(tiny.autoencoder, stem_patch=3).downscale == 12


def test_own_templates_are_their_own_position_table_unless_a_longer_one_is_given():
    square, wide = config().templates.templates
    assert (square.name, square.aspect_ratio, wide.name, wide.aspect_ratio) == ("square", 1.0, "wide", 0.5)
    assert square.rotary_reference == square.schedule
    assert wide.rotary_reference == ScaleSchedule(((1, 1), (2, 3), (3, 6), (5, 9)))


def test_a_budget_means_the_released_templates():
    assert ScheduleConfig(budget="0.06M").template_set() == RELEASED_TEMPLATES.within("0.06M")


@pytest.mark.parametrize(
    "section, changes, message",
    [
        (AutoencoderConfig, {"latent_channels": 0}, "latent_channels must be a positive whole number, not 0"),
        (AutoencoderConfig, {"latent_channels": True}, "latent_channels must be a positive whole number, not True"),
        (AutoencoderConfig, {"base_channels": 24.0}, "base_channels must be a positive whole number, not 24.0"),
        (AutoencoderConfig, {"channel_multipliers": []}, "channel_multipliers must name at least one level"),
        (AutoencoderConfig, {"channel_multipliers": [0, 1]}, "channel_multipliers must be a list of positive whole"),
        (AutoencoderConfig, {"channel_multipliers": 3}, "channel_multipliers must be a list of positive whole"),
        (AutoencoderConfig, {"base_channels": 7}, "group norm needs widths that 32 or 24 divides, not [7, 14, 14]"),
        (
            AutoencoderConfig,
            {"step_sizes": ["0.5"]},
            "step_sizes must be a list of finite numbers of at least 0, not ('0.5',)",
        ),
        (TransformerConfig, {"source_residual": "no"}, "source_residual must be true or false, not 'no'"),
        (TransformerConfig, {"norm_eps": -1.0}, "norm_eps must be a finite number of at least 0, not -1.0"),
        (AutoencoderConfig, {"norm": "batch"}, "norm must be one of group, pixel, not 'batch'"),
        (AutoencoderConfig, {"step_sizes": []}, "step_sizes must be positive numbers, one at least, not []"),
        (
            AutoencoderConfig,
            {"step_sizes": [1.0, 0.0]},
            "step_sizes must be positive numbers, one at least, not [1.0, 0.0]",
        ),
        (AutoencoderConfig, {"widht": 3}, "unknown key(s) in the AutoencoderConfig section: widht"),
        (TransformerConfig, {"num_heads": 5}, "width (24) must be a multiple of num_heads (5)"),
        (TransformerConfig, {"pool_heads": 7}, "width (24) must be a multiple of pool_heads (7)"),
        (TransformerConfig, {"num_heads": 4}, "the head width (width / num_heads = 6) must be a multiple of 4"),
        (TransformerConfig, {"reference": "none"}, "reference must be one of sar, finest, full, not 'none'"),
        (TransformerConfig, {"rotary_layout": "flat"}, "rotary_layout must be one of exact, released_flat, not 'flat'"),
        (TransformerConfig, {"depth": 10**9}, "depth is 1000000000; at most 512 blocks are supported"),
        (TransformerConfig, {"depth": -1}, "depth must be a positive whole number, not -1"),
        (
            TransformerConfig,
            {"reference": "full", "rotary_layout": "released_flat"},
            'reference "full" has no released rotary layout; set rotary_layout to "exact"',
        ),
    ],
)
def test_a_section_tells_what_is_wrong_with_it(section, changes, message):
    valid = AUTOENCODER if section is AutoencoderConfig else TRANSFORMER
    with pytest.raises(ConfigError, match=re.escape(message)):
        section.from_dict({**valid, **changes})


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match=r"TransformerConfig section is incomplete: .*'width'"):
        TransformerConfig.from_dict({key: value for key, value in TRANSFORMER.items() if key != "width"})


@pytest.mark.parametrize("both", [{}, {"budget": "1M", "templates": TEMPLATES}])
def test_a_schedule_is_a_budget_or_templates(both):
    with pytest.raises(ConfigError, match="either a budget or its own templates"):
        ScheduleConfig(**both)


def test_an_unknown_budget_is_told():
    with pytest.raises(ConfigError, match=r"budget must be one of 0\.06M, .*, not '2M'"):
        ScheduleConfig(budget="2M")


def test_parts_that_do_not_fit_each_other_are_told():
    with pytest.raises(ConfigError, match="token_bits is 24, but the autoencoder's latents give 6"):
        config(patch_merge=False)
    too_long = ScheduleConfig(templates={"tall": [[k, 1] for k in range(1, 6)]})
    with pytest.raises(ConfigError, match="template tall has 5 scales; the level embedding has 4 rows"):
        config(schedule=too_long)
    with pytest.raises(ConfigError, match="may not be smaller"):
        config(schedule=ScheduleConfig(templates={"square": [[2, 2], [1, 1]]}))


def edited(**changes: Any) -> str:
    return json.dumps(json.loads(config().to_json()) | changes)


def without(key: str) -> str:
    values = json.loads(config().to_json())
    del values[key]
    return json.dumps(values)


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "not valid JSON"),
        ("[]", 'does not say "format": "varedit"'),
        (edited(format="other"), 'does not say "format": "varedit"'),
        (without("format"), 'does not say "format": "varedit"'),
        (edited(format_version=2), "format version 2; upgrade varedit"),
        (edited(format_version="1"), "format version 1; upgrade varedit"),
        (edited(color="red"), "unknown key(s) ['color']"),
        (without("transformer"), "lacks key(s) ['transformer']"),
        (edited(transformer=5), "the TransformerConfig section must be an object, not 5"),
        (edited(name=5), "name must be text"),
        (edited(patch_merge="yes"), "patch_merge true or false"),
        (edited(generation={"top_p": 7}), "top_p must be from 0 to 1, not 7"),
        (edited(schedule={"templates": [[1, 1]]}), "templates must be an object, or nothing"),
        (
            edited(schedule={"templates": TEMPLATES, "rotary_reference": {"wide": [[1, 1]]}}),
            "the rotary reference of template wide has fewer scales than its schedule",
        ),
        ("[" * 100_000, "not valid JSON"),
        (edited(schedule={"budget": "0.25M", "size": 3}), "unknown key(s) in the ScheduleConfig section: size"),
    ],
)
def test_a_file_tells_what_is_wrong_with_it(text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        EditorConfig.from_json(text)

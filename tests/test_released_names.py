"""Every name and shape of the released checkpoints has its place in our models, and no two share one."""

from __future__ import annotations

import json

import pytest
import torch

from varedit.autoencoder import Autoencoder
from varedit.presets import PRESETS
from varedit.released import (
    IGNORED,
    autoencoder_name,
    blocks_per_chunk,
    released_autoencoder_name,
    released_transformer_name,
    transformer_name,
)
from varedit.transformer.model import VAREditTransformer

TRANSFORMERS = {"2b-512": "2b", "8b-512": "8b", "8b-1024": "8b", "infinity-2b": "2b", "infinity-8b": "8b"}
AUTOENCODERS = {"2b-512": "vae_f16", "8b-512": "vae_f8", "8b-1024": "vae_f8", "infinity-8b-512": "vae_f8"}


def table(golden_dir, name):
    return json.loads((golden_dir / f"state_dict_{name}.json").read_text(encoding="utf-8"))


def learned(released):
    """Name -> shape, without the buffers that hold no learned value."""
    return {
        name: tuple(entry["shape"])
        for name, entry in released["entries"].items()
        if name in released["parameters"] or not IGNORED.match(name)
    }


def shapes_of(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.golden
@pytest.mark.parametrize("preset", TRANSFORMERS)
def test_transformer_names_and_shapes_map_one_to_one(golden_dir, preset):
    released = table(golden_dir, TRANSFORMERS[preset])
    weights = learned(released)
    chunk = blocks_per_chunk(weights)
    assert chunk == released["depth"] // released["block_chunks"]
    with torch.device("meta"):
        ours = shapes_of(VAREditTransformer(PRESETS[preset].config.transformer))
    mapped = {transformer_name(name, chunk): shape for name, shape in weights.items()}
    assert len(mapped) == len(weights) == len(released["parameters"])
    assert mapped == ours
    assert {released_transformer_name(name, chunk) for name in ours} == set(weights)


@pytest.mark.golden
@pytest.mark.parametrize("preset", AUTOENCODERS)
def test_autoencoder_names_and_shapes_map_one_to_one(golden_dir, preset):
    released = table(golden_dir, AUTOENCODERS[preset])
    weights = learned(released)
    with torch.device("meta"):
        ours = shapes_of(Autoencoder(PRESETS[preset].config.autoencoder))
    mapped = {autoencoder_name(name): shape for name, shape in weights.items()}
    assert len(mapped) == len(weights) == len(released["parameters"])
    assert mapped == ours
    assert {released_autoencoder_name(name) for name in ours} == set(weights)


@pytest.mark.golden
@pytest.mark.parametrize("name", ["vae_f16", "vae_f8"])
def test_autoencoder_names_without_the_inner_part_mean_the_same(golden_dir, name):
    for released in learned(table(golden_dir, name)):
        *module, inner, leaf = released.split(".")
        assert inner in ("conv", "norm")
        assert autoencoder_name(".".join([*module, leaf])) == autoencoder_name(released)


@pytest.mark.golden
@pytest.mark.parametrize("name", ["2b", "8b", "vae_f16", "vae_f8"])
def test_what_is_ignored_is_never_a_parameter(golden_dir, name):
    released = table(golden_dir, name)
    ignored = {entry for entry in released["entries"] if IGNORED.match(entry)}
    assert ignored == set(released["entries"]) - set(released["parameters"]) and ignored


def test_names_of_one_known_weight_each():
    # Block 6 of chunks of 4 is the third of the second chunk.
    assert (
        transformer_name("block_chunks.1.module.2.sa.mat_qkv.weight", 4) == "blocks.6.attention.query_key_value.weight"
    )
    assert transformer_name("blocks.6.sa.mat_qkv.weight", 4) == "blocks.6.attention.query_key_value.weight"
    assert transformer_name("text_proj_for_ca.2.bias", 4) == "text_project.2.bias"
    assert autoencoder_name("decoder.up.3.upsample.conv.conv.bias") == "decoder.levels.3.resample.conv.bias"
    assert autoencoder_name("encoder.mid.block_2.norm1.norm.weight") == "encoder.middle.1.norm1.weight"


@pytest.mark.parametrize("name", ["block_chunks.0.module.0.ca_gamma", "blocks.0.ada_lin.1.weight", "norm0.weight", "x"])
def test_a_weight_of_another_variant_is_in_no_table(name):
    with pytest.raises(KeyError):
        transformer_name(name, 4)

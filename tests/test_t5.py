"""The T5 encoder against the published implementation, and the arithmetic of its parts by hand."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch.testing import assert_close
from transformers import T5Config as PublishedConfig
from transformers import T5EncoderModel

from varedit.errors import ConfigError
from varedit.t5 import T5Config, T5Encoder, distance_buckets

SIZES = T5Config(vocab_size=11, d_model=24, d_kv=6, d_ff=20, num_layers=3, num_heads=5)
IDS = torch.tensor([[3, 4, 9, 7, 1], [5, 1, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])


def published(config: T5Config) -> T5EncoderModel:
    torch.manual_seed(0)
    model: T5EncoderModel = T5EncoderModel(PublishedConfig(**dataclasses.asdict(config))).eval().requires_grad_(False)
    return model


def ours(config: T5Config, theirs: T5EncoderModel) -> T5Encoder:
    encoder = T5Encoder(config).eval().requires_grad_(False)
    alias = "encoder.embed_tokens.weight"  # a second name of the same table
    encoder.load_state_dict({name: value for name, value in theirs.state_dict().items() if name != alias})
    return encoder


@pytest.mark.parametrize("form", ["gated-gelu", "relu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_states_are_those_of_the_published_encoder(form, dtype, tmp_path):
    config = dataclasses.replace(SIZES, feed_forward_proj=form)
    theirs = published(config)
    encoder = ours(config, theirs)
    encoder.compute_in(dtype)
    theirs.save_pretrained(tmp_path)
    theirs = T5EncoderModel.from_pretrained(tmp_path, dtype=dtype).eval()  # keeps some of it in float32 by itself
    kept = {name for name, value in theirs.named_parameters() if value.dtype == torch.float32}
    assert {name for name, value in encoder.named_parameters() if value.dtype == torch.float32} == kept
    with torch.no_grad():
        expected = theirs(input_ids=IDS, attention_mask=MASK).last_hidden_state
        found = encoder(IDS, MASK)
    assert found.dtype == expected.dtype
    # Of order one. The published GELU rounds after each of its eight steps, ours once.
    assert_close(found[MASK.bool()], expected[MASK.bool()], rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_padding_changes_nothing():
    encoder = ours(SIZES, published(SIZES))
    alone = encoder(IDS[1:, :2], MASK[1:, :2])
    assert_close(encoder(IDS, MASK)[1:, :2], alone, rtol=1e-5, atol=1e-6)


def test_distances_share_rows_as_they_grow():
    # 8 rows: 4 a side, of which 2 stand for one distance each, one for the range from 2 on, one for that from 4 on
    # (with 8 the farthest: half way from 2 to 8 in proportion is 4).
    distances = torch.tensor([-9, -8, -4, -3, -2, -1, 0, 1, 2, 3, 4, 9])
    assert distance_buckets(distances, 8, 8).tolist() == [3, 3, 3, 2, 2, 1, 0, 5, 6, 6, 7, 7]


def test_states_in_float16_are_held_within_its_range():
    encoder = T5Encoder(SIZES).eval().requires_grad_(False)
    encoder.half()  # the last matrices too, so that what they give runs over
    encoder.encoder.block[0].layer[1].DenseReluDense.wo.weight.fill_(60000)  # type: ignore[union-attr, index]
    assert encoder(IDS, MASK).isfinite().all()


def test_a_configuration_survives_being_written():
    config = dataclasses.replace(SIZES, feed_forward_proj="relu", layer_norm_epsilon=1e-5)
    assert T5Config.from_json(config.to_json()) == config
    assert PublishedConfig.from_dict(json.loads(config.to_json())).dense_act_fn == "relu"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "not valid JSON"),
        ("[]", "model_type"),
        ('{"model_type": "bert"}', "model_type"),
        ('{"model_type": "t5", "d_model": 3}', "incomplete"),
        (SIZES.to_json().replace('"d_ff": 20', '"d_ff": 0'), "d_ff of a text encoder must be a positive whole number"),
        (SIZES.to_json().replace("gated-gelu", "gated-silu"), "gated-silu"),
    ],
)
def test_a_configuration_that_is_none_is_refused(text, part):
    with pytest.raises(ConfigError, match=part):
        T5Config.from_json(text)

"""Attention as it is shown: the model's own, of the right keys, and summed up as it says."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast, get_args

import pytest
import torch
from torch.testing import assert_close

from tests.toys import CONFIG, picture, toy_pipeline
from varedit.config import Reference
from varedit.errors import UsageError
from varedit.evaluation.attention import (
    AttentionChoice,
    EditAttention,
    KeyGroup,
    _Recorder,
    attention_of_edit,
    key_groups,
    token_distances,
    usual_layers,
)
from varedit.evaluation.attention_calls import AttentionCall, watch_attention
from varedit.images import read_image
from varedit.pipeline import VAREditPipeline
from varedit.scales import ScaleSchedule
from varedit.transformer.attention import as_addend, merge_heads
from varedit.transformer.block import Block

REFERENCES = get_args(Reference)
PHOTOGRAPH = read_image(picture(44, 25))  # falls to the wide template, on which no grid divides the next one
WORDS = "make it black and white"


def pipeline_of(reference: Reference, depth: int = 2) -> VAREditPipeline:
    transformer = dataclasses.replace(CONFIG.transformer, reference=reference, source_residual=True, depth=depth)
    return toy_pipeline(dataclasses.replace(CONFIG, transformer=transformer))


def blocks_of(pipeline: VAREditPipeline) -> list[Block]:
    return cast(list[Block], list(pipeline.editor.transformer.blocks))


def watched(pipeline: VAREditPipeline, **settings: Any) -> list[AttentionCall]:
    calls: list[AttentionCall] = []

    def keep(call: AttentionCall) -> None:
        calls.append(dataclasses.replace(call, k=call.k.clone(), v=call.v.clone()))

    with watch_attention(pipeline.editor.transformer, keep):
        pipeline(PHOTOGRAPH, WORDS, seed=3, **settings)
    return calls


def looked(reference: Reference, **choice: Any) -> EditAttention:
    return attention_of_edit(pipeline_of(reference), PHOTOGRAPH, WORDS, AttentionChoice(**choice), seed=3)


# The calls


@pytest.mark.usefixtures("text_form")
@pytest.mark.parametrize("reference", REFERENCES)
def test_weights_times_values_are_what_the_model_goes_on_with(reference):
    """Held against what enters the projections after attention, in every layer and scale, of both branches."""
    pipeline, entered = pipeline_of(reference), dict[bool, list[torch.Tensor]]()
    for is_text in (False, True):
        entered[is_text] = []
        for block in blocks_of(pipeline):
            part = block.cross_attention if is_text else block.attention
            part.project.register_forward_pre_hook(lambda _, given, seen=entered[is_text]: seen.append(given[0]))
    calls = watched(pipeline)
    depth, scales = len(blocks_of(pipeline)), 4
    for is_text in (False, True):
        asked = [call for call in calls if call.is_text is is_text and call.scale is not None]
        places = [(call.layer, call.scale) for call in asked]
        assert places == [(layer, scale) for scale in range(scales) for layer in range(depth)]
        source = depth - 1  # calls: its pass came first, and does without the last layer's attention
        for call, found in zip(asked, entered[is_text][source:], strict=True):
            heads = [
                [call.weights(item, head) @ call.v[item, head] for head in range(3)] for item in range(len(call.q))
            ]
            assert_close(merge_heads(torch.stack([torch.stack(item) for item in heads])), found)


@pytest.mark.parametrize("reference", REFERENCES)
def test_each_group_of_keys_is_what_it_is_called(reference):
    """Held against the keys that the source had when it was read, and the target's when they were queries' siblings."""
    pipeline = pipeline_of(reference, depth=3)
    (request,), options = pipeline.requests(PHOTOGRAPH, WORDS, seed=3)
    layout = pipeline.editor.layout(pipeline.template(request, options))
    calls = [call for call in watched(pipeline) if not call.is_text]
    for layer in range(2):  # in the last one the source's tokens ask nothing
        source, *steps = [call for call in calls if call.layer == layer and call.q.shape[2] != 0 and is_whole(call)]
        assert source.k.shape[2] == layout.num_source
        starts = dict(zip(layout.source_levels, layout.source_starts, strict=True))
        for call in steps:
            assert call.scale is not None
            groups = key_groups(layout, call.scale, layer)
            parts = call.k.split([math.prod(group.grid) for group in groups], dim=2)
            for group, part in zip(groups, parts, strict=True):
                if not group.is_source:
                    expected = steps[group.scale].k[: len(part), :, -part.shape[2] :]
                elif reference == "sar" and layer == 0:
                    kept = source.k[:, :, : layout.num_source].transpose(2, 3).unflatten(3, layout.schedule.final)
                    maps = torch.nn.functional.adaptive_avg_pool2d(kept.flatten(0, 1), group.grid)
                    expected = maps.flatten(2).unflatten(0, kept.shape[:2]).transpose(2, 3)[: len(part)]
                else:
                    start = starts[group.scale]
                    expected = source.k[: len(part), :, start : start + part.shape[2]]
                assert_close(part, expected)


def is_whole(call: AttentionCall) -> bool:
    """Of a source's pass, the first call only: it has the keys of all groups."""
    return call.scale is not None or call.k.shape[2] in (28, 1 + 6 + 12 + 28)


@pytest.mark.usefixtures("text_form")
def test_an_edit_that_is_watched_is_the_same_and_the_model_is_left_as_it_was():
    pipeline = pipeline_of("sar")
    before = pipeline(PHOTOGRAPH, WORDS, seed=3, output_type="bits").images[0]
    with watch_attention(pipeline.editor.transformer, lambda call: None):
        during = pipeline(PHOTOGRAPH, WORDS, seed=3, output_type="bits").images[0]
    assert all(map(torch.equal, before, during))
    for module in pipeline.editor.transformer.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_masked_keys_have_no_weight_and_heads_average():
    q, k = (torch.randn(1, 2, count, 4, generator=torch.Generator().manual_seed(count)) for count in (3, 5))
    is_seen = torch.tensor([True, True, False, True, False])
    mask = as_addend(is_seen.view(1, 1, 1, 5), torch.float32)
    call = AttentionCall(layer=0, scale=0, is_text=True, q=q, k=k, v=k, mask=mask, factor=0.5, attended=q)
    weights = call.weights(0)
    assert_close(weights.sum(1), torch.ones(3))
    assert torch.equal(weights > 0, is_seen.expand(3, 5))
    assert_close(weights, (call.weights(0, 0) + call.weights(0, 1)) / 2)


def test_weights_do_not_depend_on_how_many_queries_are_taken_at_once(monkeypatch):
    q, k = (torch.randn(1, 2, count, 4, generator=torch.Generator().manual_seed(count)) for count in (7, 5))
    call = AttentionCall(layer=0, scale=0, is_text=False, q=q, k=k, v=k, mask=None, factor=1.0, attended=q)
    at_once = call.weights(0)
    monkeypatch.setattr("varedit.evaluation.attention_calls.WEIGHTS_AT_ONCE", 2 * 5 * 3)
    assert_close(call.weights(0), at_once)


# What is made of them


def summary_of(weights: torch.Tensor, words: torch.Tensor, mark=(0.0, 0.0)):
    """Of the second scale, (1, 2) tokens, of a `finest` model whose source has (2, 4) of them."""
    pipeline = pipeline_of("finest")
    layout = pipeline.editor.layout(pipeline.config.templates.square)
    schedule = ScaleSchedule(((1, 1), (1, 2), (2, 4)))
    layout = dataclasses.replace(layout, schedule=schedule, source_grids=((2, 4),))
    return _Recorder(layout, (0,), AttentionChoice(mark=mark))._summary(0, 1, weights, words)


def test_numbers_by_hand():
    weights = torch.zeros(2, 8 + 1 + 2)
    weights[0, 0], weights[0, 8], weights[0, 9] = 0.5, 0.2, 0.3  # one place in the source
    weights[1, [2, 6]], weights[1, 10] = 0.25, 0.5  # two places, one below the other
    found = summary_of(weights, torch.tensor([[0.25, 0.75], [0.75, 0.25]]))
    assert found.groups == (KeyGroup(True, 2, (2, 4)), KeyGroup(False, 0, (1, 1)), KeyGroup(False, 1, (1, 2)))
    assert found.shares == pytest.approx((0.5, 0.1, 0.4))
    assert (found.source_share, found.own_share) == pytest.approx((0.5, 0.4))
    assert found.source_shares == pytest.approx({1: 0.5})
    assert found.source_places == pytest.approx((1 + 2) / 2)
    # The picture is 0.5 high and 1 wide: queries at (0.25, 0.25) and (0.25, 0.75), source tokens 0.25 apart.
    assert found.source_distance == pytest.approx(math.hypot(0.125, 0.125))
    assert found.words == pytest.approx((0.5, 0.5))


def test_maps_by_hand():
    weights = torch.arange(22.0).view(2, 11)
    left, right = (summary_of(weights, torch.tensor([[0.1, 0.9], [0.4, 0.6]]), mark) for mark in ((0, 0.9), (1, 1)))
    assert left.maps is not None and right.maps is not None
    assert left.maps.marked[0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert right.maps.marked[2].tolist() == [[20, 21]]
    assert left.maps.mean[1].tolist() == [[(8 + 19) / 2]]
    assert left.maps.tokens[2].tolist() == [[9, 10], [20, 21]]
    assert left.maps.words == pytest.approx(torch.tensor([[[0.1, 0.4]], [[0.9, 0.6]]]).numpy())


def test_distances_are_those_between_the_middles_of_tokens():
    schedule = ScaleSchedule(((1, 1), (3, 4)))
    groups = (KeyGroup(True, 1, (3, 4)), KeyGroup(True, 0, (1, 1)), KeyGroup(False, 0, (1, 1)))
    distances = token_distances(schedule, groups)
    sides = (0.75, 1.0)
    by_hand = [
        math.hypot(((y + 0.5) / 3 - 0.5) * sides[0], ((x + 0.5) / 4 - 0.5) * sides[1])
        for y in range(3)
        for x in range(4)
    ]
    assert distances[0].tolist() == pytest.approx([*by_hand, 0.0])


@pytest.mark.parametrize("reference", REFERENCES)
def test_shares_by_scale_distance_follow_the_reference(reference):
    found = looked(reference)
    assert (found.reference, found.words) == (reference, ("make", "it", "black", "and", "white", "</s>"))
    for layer, scales in enumerate(found.layers):
        for scale, each in enumerate(scales):
            distances = {"finest": [3 - scale], "full": list(range(0, -scale - 1, -1))}
            aligned = reference == "sar" and layer == 0
            assert list(each.source_shares) == ([0] if aligned else distances.get(reference, [3 - scale]))
            assert sum(each.shares) == pytest.approx(1) and sum(each.words) == pytest.approx(1)
            assert 0 < each.own_share < 1 and 0 < each.source_share < 1


def test_a_head_of_its_own_is_not_the_mean():
    shares = {looked("sar", head=head).layers[1][3].shares for head in (None, 2)}
    assert len(shares) == 2


def test_only_the_branch_with_the_instruction_is_shown():
    """The first scale comes before any draw, so its attention is the same with guidance and without."""
    one, two = (
        attention_of_edit(pipeline_of("full"), PHOTOGRAPH, WORDS, AttentionChoice(), seed=3, guidance_scale=strength)
        for strength in (1.0, 4.0)
    )
    assert one.layers[1][0].words == pytest.approx(two.layers[1][0].words, rel=1e-4)


def test_chosen_layers_have_maps_and_others_none():
    found = looked("sar", layers=(1,))
    assert [[each.maps is not None for each in scales] for scales in found.layers] == [[False] * 4, [True] * 4]
    assert [usual_layers(depth) for depth in (1, 2, 4, 6, 32)] == [
        (0,),
        (0, 1),
        (0, 1, 3),
        (0, 1, 3, 5),
        (0, 1, 3, 7, 15, 31),
    ]


@pytest.mark.parametrize(
    ("choice", "part"),
    [
        ({"layers": (2,)}, "there is no layer 3; toy has layers 1 to 2"),
        ({"head": 3}, "there is no head 4; toy has heads 1 to 3"),
        ({"scales": (4,)}, "there is no scale 5; toy has scales 1 to 4"),
        ({"mark": (0.5, 1.5)}, "from 0,0 to 1,1"),
        ({"mark": (math.nan, 0.5)}, "from 0,0 to 1,1"),
    ],
)
def test_what_the_model_does_not_have_is_said(choice, part):
    with pytest.raises(UsageError, match=part):
        looked("sar", **choice)

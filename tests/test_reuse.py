"""Edit-aware reuse: what is computed, what is kept, and that both are exactly what they should be."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from tests.listening import HearingSampler
from tests.tiny import SQUARE, TinyEditor, single, tiny_config, tiny_editor, tiny_text
from tests.toys import CONFIG, picture, toy_pipeline
from varedit.errors import ConfigError, UsageError
from varedit.generation import GeneratedScale, Generation
from varedit.quantizer import latents_to_tokens
from varedit.reuse import ReuseSettings, ScalePlaces, find_reuse
from varedit.sampling import SamplingSettings, draw_uniforms
from varedit.scales import ScaleSchedule

SHARP = SamplingSettings(guidance=2.0, temperature=0.7)
ALWAYS_CHANGED = ReuseSettings(first_scale=2, tolerance=0.0, margin=5)  # the margin is as wide as the picture
EXACT = ReuseSettings(first_scale=2, tolerance=0.0, margin=0)


def begun(editor: TinyEditor, source: Tensor, settings: list[SamplingSettings], **reuse: Any) -> Generation:
    lengths = (4, 7, 2)[: len(source)]
    text = tiny_text(lengths)
    generators = [torch.Generator().manual_seed(50 + item) for item in range(len(source))]
    return Generation.begin(
        editor.model,
        editor.quantizer,
        editor.layout,
        source,
        text,
        editor.model.unconditional_text(text.lengths),
        HearingSampler.of(settings, len(editor.lengths)),
        draw_uniforms(generators, editor.lengths, editor.model.config.token_bits),
        **reuse,
    )


def sums_of(editor: TinyEditor, source: Tensor) -> tuple[Tensor, ...]:
    return editor.quantizer.encode(source).running


def with_local_edit(generation: Generation, sums: tuple[Tensor, ...], *boxes: tuple[int, int]) -> list[GeneratedScale]:
    """Run a generation whose early sums are the source's, but for one latent place of each item at scale 1."""
    states = []
    for state in generation:
        states.append(state)
        if state.index < 2:
            state.features = sums[state.index].clone()
        if state.index == 1:
            for item, (row, column) in enumerate(boxes):
                state.features[item, :, row, column] += 1.0
    return states


def test_a_margin_as_wide_as_the_picture_computes_everything_exactly():
    editor = tiny_editor(tiny_config(), SQUARE)
    source = editor.features(2, seed=1)
    exact = list(begun(editor, source, [SHARP, SHARP]))
    reused = list(begun(editor, source, [SHARP, SHARP], reuse=ALWAYS_CHANGED))
    for one, other in zip(exact, reused, strict=True):
        assert torch.equal(one.bits, other.bits)
        assert torch.equal(one.features, other.features)


@pytest.mark.parametrize("reference", ["sar", "finest", "full"])
@pytest.mark.parametrize("merge, options", [(1, {"source_residual": True}), (1, {"source_proposal": True}), (2, {})])
def test_a_target_that_equals_the_source_is_the_source_and_costs_nothing(reference, merge, options, monkeypatch):
    editor = tiny_editor(tiny_config(reference=reference, merge=merge, **options), SQUARE)
    source = editor.features(2, seed=2)
    sums = sums_of(editor, source)
    generation = begun(editor, source, [SHARP, SHARP], reuse=EXACT)
    if (proposed := generation.cache.proposal) is not None:
        generation.cache.proposal = proposed._replace(difference=torch.zeros_like(proposed.difference))
    computed = []
    step = editor.model.step

    def counted(*inputs):
        computed.append(1)
        return step(*inputs)

    monkeypatch.setattr(editor.model, "step", counted)
    states = with_local_edit(generation, sums)
    assert len(computed) == 2  # of four scales
    expected = editor.quantizer.encode(source)
    assert torch.equal(states[-1].features, expected.running[-1])
    for state in states[2:]:
        assert torch.equal(state.bits, expected.bits[state.index])


@torch.inference_mode()
@pytest.mark.parametrize("reference", ["sar", "finest", "full"])
@pytest.mark.parametrize("merge, options", [(1, {}), (2, {"source_residual": True})])
def test_only_the_tokens_of_the_edit_are_computed_with_the_keys_of_what_was_computed(reference, merge, options):
    # The oracle computes every token, under a mask that hides the keys of those that reuse leaves out.
    editor = tiny_editor(tiny_config(reference=reference, merge=merge, **options), SQUARE)
    source = editor.features(1, seed=3)
    sums = sums_of(editor, source)
    generation = begun(editor, source, [SHARP], reuse=ReuseSettings(first_scale=2, tolerance=0.0, margin=1))
    states = with_local_edit(generation, sums, (0, 0))
    assert generation.reuse is not None and isinstance(generation.sampler, HearingSampler)
    active = generation.reuse.is_active[0]
    assert active[:2, :2].all() and active.sum() == 4

    oracle = begun(editor, source, [SHARP])
    cache, sampler = oracle.cache, HearingSampler.of([SHARP], 4)
    before = [torch.zeros_like(source), *(state.features for state in states[:-1])]
    for scale in range(4):
        tokens = latents_to_tokens(editor.quantizer.step_input(before[scale], scale), merge).repeat(2, 1, 1)
        residuals = latents_to_tokens(editor.quantizer.residual(source, before[scale], scale), merge).repeat(2, 1, 1)
        places = generation.reuse.places.get(scale)
        if places is not None:
            left_out = torch.ones(2, editor.lengths[scale], dtype=torch.bool)
            left_out[:, places.index[0]] = False
            cache.hide(left_out)
        given = residuals if editor.model.copy_path is not None else None
        conditional, unconditional = editor.model.step(tokens if scale else None, cache, given).chunk(2)
        expected = sampler.guided(conditional, unconditional, scale)
        if places is not None:
            assert places.index.shape[1] < editor.lengths[scale]
            expected = expected[:, places.index[0]]
        assert_close(generation.sampler.heard[scale], expected, rtol=1e-4, atol=1e-4)


def test_what_is_not_active_ends_exactly_as_the_source():
    editor = tiny_editor(tiny_config(merge=2), SQUARE)
    source = editor.features(1, seed=4)
    sums = sums_of(editor, source)
    generation = begun(editor, source, [SHARP], reuse=ReuseSettings(first_scale=2, tolerance=0.0, margin=0))
    states = with_local_edit(generation, sums, (5, 6))
    kept = torch.ones(10, 10, dtype=torch.bool)
    kept[4:6, 6:8] = False  # the token that holds the place
    final = states[-1].features
    assert torch.equal(final[0, :, kept], sums[-1][0, :, kept])
    assert not torch.equal(final[0, :, ~kept], sums[-1][0, :, ~kept])


def test_a_batch_of_unlike_extents_gives_what_each_gives_alone():
    editor = tiny_editor(tiny_config(source_residual=True), SQUARE)
    source = editor.features(3, seed=5)
    sums = sums_of(editor, source)
    settings = [SHARP, SamplingSettings(guidance=3.0, temperature=1.0), SamplingSettings(guidance=1.5, greedy=True)]
    reuse = ReuseSettings(first_scale=2, tolerance=0.0, margin=1)
    places = ((0, 0), (2, 2), (4, 1))  # 4, 9 and 6 tokens with their margins
    batch = begun(editor, source, settings, reuse=reuse)
    together = with_local_edit(batch, sums, *places)
    assert batch.reuse is not None
    assert batch.reuse.is_active.sum(dim=(1, 2)).tolist() == [4, 9, 6]
    for item in range(3):
        text = tiny_text((4, 7, 2))
        alone = Generation.begin(
            editor.model,
            editor.quantizer,
            editor.layout,
            source[item : item + 1],
            single(text, item),
            editor.model.unconditional_text((text.lengths[item],)),
            HearingSampler.of(settings[item : item + 1], 4),
            [uniforms[item : item + 1] for uniforms in batch.uniforms],
            reuse=reuse,
        )
        states = with_local_edit(alone, tuple(part[item : item + 1] for part in sums), places[item])
        for one, all_three in zip(states, together, strict=True):
            assert torch.equal(one.bits[0], all_three.bits[item])
            assert_close(one.features[0], all_three.features[item])


@pytest.mark.parametrize(
    "allowed, computed, filled",  # of 2 x 2, 3 x 3 and 5 x 5 tokens
    [
        ([], [0, 0, 0], [0, 0, 0]),
        ([0], [1, 1, 1], [1, 1, 2]),  # a sixteenth
        (range(5), [2, 3, 5], [2, 5, 13]),  # half
        (range(6), [2, 4, 6], [2, 5, 13]),
        (range(25), [4, 9, 25], [4, 9, 25]),
    ],
)
def test_late_scales_are_filled_up_to_one_share_of_their_tokens(allowed, computed, filled):
    editor = tiny_editor(tiny_config(), SQUARE)
    source, settings = editor.features(1, seed=7), dataclasses.replace(EXACT, first_scale=1)
    mask = torch.zeros(1, 5, 5, dtype=torch.bool)
    mask.view(-1)[list(allowed)] = True
    changed = sums_of(editor, source)[-1] + 9

    def sizes(*, fills_up: bool) -> list[int]:
        found = find_reuse(settings, SQUARE, editor.quantizer, source, changed, mask, fills_up=fills_up)
        counts = []
        for scale, places in found.places.items():
            if places is None:
                counts.append(editor.lengths[scale])
                continue
            drawn = places.index if places.is_padding is None else places.index[~places.is_padding]
            assert drawn.numel() == computed[scale - 1], "the rest is computed for nothing"
            assert len(places.index.unique()) == places.index.shape[1]
            counts.append(places.index.shape[1])
        return counts

    assert sizes(fills_up=False) == computed
    assert sizes(fills_up=True) == filled


def test_what_fills_up_changes_nothing_where_it_is():
    editor = tiny_editor(tiny_config(), SQUARE)
    source = editor.features(1, seed=7)
    sums = sums_of(editor, source)
    runs = []
    for few in (False, True):
        editor.model.prefers_few_lengths = few
        generation = begun(editor, source, [SHARP], reuse=EXACT)
        states = with_local_edit(generation, sums, (0, 0))
        assert generation.reuse is not None
        still = ~generation.reuse.is_active
        assert_close(states[-1].features[:, :, still[0]], sums[-1][:, :, still[0]], rtol=0, atol=0)
        assert generation.cache.seen is None
        runs.append(generation.cache.filled)
    assert runs[1] > runs[0], "more was computed, and is there to be seen"


def test_the_tolerance_is_a_share_of_flipped_bits():
    editor = tiny_editor(tiny_config(), SQUARE)
    source = editor.features(1, seed=6)
    schedule, quantizer = editor.layout.schedule, editor.quantizer
    bits = list(quantizer.encode(source).bits[:2])
    bits[1] = bits[1].clone()
    bits[1][0, 0] ^= True  # one of three channels, everywhere
    features = quantizer.decode(bits)

    def active(tolerance: float) -> int:
        settings = ReuseSettings(first_scale=2, tolerance=tolerance, margin=0)
        return int(find_reuse(settings, schedule, quantizer, source, features, None).is_active.sum())

    assert active(0.34) == 0
    assert active(0.33) >= 4  # a third of the bits differ; the corners show theirs in full
    assert active(0.0) == 25


def test_where_the_source_proposes_nothing_its_own_bits_are_taken():
    editor = tiny_editor(tiny_config(source_proposal=True), SQUARE)
    source = editor.features(2, seed=9)
    generation = begun(editor, source, [SHARP, SHARP], reuse=ReuseSettings(first_scale=2, tolerance=0.1, margin=0))
    proposed = generation.cache.proposal
    assert proposed is not None and proposed.difference.shape == (4, 25, 3)
    proposal = torch.zeros(4, 25, 3)
    proposal[0, 7] = 0.4  # a mean square of 0.16 times 3 / 4 is 0.12 of a code's bits
    proposal[1, 11] = 0.3  # 0.07: below the tolerance
    proposal[2:] = 5.0  # what the branch without the instruction proposes has no say
    generation.cache.proposal = proposed._replace(difference=proposal)
    features = [state.features for state in generation][-1]
    assert generation.reuse is not None
    assert generation.reuse.is_active.flatten(1).nonzero().tolist() == [[0, 7]]
    kept = editor.quantizer.encode(source).running[-1]
    is_kept = (features == kept).all(dim=1).flatten(1)
    assert is_kept[1].all() and is_kept[0].sum() == 24 and not is_kept[0, 7]


def test_a_mask_decides_by_decree():
    editor = tiny_editor(tiny_config(), SQUARE)
    source, other = editor.features(1, seed=7), editor.features(1, seed=8)
    allowed = torch.zeros(1, 5, 5, dtype=torch.bool)
    allowed[0, 1, 2] = True
    found = find_reuse(ALWAYS_CHANGED, editor.layout.schedule, editor.quantizer, source, other, allowed)
    assert torch.equal(found.is_active, allowed)
    places = found.places[3]
    assert places is not None and places.index.tolist() == [[7]]


@pytest.mark.parametrize(("changed", "computed"), [(22, 22), (23, 25)])
def test_an_edit_of_nearly_everything_computes_everything(changed, computed):
    """23 of 25 are over nine tenths, 22 are not."""
    editor = tiny_editor(tiny_config(), SQUARE)
    source, proposal = editor.features(2, seed=7), torch.zeros(2, editor.features(1, seed=7).shape[1], 5, 5)
    proposal[0].flatten(1)[:, :changed] = 1.0
    settings = ReuseSettings(first_scale=2, tolerance=0.1, margin=0)
    found = find_reuse(settings, editor.layout.schedule, editor.quantizer, source, source, None, proposal)
    assert found.is_active.sum(dim=(1, 2)).tolist() == [computed, 0]


def test_places_pick_and_put_tokens_of_each_item():
    tokens = torch.arange(12.0).view(2, 3, 2)
    places = ScalePlaces(torch.tensor([[2, 0], [1, 2]]), torch.tensor([[False, True], [False, False]]))
    assert places.pick(tokens).tolist() == [[[4, 5], [0, 1]], [[8, 9], [10, 11]]]
    put = places.put(-torch.ones(2, 2, 2), tokens)
    assert put.tolist() == [[[0, 1], [2, 3], [-1, -1]], [[6, 7], [-1, -1], [-1, -1]]]


def test_where_reuse_begins():
    mini = ScaleSchedule(((1, 1), (2, 2), (4, 4), (8, 8), (8, 8), (8, 8)))
    assert ReuseSettings().begins(mini) == 3
    assert ReuseSettings(first_scale=5).begins(mini) == 5
    with pytest.raises(UsageError, match="6 scales"):
        ReuseSettings(first_scale=6).begins(mini)


@pytest.mark.parametrize("wrong", [{"first_scale": 0}, {"tolerance": 1.5}, {"tolerance": -0.1}, {"margin": -1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match="reuse"):
        ReuseSettings(**wrong)


def test_guidance_of_one_at_the_end_leaves_the_second_branch_and_changes_nothing():
    editor = tiny_editor(tiny_config(source_residual=True), SQUARE)
    source = editor.features(2, seed=9)
    late = [SamplingSettings(guidance=[3.0, 2.0, 1.0, 1.0]), SamplingSettings(guidance=[2.0, 1.0, 1.0, 1.0])]
    dropped, kept = begun(editor, source, late), begun(editor, source, late)
    assert dropped.sampler.guided_scales == 2
    kept.sampler = dataclasses.replace(kept.sampler, guided_scales=4)
    for one, other in zip(dropped, kept, strict=True):
        assert torch.equal(one.bits, other.bits)
        if one.index == 2:
            assert len(dropped.cache.layers[0].keys) == 2 and len(kept.cache.layers[0].keys) == 4
    assert (dropped.branches, kept.branches) == (1, 2)


@pytest.mark.parametrize("restore", [True, False])
def test_pixels_outside_the_active_tokens_are_the_photographs_own(restore):
    pipeline = toy_pipeline()
    image = picture(100, 100, 3)
    mask = np.zeros((100, 100), np.uint8)
    mask[:20, :20] = 255  # of the 25 tokens the first alone
    output = pipeline(
        image,
        "warmer",
        seed=3,
        mask=Image.fromarray(mask),
        restore=restore,
        reuse=ReuseSettings(first_scale=2, tolerance=0.0),
    )
    result = np.asarray(output.images[0])
    outside = mask == 0
    assert np.array_equal(result[outside], np.asarray(image)[outside])
    if not restore:  # restoring may take what random weights do for noise
        assert not np.array_equal(result, np.asarray(image))
    assert output.settings[0]["reuse"] == {"first_scale": 2, "tolerance": 0.0, "margin": 1, "nearly_all": 0.9}


def test_reuse_without_a_mask_keeps_every_pixel_that_it_did_not_compute():
    pipeline = toy_pipeline()
    image = picture(90, 90, 4)
    requests, options = pipeline.requests(image, "warmer", seed=3, reuse=EXACT)
    ((_, run),) = pipeline._runs(requests, options)
    run.encode()
    sums = pipeline.editor.quantizer(run.template).encode(run.source).running
    for state in run.scales():
        if state.index == 1:
            run.features = sums[1].clone()
            run.features[0, :, 2:4, 1] += 1
    assert run.generation is not None and run.generation.reuse is not None
    active = run.generation.reuse.is_active[0].numpy()
    assert np.argwhere(active).tolist() == [[2, 1], [3, 1]]
    still = ~np.kron(active, np.ones((18, 18), bool))
    for result in (run.restored(run.decoded())[0].rgb, run.raw(run.decoded())[0]):
        assert np.array_equal(result[still], np.asarray(image)[still])
    assert not np.array_equal(result, np.asarray(image))


def test_a_model_may_bring_its_own_reuse():
    own = dataclasses.replace(CONFIG.generation, reuse={"first_scale": 3, "tolerance": 0.1})
    pipeline = toy_pipeline(dataclasses.replace(CONFIG, generation=own))

    def chosen(given):
        return pipeline.requests(picture(20, 20), "it", reuse=given)[1].reuse

    assert chosen(None) == chosen(True) == ReuseSettings(first_scale=3, tolerance=0.1)
    assert chosen(False) is None
    assert chosen(ReuseSettings(margin=2)) == ReuseSettings(margin=2)
    assert toy_pipeline().requests(picture(20, 20), "it")[1].reuse is None


@pytest.mark.parametrize("wrong", [{"first": 1}, {"tolerance": 3.0}, {"margin": "wide"}])
def test_a_models_reuse_that_is_none_is_one_sentence(wrong):
    own = dataclasses.replace(CONFIG.generation, reuse=wrong)
    pipeline = toy_pipeline(dataclasses.replace(CONFIG, generation=own))
    with pytest.raises(ConfigError, match="a reuse that is none"):
        pipeline.requests(picture(20, 20), "it")

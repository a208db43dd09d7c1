"""The transformer on toy sizes: its two passes are one, and nothing sees what it should not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from tests.listening import StartedKernels, inputs_of, outputs_of
from tests.tiny import (
    SQUARE,
    TEXT_CHANNELS,
    TEXT_LENGTHS,
    WIDE,
    Forced,
    TinyEditor,
    random,
    single,
    tiny_config,
    tiny_editor,
    tiny_text,
)
from tests.toys import CONFIG
from varedit.autoencoder import Autoencoder
from varedit.config import TransformerConfig
from varedit.errors import ConfigError
from varedit.precision import set_compute_dtype
from varedit.quantizer import latents_to_tokens
from varedit.text_features import TextFeatures
from varedit.transformer.attention import SelfAttention
from varedit.transformer.collage import Layers, composed
from varedit.transformer.copy_path import COPY_SCALE, PLACE_WAVES, Proposed
from varedit.transformer.model import VAREditTransformer
from varedit.transformer.places import place_waves

references = pytest.mark.parametrize("reference", ["sar", "finest", "full"])
with_or_without_copy_path = pytest.mark.parametrize("source_residual", [False, True], ids=["plain", "copy path"])
LAYOUTS = [
    ("sar", "exact"),
    ("sar", "released_flat"),
    ("finest", "exact"),
    ("finest", "released_flat"),
    ("full", "exact"),  # it has no released layout
]


def true_inputs(editor: TinyEditor, batch: int = 3) -> Forced:
    """Source and target features, unlike each other, as inputs of all scales."""
    sums = editor.quantizer.encode(editor.features(batch, seed=11)).running[:-1]
    return editor.forced(editor.features(batch, seed=10), sums)


def by_scale(logits: Tensor, lengths: tuple[int, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.split(logits, list(lengths), dim=1))


@pytest.mark.parametrize("schedule", [SQUARE, WIDE], ids=["square", "wide"])
@pytest.mark.parametrize("reference, rotary_layout", LAYOUTS)
@pytest.mark.parametrize("merge", [1, 2])
@with_or_without_copy_path
def test_training_pass_and_generation_give_the_same_logits(schedule, reference, rotary_layout, merge, source_residual):
    config = tiny_config(reference=reference, rotary_layout=rotary_layout, merge=merge, source_residual=source_residual)
    editor = tiny_editor(config, schedule)
    for text in (tiny_text(), tiny_text((5,))):
        forced = true_inputs(editor, len(text.lengths))
        passed, stepped = editor.teacher_forced(forced, text), editor.cached(forced, text)
        assert_close(stepped, passed, rtol=1e-4, atol=1e-4 * passed.std().item())


@references
def test_a_pass_that_learns_is_the_one_that_does_not(reference):
    """Attention has a way of its own where a CPU is to learn."""
    editor = tiny_editor(tiny_config(reference=reference))
    editor.model.requires_grad_(True)
    for text in (tiny_text(), tiny_text((5,))):
        forced = true_inputs(editor, len(text.lengths))
        learning = editor.teacher_forced(forced, text)
        with torch.no_grad():
            looking = editor.teacher_forced(forced, text)
        assert learning.requires_grad
        assert_close(learning.detach(), looking, rtol=1e-4, atol=1e-4 * looking.std().item())


@pytest.mark.parametrize("reference, rotary_layout", LAYOUTS)
@with_or_without_copy_path
def test_the_coarsest_scales_alone_have_the_logits_that_they_have_among_all(reference, rotary_layout, source_residual):
    config = tiny_config(reference=reference, rotary_layout=rotary_layout, source_residual=source_residual)
    editor = tiny_editor(config)
    text, forced = tiny_text(), true_inputs(editor)
    among_all = editor.teacher_forced(forced, text)
    for count in range(1, len(editor.lengths) + 1):
        end = sum(editor.lengths[:count])
        residuals = None if forced.residuals is None else forced.residuals[:, :end]
        inputs = forced.step_inputs[:, : end - 1]
        alone = editor.model(forced.source, inputs, text, editor.layout.coarsest(count), residuals)
        assert_close(alone, among_all[:, :end], rtol=1e-4, atol=1e-4 * among_all.std().item())


@references
@with_or_without_copy_path
def test_a_scale_sees_coarser_scales_and_no_finer_one(reference, source_residual):
    editor = tiny_editor(tiny_config(reference=reference, source_residual=source_residual))
    text, forced = tiny_text(), true_inputs(editor)
    before = by_scale(editor.teacher_forced(forced, text), editor.lengths)
    for moved in range(1, len(editor.lengths)):
        other = forced.with_scale_moved(editor.lengths, moved)
        after = by_scale(editor.teacher_forced(other, text), editor.lengths)
        for scale in range(len(editor.lengths)):
            if scale < moved:
                assert_close(after[scale], before[scale])
            else:  # the mask is not simply empty
                assert not torch.allclose(after[scale], before[scale], atol=1e-3)


@references
def test_within_a_scale_every_token_sees_every_other(reference):
    editor = tiny_editor(tiny_config(reference=reference))
    text, forced = tiny_text(), true_inputs(editor)
    before = editor.teacher_forced(forced, text)
    for place in (0, 5):  # first and last token of the second scale
        moved = forced.step_inputs.clone()
        moved[:, place] += 1.0
        after = editor.teacher_forced(replace(forced, step_inputs=moved), text)
        reached = (after - before).abs().amax(dim=(0, 2, 3))[1:7] > 1e-5
        assert reached.all()


@references
def test_the_source_sees_no_target(reference):
    editor = tiny_editor(tiny_config(reference=reference))
    text, forced = tiny_text(), true_inputs(editor)
    other = forced.with_source_moved(editor.num_source - 1, editor.num_source)
    with outputs_of(editor.model.blocks[-1]) as states:
        editor.teacher_forced(forced, text)
        editor.teacher_forced(forced.with_scale_moved(editor.lengths, 1), text)
        editor.teacher_forced(other, text)
    before, target_moved, source_moved = (state[:, : editor.num_source] for state in states)
    assert_close(target_moved, before)
    assert not torch.allclose(source_moved, before, atol=1e-3)


def test_sar_and_finest_differ_in_the_first_layer_for_every_target_but_the_last_scale():
    sar = tiny_editor(tiny_config(reference="sar"))
    finest = tiny_editor(tiny_config(reference="finest"))
    finest.model.load_state_dict(sar.model.state_dict())
    text, forced = tiny_text(), true_inputs(sar)
    with outputs_of(sar.model.blocks[0]) as sar_states, outputs_of(finest.model.blocks[0]) as finest_states:
        sar.teacher_forced(forced, text)
        finest.teacher_forced(forced, text)
    differs = (sar_states[0] - finest_states[0]).abs().amax(dim=(0, 2)) > 1e-4
    last = len(differs) - sar.lengths[-1]
    assert not differs[: sar.num_source].any()
    assert differs[sar.num_source : last].all()
    assert not differs[last:].any()


@pytest.mark.parametrize("moved", range(4))
def test_full_shows_a_target_scale_no_finer_scale_of_the_source(moved):
    editor = tiny_editor(tiny_config(reference="full"))
    text, forced = tiny_text(), true_inputs(editor)
    start = editor.layout.source_starts[len(editor.lengths) - 1 - moved]  # finest first
    other = forced.with_source_moved(start, start + editor.lengths[moved])
    before = by_scale(editor.teacher_forced(forced, text), editor.lengths)
    after = by_scale(editor.teacher_forced(other, text), editor.lengths)
    for scale in range(len(editor.lengths)):
        same = torch.allclose(after[scale], before[scale], atol=1e-5)
        assert same == (scale < moved)


@references
def test_tokens_start_as_their_embedding_with_the_level_of_their_scale(reference):
    editor = tiny_editor(tiny_config(reference=reference, source_residual=True))
    model, text, forced = editor.model, tiny_text(), true_inputs(editor)
    assert model.copy_path is not None and forced.residuals is not None
    with inputs_of(model.blocks[0]) as states:
        editor.teacher_forced(forced, text)
    levels = model.level_embed.weight
    pooled = model.read_text(text).pooled
    lengths = torch.tensor(editor.lengths)
    shown = [3, 2, 1, 0] if reference == "full" else [3]
    source_levels = levels[shown].repeat_interleave(lengths[shown], dim=0)
    source = model.token_embed(forced.source) + source_levels
    start = pooled[:, None] + model.start_position
    target = torch.cat([start, model.token_embed(forced.step_inputs)], dim=1) + model.copy_path.embed(forced.residuals)
    target = target + levels[:4].repeat_interleave(lengths, dim=0)
    assert_close(states[0], torch.cat([source, target], dim=1))


@references
def test_rows_beyond_an_instruction_are_never_read(reference):
    editor = tiny_editor(tiny_config(reference=reference))
    text, forced = tiny_text(), true_inputs(editor)
    features = text.features.clone()
    for item, length in enumerate(text.lengths):
        features[item, length:] = 100 * random(features.shape[1] - length, TEXT_CHANNELS, seed=item)
    other = TextFeatures(features, text.lengths)
    assert torch.equal(editor.teacher_forced(forced, other), editor.teacher_forced(forced, text))
    assert torch.equal(editor.cached(forced, other), editor.cached(forced, text))


def test_every_word_of_an_instruction_is_read():
    editor = tiny_editor()
    text, forced = tiny_text(), true_inputs(editor)
    before = editor.teacher_forced(forced, text)
    for item, length in enumerate(text.lengths):
        features = text.features.clone()
        features[item, length - 1] += 1.0
        after = editor.teacher_forced(forced, TextFeatures(features, text.lengths))
        changed = [not torch.allclose(a, b, atol=1e-4) for a, b in zip(after, before, strict=True)]
        assert changed == [other == item for other in range(len(text.lengths))]


@references
@with_or_without_copy_path
def test_an_item_of_a_batch_is_as_it_is_alone(reference, source_residual):
    editor = tiny_editor(tiny_config(reference=reference, source_residual=source_residual))
    text, forced = tiny_text(), true_inputs(editor)
    together = editor.teacher_forced(forced, text)
    for item in range(len(text.lengths)):
        one = slice(item, item + 1)
        residuals = None if forced.residuals is None else forced.residuals[one]
        part = Forced(forced.source[one], forced.step_inputs[one], residuals)
        alone = editor.teacher_forced(part, single(text, item))
        assert_close(alone, together[one], rtol=1e-4, atol=1e-4 * together.std().item())


def test_the_null_text_is_as_long_as_the_instruction_that_it_stands_beside():
    editor = tiny_editor()
    forced = true_inputs(editor)
    null = editor.model.unconditional_text(TEXT_LENGTHS)
    assert null.lengths == TEXT_LENGTHS
    together = editor.teacher_forced(forced, null)
    for item, length in enumerate(TEXT_LENGTHS):
        rows = editor.model.null_text[None, :length]
        alone = Forced(forced.source[item : item + 1], forced.step_inputs[item : item + 1], None)
        logits = editor.teacher_forced(alone, TextFeatures(rows, (length,)))
        assert_close(logits, together[item : item + 1], rtol=1e-4, atol=1e-4 * together.std().item())


def test_two_texts_join_and_replace_items_whatever_their_lengths():
    one, two = tiny_text((4, 2), seed=1), tiny_text((3, 6), seed=5)
    joined = one.joined(two)
    assert joined.lengths == (4, 2, 3, 6)
    replaced = one.replaced([1], tiny_text((6,), seed=9))
    assert replaced.lengths == (4, 6)
    for found, item, expected in ((joined, 0, one), (joined, 1, one), (replaced, 0, one)):
        assert torch.equal(single(found, item).features, single(expected, item).features)
    for item in (2, 3):
        assert torch.equal(single(joined, item).features, single(two, item - 2).features)
    assert torch.equal(single(replaced, 1).features, tiny_text((6,), seed=9).features)


def test_every_layer_norm_adds_a_millionth_to_the_variance(monkeypatch):
    # Where states are large, as in the released vectors, a hundred-thousandth would hardly show.
    added = []
    plain = F.layer_norm

    def hearing(x: Tensor, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
        added.append(eps)
        return plain(x, shape, weight, bias, eps)

    monkeypatch.setattr(F, "layer_norm", hearing)
    editor = tiny_editor()
    editor.teacher_forced(true_inputs(editor), tiny_text())
    assert added == [1e-6] * (3 * editor.model.config.depth + 1)  # three in each block, one before the head


def test_attention_scales_end_at_a_hundred():
    editor = tiny_editor()
    text, forced = tiny_text(), true_inputs(editor)
    logits = []
    for first_head in (5.5, 7.0, 4.0):  # log 100 is 4.6
        for part in editor.model.modules():
            if isinstance(part, SelfAttention):
                part.log_scale[0, 0] = first_head
        logits.append(editor.teacher_forced(forced, text))
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2], atol=1e-3)


def test_one_model_serves_two_edits_in_turn():
    editor = tiny_editor()
    text, forced = tiny_text(), true_inputs(editor)
    other_text, other = tiny_text((3, 1, 5), seed=20), forced.with_source_moved(0, editor.num_source)
    inputs: list[Tensor | None] = [None, *forced.step_inputs.split(list(editor.lengths[1:]), dim=1)]
    first = editor.model.prefill(forced.source, text, editor.layout)
    second = editor.model.prefill(other.source, other_text, editor.layout)
    steps = [(editor.model.step(now, first), editor.model.step(now, second)) for now in inputs]
    assert torch.equal(torch.cat([step[0] for step in steps], dim=1), editor.cached(forced, text))
    assert torch.equal(torch.cat([step[1] for step in steps], dim=1), editor.cached(other, other_text))


@pytest.mark.parametrize("dtype, most", [(torch.float32, 24), (torch.bfloat16, 29)], ids=str)
def test_a_step_starts_few_kernels_in_a_block(dtype, most):
    """Small scales take the time in which kernels are started: what an edit needs but once is not computed again."""
    counts = []
    for depth in (2, 3):
        editor = tiny_editor(tiny_config(depth=depth))
        set_compute_dtype(editor.model, Autoencoder(CONFIG.autoencoder), dtype)
        with torch.no_grad():  # not in inference mode, in which what is converted passes for a view
            cache = editor.model.prefill(true_inputs(editor).source, tiny_text(), editor.layout)
            with StartedKernels() as started:
                editor.model.step(None, cache)
        counts.append(len(started.names))
    assert counts[1] - counts[0] <= most


def test_the_copy_path_votes_for_the_sign_of_what_the_source_still_has():
    editor = tiny_editor(tiny_config(source_residual=True))
    model, text, forced = editor.model, tiny_text(), true_inputs(editor)
    assert model.copy_path is not None and forced.residuals is not None
    with inputs_of(model.head) as states:
        logits = editor.teacher_forced(forced, text)
    added = logits - model.head(states[0]).unflatten(-1, (-1, 2))
    strengths = model.copy_path.strength[:4].repeat_interleave(torch.tensor(editor.lengths))
    gates = torch.sigmoid(model.copy_path.gate(states[0]) + 2)
    votes = gates * strengths[:, None] * torch.tanh(10 * forced.residuals / model.copy_path.spread)
    assert_close(added[..., 1] - added[..., 0], votes, rtol=1e-4, atol=1e-5)


def test_a_fresh_copy_path_proposes_the_source_itself():
    editor = tiny_editor(tiny_config(source_residual=True))
    fresh = VAREditTransformer(editor.model.config).requires_grad_(False)
    fresh.head.weight.zero_()
    fresh.head.bias.zero_()
    assert fresh.copy_path is not None and (fresh.copy_path.strength == COPY_SCALE).all()
    forced = true_inputs(editor)
    assert forced.residuals is not None
    logits = fresh(forced.source, forced.step_inputs, tiny_text(), editor.layout, forced.residuals)
    assert torch.equal(logits[..., 1] > logits[..., 0], forced.residuals > 0)


def shifted_config() -> TransformerConfig:
    return replace(tiny_config(source_residual=True), residual_shift=True)


def test_a_copy_path_with_a_shift_votes_for_what_the_shifted_source_still_has():
    editor = tiny_editor(shifted_config())
    path, text, forced = editor.model.copy_path, tiny_text(), true_inputs(editor)
    assert path is not None and path.shift is not None and forced.residuals is not None
    with inputs_of(editor.model.head) as states:
        logits = editor.teacher_forced(forced, text)
    added = logits - editor.model.head(states[0]).unflatten(-1, (-1, 2))
    strengths = path.strength[:4].repeat_interleave(torch.tensor(editor.lengths))
    wanted = forced.residuals / path.spread + path.shift(states[0])
    votes = torch.sigmoid(path.gate(states[0]) + 2) * strengths[:, None] * torch.asinh(10 * wanted)
    assert_close(added[..., 1] - added[..., 0], votes, rtol=1e-4, atol=1e-4)
    assert_close(editor.cached(forced, text), logits, rtol=1e-4, atol=1e-4 * logits.std().item())


def test_one_shift_by_what_the_target_differs_gives_the_bits_of_all_scales():
    editor = tiny_editor(shifted_config())
    source, target = editor.features(2, seed=20), editor.features(2, seed=21)
    coded, quantizer = editor.quantizer.encode(target), editor.quantizer
    before = [torch.zeros_like(target), *coded.running[:-1]]
    path = editor.model.copy_path
    assert path is not None
    path.strength.fill_(1.0)
    for scale, running in enumerate(before):
        residuals = latents_to_tokens(quantizer.residual(source, running, scale), 1)
        shift = latents_to_tokens(quantizer.residual(target, source, scale), 1) / path.spread
        path.shift = Answering(shift)  # type: ignore[assignment]  # it answers like any layer
        votes = path.logits(torch.zeros(*shift.shape[:2], 24), residuals, torch.full(shift.shape[1:2], scale))
        assert torch.equal(votes[..., 1] > votes[..., 0], latents_to_tokens(coded.bits[scale].float(), 1) > 0.5)


class Answering(nn.Module):
    """Gives one answer to everything."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *_inputs: Tensor) -> Tensor:
        return self.answer


@pytest.mark.parametrize("option", ["residual_shift", "source_proposal"])
def test_a_part_of_the_copy_path_without_it_is_refused(option):
    with pytest.raises(ConfigError, match=f"{option} is a part of the copy path; set source_residual"):
        replace(tiny_config(), **{option: True})  # type: ignore[arg-type]  # both are switches


def proposing_config(**settings: Any) -> TransformerConfig:
    return replace(tiny_config(source_proposal=True, **settings), residual_shift=True)


@references
@pytest.mark.parametrize("merge", [1, 2])
def test_what_the_source_proposes_needs_no_target_and_is_the_same_in_all_passes(reference, merge):
    editor = tiny_editor(proposing_config(reference=reference, merge=merge))
    text, forced = tiny_text(), true_inputs(editor)
    alone = editor.model.propose(forced.source, text, editor.layout)
    assert editor.model.copy_path is not None and editor.model.copy_path.proposal is not None
    with outputs_of(editor.model.copy_path.proposal) as proposals:
        passed, stepped = editor.teacher_forced(forced, text), editor.cached(forced, text)
    for proposal in cast(list[Proposed], proposals):
        for each, expected in zip(
            (proposal.difference, *proposal.layers), (alone.difference, *alone.layers), strict=True
        ):
            assert_close(each, expected, rtol=1e-4, atol=1e-4 * expected.std().item())
    assert_close(stepped, passed, rtol=1e-4, atol=1e-4 * passed.std().item())


def test_a_proposal_is_gain_mixture_and_shift_or_edited_pixels_by_the_sources_last_states_and_is_cut():
    editor = tiny_editor(proposing_config())
    text, forced = tiny_text(), true_inputs(editor)
    path = editor.model.copy_path
    assert path is not None and path.proposal is not None
    for last in (path.proposal.collage.masks, path.proposal.collage.planner.tell[-1]):
        cast(nn.Linear, last).weight.mul_(0.1)  # else rounding decides what changes
    cast(Tensor, path.proposal.collage.masks.bias).copy_(torch.tensor([-1.0] * 4 + [-2.0] * 4))
    with outputs_of(editor.model.blocks[-1]) as states:
        proposed, layers_told = editor.model.propose(forced.source, text, editor.layout)
    context = editor.model.read_text(text)
    told = context.pooled + path.proposal.ask(path.proposal.words(context))
    scale, shift = path.proposal.modulation(F.silu(told)).chunk(2, dim=-1)
    h = F.layer_norm(states[0], (24,)) * (1 + scale[:, None]) + shift[:, None]
    views = torch.einsum("bsc,wc->bsw", forced.source, path.proposal.view.weight)
    mixed = torch.einsum("bsw,bsw,cw->bsc", path.proposal.weigh(h), views, path.proposal.mix.weight)
    mapped = path.proposal.gain(h) * forced.source + mixed + 1.3 * path.proposal.shift(h)
    asked = F.layer_norm(told, (24,))
    trust, edited = (
        torch.sigmoid(path.proposal.trust(h) + path.proposal.trust_asked(asked)[:, None]),
        path.proposal.pixels(h, asked, forced.source),
    )
    drawn = trust * edited + (1 - trust) * mapped
    down, across = editor.layout.source_grids[0]
    assert down != across
    seen = [path.proposal.pixels.look(tokens) for tokens in (forced.source, forced.source + drawn)]
    pictures = [
        squares.view(3, down, across, 3, 8, 8).permute(0, 3, 1, 4, 2, 5).reshape(3, 3, 8 * down, 8 * across)
        for squares in seen
    ]
    layers = path.proposal.collage(*pictures, h.view(3, down, across, 24).permute(0, 3, 1, 2), context)
    made = composed(pictures[0], pictures[1], layers, path.proposal.collage.fill)
    squares, moved = (
        (made - picture).view(3, 3, down, 8, across, 8).permute(0, 2, 4, 1, 3, 5).reshape(3, down * across, 192)
        for picture in (pictures[1], pictures[0])
    )
    touched = (moved != 0).any(dim=2, keepdim=True)
    assert touched.any() and not touched.all()
    assert_close(proposed, touched * (drawn + path.proposal.pixels.code(squares)), rtol=1e-4, atol=1e-4)
    assert_close(layers_told, layers, rtol=1e-4, atol=1e-4)


def test_the_source_is_told_where_its_tokens_lie_in_the_picture():
    """Down and across as sines and cosines of 1/2, 1, 2 and 4 half waves, here of the place 2 of 3, 4 of 5."""
    waves = place_waves((3, 5), torch.device("cpu"), PLACE_WAVES).view(3, 5, 2, 8)
    for axis, place in enumerate((1.5 / 3, 3.5 / 5)):
        angles = [math.pi * place * wave for wave in (0.5, 1, 2, 4)]
        expected = [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        assert_close(waves[1, 3, axis], torch.tensor(expected), rtol=1e-5, atol=1e-6)


@references
def test_only_a_source_that_proposes_knows_the_left_from_the_right(reference):
    for config, knows in ((tiny_config(reference=reference), False), (proposing_config(reference=reference), True)):
        editor = tiny_editor(config, SQUARE)
        flat = torch.full((1, editor.num_source, editor.model.config.token_bits), 0.5)
        with inputs_of(editor.model.blocks[0]) as states:
            editor.model.prefill(flat, tiny_text((4,)), editor.layout)
        finest = states[0][0, :25]
        assert torch.allclose(finest, finest[:1].expand(25, -1)) != knows


def test_a_proposal_that_is_right_gives_the_targets_bits_at_every_scale():
    editor = tiny_editor(replace(proposing_config(), residual_shift=False))
    source, target = editor.features(2, seed=20), editor.features(2, seed=21)
    forced = editor.forced(source, editor.quantizer.encode(target).running[:-1])
    path = editor.model.copy_path
    assert path is not None
    editor.model.head.weight.zero_(), editor.model.head.bias.zero_(), path.strength.fill_(1.0)
    assert path.proposal is not None
    no_layers = Layers(*(torch.zeros(0),) * 5)  # which bits do not need
    answer = Proposed(latents_to_tokens(target - source, 1), no_layers)
    path.proposal.forward = lambda *_inputs: answer  # type: ignore[method-assign]
    bits = [latents_to_tokens(each.float(), 1) > 0.5 for each in editor.quantizer.encode(target).bits]
    text = tiny_text((4, 7))
    for logits in (editor.teacher_forced(forced, text), editor.cached(forced, text)):
        assert torch.equal(logits[..., 1] > logits[..., 0], torch.cat(bits, dim=1))

"""The scale loop, held against teacher-forced passes over its own results, and batches against single edits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.listening import HearingSampler
from tests.tiny import SQUARE, TinyEditor, single, tiny_config, tiny_editor, tiny_text
from varedit.generation import GeneratedScale, Generation
from varedit.quantizer import latents_to_tokens
from varedit.sampling import BatchSampler, SamplingSettings, draw_uniforms
from varedit.text_features import TextFeatures
from varedit.transformer.rope import Rotary

pytestmark = pytest.mark.usefixtures("text_form")

UNEVEN = SamplingSettings(guidance=[3.0, 1.0, 2.0, 0.5], temperature=[0.5, 2.0, 1.0, 0.3])  # at one scale exactly 1


@dataclass(frozen=True)
class Edits:
    """A batch to run."""

    editor: TinyEditor
    source: Tensor
    text: TextFeatures
    settings: Sequence[SamplingSettings]
    seeds: Sequence[int]

    @property
    def uniforms(self) -> list[Tensor]:
        generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        return draw_uniforms(generators, self.editor.lengths, self.editor.model.config.token_bits)

    @property
    def null_text(self) -> TextFeatures:
        return self.editor.model.unconditional_text(self.text.lengths)

    def sampler(self) -> HearingSampler:
        return HearingSampler.of(self.settings, len(self.editor.lengths))

    def scales(self, sampler: HearingSampler, unconditional: TextFeatures | None) -> Iterator[GeneratedScale]:
        editor = self.editor
        return Generation.begin(
            editor.model,
            editor.quantizer,
            editor.layout,
            self.source,
            self.text,
            unconditional,
            sampler,
            self.uniforms,
        )

    def run(self, *, is_guided: bool = True) -> tuple[list[GeneratedScale], list[Tensor]]:
        """All scales, and the logits after temperature and guidance."""
        sampler = self.sampler()
        states = list(self.scales(sampler, self.null_text if is_guided else None))
        return states, sampler.heard

    def item(self, index: int) -> Edits:
        return Edits(
            self.editor,
            self.source[index : index + 1],
            single(self.text, index),
            [self.settings[index]],
            [self.seeds[index]],
        )


def edits(editor: TinyEditor, *settings: SamplingSettings) -> Edits:
    """As many edits as settings, of unlike sources, texts and seeds."""
    lengths = (4, 7, 2, 5)[: len(settings)]
    source = editor.features(len(settings), seed=30)
    return Edits(editor, source, tiny_text(lengths), settings, range(100, 100 + len(settings)))


@pytest.mark.parametrize("reference", ["sar", "finest", "full"])
@pytest.mark.parametrize(
    "merge, options", [(1, {}), (2, {}), (2, {"source_residual": True}), (2, {"source_proposal": True})]
)
def test_guided_logits_are_those_of_two_teacher_forced_passes(reference, merge, options):
    # Also at the scales after the one with guidance exactly 1: there the unconditional branch has run all the same.
    editor = tiny_editor(tiny_config(reference=reference, merge=merge, **options))
    batch = edits(editor, UNEVEN, SamplingSettings(guidance=4.0, temperature=0.7))
    states, guided = batch.run()
    forced = editor.forced(batch.source, [state.features for state in states[:-1]])
    lengths = list(editor.lengths)
    conditional = editor.teacher_forced(forced, batch.text).split(lengths, dim=1)
    unconditional = editor.teacher_forced(forced, batch.null_text).split(lengths, dim=1)
    for scale, found in enumerate(guided):
        for item, settings in enumerate(batch.settings):
            strength, temperature = settings.per_scale(len(lengths))[scale]
            expected = unconditional[scale] + strength * (conditional[scale] - unconditional[scale])
            expected = expected[item] / temperature
            assert_close(found[item], expected, rtol=1e-4, atol=1e-4 * expected.std().item())


def test_bits_follow_the_draws_and_features_are_their_sum():
    editor = tiny_editor(tiny_config(merge=2))
    batch = edits(editor, UNEVEN, UNEVEN)
    states, guided = batch.run()
    for state, logits, uniforms in zip(states, guided, batch.uniforms, strict=True):
        probability = logits.softmax(dim=-1)[..., 1]
        sure = (probability - uniforms).abs() > 1e-5
        tokens = latents_to_tokens(state.bits.float(), 2) > 0.5
        assert torch.equal(tokens[sure], (uniforms < probability)[sure])
        expected = editor.quantizer.decode([earlier.bits for earlier in states[: state.index + 1]])
        assert_close(state.features, expected)
    assert [state.index for state in states] == [0, 1, 2, 3]


@pytest.mark.parametrize("reference", ["sar", "finest", "full"])
@pytest.mark.parametrize("options", [{}, {"source_residual": True}, {"source_proposal": True}])
def test_a_batch_of_unlike_edits_gives_what_each_gives_alone(reference, options):
    editor = tiny_editor(tiny_config(reference=reference, **options), SQUARE)
    batch = edits(
        editor,
        UNEVEN,
        SamplingSettings(guidance=3.0, temperature=0.5, greedy=True),
        SamplingSettings(guidance=1.0, temperature=1.0, top_p=0.9),
        SamplingSettings(guidance=7.0, temperature=[2.0, 1.0, 1.0, 0.1], top_k=1),
    )
    together, _ = batch.run()
    for item in range(4):
        for one, all_four in zip(batch.item(item).run()[0], together, strict=True):
            assert torch.equal(one.bits[0], all_four.bits[item])
            assert_close(one.features[0], all_four.features[item])
    bits = together[-1].bits
    assert not any(torch.equal(bits[item], bits[other]) for item in range(4) for other in range(item))


def test_guidance_of_one_needs_no_second_branch():
    editor = tiny_editor()
    batch = edits(editor, *[SamplingSettings(guidance=1.0, temperature=[1.0, 0.5, 2.0, 1.0])] * 2)
    (guided, guided_logits), (plain, plain_logits) = batch.run(), batch.run(is_guided=False)
    for one, other in zip(guided, plain, strict=True):
        assert torch.equal(one.bits, other.bits)
    for with_branch, without in zip(guided_logits, plain_logits, strict=True):
        assert_close(with_branch, without, rtol=1e-4, atol=1e-5)


def test_guidance_of_zero_is_the_second_branch_alone():
    editor = tiny_editor()
    batch = edits(editor, *[SamplingSettings(guidance=0.0, temperature=0.8)] * 2)
    alone = Edits(editor, batch.source, batch.null_text, batch.settings, batch.seeds)
    for one, other in zip(batch.run()[0], alone.run(is_guided=False)[0], strict=True):
        assert torch.equal(one.bits, other.bits)


def test_greedy_edits_do_not_depend_on_the_seed_and_others_do():
    editor = tiny_editor()
    for settings, is_same in ((SamplingSettings(greedy=True), True), (SamplingSettings(temperature=2.0), False)):
        batch = edits(editor, settings)
        other = Edits(editor, batch.source, batch.text, batch.settings, [7])
        pairs = zip(batch.run()[0], other.run()[0], strict=True)
        assert all(torch.equal(one.bits, two.bits) for one, two in pairs) == is_same


def test_the_loop_goes_on_from_the_features_that_its_consumer_puts_in():
    editor = tiny_editor()
    batch, sampler = edits(editor, UNEVEN), HearingSampler.of([UNEVEN], 4)
    other = editor.features(1, seed=77)
    states = []
    for state in batch.scales(sampler, batch.null_text):
        states.append(state)
        if state.index == 1:
            state.features = other
    assert_close(states[2].features, editor.quantizer.add(other, states[2].bits, 2))
    forced = editor.forced(batch.source, [state.features for state in states[:-1]])
    third = slice(sum(editor.lengths[:2]), sum(editor.lengths[:3]))
    conditional = editor.teacher_forced(forced, batch.text)[:, third]
    unconditional = editor.teacher_forced(forced, batch.null_text)[:, third]
    expected = 2 * conditional - unconditional  # guidance 2, temperature 1
    assert_close(sampler.heard[2], expected, rtol=1e-4, atol=1e-4 * expected.std().item())


def test_two_edits_in_turn_are_two_edits():
    editor = tiny_editor()
    one, two = edits(editor, UNEVEN), edits(editor, SamplingSettings(guidance=2.0), UNEVEN)
    in_turn = zip(one.scales(one.sampler(), one.null_text), two.scales(two.sampler(), two.null_text), strict=True)
    for (first, second), alone, other in zip(in_turn, one.run()[0], two.run()[0], strict=True):
        assert torch.equal(first.bits, alone.bits)
        assert torch.equal(second.bits, other.bits)


class StaysThere(TorchDispatchMode):
    """Refuses to bring numbers to a device, or back, while it lasts."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor) and each.dim()]
        assert all(each.device.type == "meta" for each in given), func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("settings", [SamplingSettings(), UNEVEN, SamplingSettings(top_p=0.9, greedy=True)], ids=str)
@pytest.mark.parametrize("source_residual", [False, True])
@pytest.mark.parametrize("reference", ["sar", "finest", "full"])
def test_nothing_in_the_scale_loop_waits_for_the_device(reference, source_residual, settings, monkeypatch):
    """On a device without numbers, where to ask for one is an error, and nothing is sent there either."""
    editor, there = tiny_editor(tiny_config(reference=reference, source_residual=source_residual)), "meta"
    rotary = Rotary.of(editor.layout.rotary.cos.to(there), editor.layout.rotary.sin.to(there))
    layout = replace(editor.layout, rotary=rotary, levels=editor.layout.levels.to(there))
    batch, model = edits(editor, settings, settings), editor.model.to(there)
    scales = Generation.begin(
        model,
        editor.quantizer,
        layout,
        batch.source.to(there),
        TextFeatures(batch.text.features.to(there), batch.text.lengths),
        model.unconditional_text(batch.text.lengths),
        BatchSampler.of(batch.settings, len(editor.lengths), there),
        [uniforms.to(there) for uniforms in batch.uniforms],
    )
    monkeypatch.setattr(torch, "tensor", None)  # it would copy, unseen by what follows
    with StaysThere():
        assert [state.index for state in scales] == [0, 1, 2, 3]

"""The transformer's training pass, its cached generation and greedy results, against the released implementation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.golden_files import GoldenFile, GoldenTransformer, golden_files, golden_transformer
from tests.listening import HearingSampler, outputs_of
from varedit.generation import Generation
from varedit.quantizer import latents_to_tokens
from varedit.sampling import SamplingSettings
from varedit.training.objective import bit_loss, editor_loss, token_weights
from varedit.transformer.reference import source_tokens

pytestmark = pytest.mark.golden


@dataclass(frozen=True)
class Case:
    file: GoldenFile
    built: GoldenTransformer
    sources: Tensor = field(init=False)  # (B, S, token bits)
    inputs: list[Tensor | None] = field(init=False)  # of scales 1..K; None for the first one

    def __post_init__(self) -> None:
        features, built = self.file.tensors["source_features"], self.built
        object.__setattr__(self, "sources", source_tokens(features, built.quantizer, built.layout, built.merge))
        lengths = list(built.layout.schedule.lengths[1:])
        object.__setattr__(self, "inputs", [None, *self.file.tensors["target_step_inputs"].split(lengths, dim=1)])

    def sampler(self, **settings: bool) -> HearingSampler:
        guided = self.file.facts["guided"]
        one = SamplingSettings(guidance=guided["guidance"], temperature=guided["temperature"], **settings)
        return HearingSampler.of([one] * len(self.sources), len(self.inputs))


@pytest.fixture(scope="module")
def cases(golden_dir: Path) -> list[Case]:
    files = golden_files(golden_dir, "transformer")
    return [Case(file, golden_transformer(file, file.facts, file.facts["latent_channels"], "state.")) for file in files]


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_inputs_and_labels_come_from_the_features(cases):
    for case in cases:
        file, built = case.file, case.built
        file.check("source_tokens", case.sources)
        coded = built.quantizer.encode(file.tensors["target_features"])
        for scale, bits in enumerate(coded.bits):
            file.check_bits(f"labels.{scale}", latents_to_tokens(bits.float(), built.merge) > 0.5)
        inputs = [
            latents_to_tokens(built.quantizer.step_input(coded.running[scale - 1], scale), built.merge)
            for scale in range(1, len(coded.bits))
        ]
        file.check("target_step_inputs", torch.cat(inputs, dim=1))


def test_the_text_pooled_projected_and_as_modulation(cases):
    for case in cases:
        model, text = case.built.model, case.file.text
        context = model.read_text(text)
        case.file.check("text_pooled", context.pooled)
        words = [item[:length] for item, length in zip(context.words, text.lengths, strict=True)]
        case.file.check("text_projected", torch.cat(words))
        with outputs_of(model.modulation) as modulations:
            model.prefill(case.sources, text, case.built.layout)
        case.file.check("shared_modulation", modulations[0].unflatten(-1, (6, -1)))


def test_the_teacher_forced_pass_and_its_losses(cases):
    for case in cases:
        file, built = case.file, case.built
        with outputs_of(built.model.blocks[0]) as states:
            logits = built.model(case.sources, file.tensors["target_step_inputs"], file.text, built.layout)
        file.check("forward.logits", logits.flatten(2))
        file.check("forward.after_first_block", states[0])
        labels = torch.cat(file.series("labels"), dim=1).bool()
        losses = bit_loss(logits, labels).mean(dim=2)
        file.check("forward.loss_per_token", losses)
        schedule = built.layout.schedule
        file.check("forward.loss_uniform", editor_loss(losses, token_weights(schedule, "uniform")))
        file.check("forward.loss_reweighted", editor_loss(losses, token_weights(schedule, "by_scale")))


@pytest.mark.usefixtures("text_form")
def test_the_cached_pass_scale_by_scale(cases):
    for case in cases:
        with outputs_of(case.built.model.blocks[0]) as states:
            cache = case.built.model.prefill(case.sources, case.file.text, case.built.layout)
            case.file.check("cached.source_after_first_block", states[-1])
            for scale, inputs in enumerate(case.inputs):
                logits = case.built.model.step(inputs, cache)
                case.file.check(f"cached.logits.{scale}", logits.flatten(2))
                case.file.check(f"cached.after_first_block.{scale}", states[-1])


@pytest.mark.usefixtures("text_form")
def test_both_branches_of_guidance_and_their_combination(cases):
    for case in cases:
        file, model = case.file, case.built.model
        text = file.text.joined(model.unconditional_text(file.text.lengths))
        cache = model.prefill(torch.cat([case.sources] * 2), text, case.built.layout)
        sampler = case.sampler()
        for scale, inputs in enumerate(case.inputs):
            logits = model.step(None if inputs is None else torch.cat([inputs] * 2), cache)
            raw = f"guided.raw_logits_cond_then_uncond.{scale}"
            if raw in file.tensors:  # absent where guidance is exactly 1
                file.check(raw, logits.flatten(2))
            conditional, unconditional = logits.chunk(2)
            file.check(f"guided.logits.{scale}", sampler.guided(conditional, unconditional, scale).flatten(2))


@pytest.mark.usefixtures("text_form")
def test_greedy_generation_from_its_own_bits(cases):
    for case in cases:
        file, built = case.file, case.built
        sampler = case.sampler(greedy=True)
        scales = Generation.begin(
            built.model,
            built.quantizer,
            built.layout,
            file.tensors["source_features"],
            file.text,
            built.model.unconditional_text(file.text.lengths),
            sampler,
            [torch.zeros(()).expand(len(case.sources), length, 1) for length in built.layout.schedule.lengths],
        )
        for state in scales:
            file.check_grid_bits(f"greedy.bits.{state.index}", state.bits)
        file.check("greedy.logits_last", sampler.heard[-1].flatten(2))

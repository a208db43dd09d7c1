"""Guidance, temperature and the filters over a bit's two outcomes, against the released implementation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.golden_files import GoldenFile, golden_files
from varedit.sampling import BatchSampler, SamplingSettings, filtered_probability, likelier

pytestmark = pytest.mark.golden


@dataclass(frozen=True)
class Case:
    file: GoldenFile
    name: str
    sampler: BatchSampler
    guided: Tensor  # (B, L, d, 2)

    def vector(self, tensor: str) -> Tensor:
        return self.file.tensors[f"{self.name}.{tensor}"]

    def check_probabilities(self, tensor: str, of_one: Tensor) -> None:
        self.file.check(f"{self.name}.{tensor}", torch.stack((1 - of_one, of_one), dim=-1))


@pytest.fixture(scope="module")
def cases(golden_dir: Path) -> list[Case]:
    return [case for file in golden_files(golden_dir, "sampling") for case in cases_of(file)]


def cases_of(file: GoldenFile) -> Iterator[Case]:
    for facts in file.facts["cases"]:
        name = f"case{facts['index']}"
        conditional, unconditional = (
            file.tensors[f"{name}.{branch}"].unflatten(-1, (-1, 2)) for branch in ("logits_cond", "logits_uncond")
        )
        settings = SamplingSettings(
            guidance=facts["guidance"],
            temperature=facts["temperature"],
            top_k=facts["top_k"] or None,
            top_p=facts["top_p"] or None,
        )
        sampler = BatchSampler.of([settings] * len(conditional), 1, "cpu")
        yield Case(file, name, sampler, sampler.guided(conditional, unconditional, 0))


def test_guided_logits_and_their_likelier_outcomes(cases):
    for case in cases:
        case.file.check(f"{case.name}.guided", case.guided.flatten(2))
        case.file.check_bits(f"{case.name}.greedy_bits", likelier(case.guided))


def test_probabilities_before_and_after_the_filter(cases):
    for case in cases:
        case.check_probabilities("probabilities_before_filter", filtered_probability(case.guided, torch.ones(())))
        filtered = filtered_probability(case.guided, case.sampler.top_p.view(-1, 1, 1))
        filtered = torch.where(case.sampler.greedy.view(-1, 1, 1), likelier(case.guided).float(), filtered)
        case.check_probabilities("probabilities", filtered)


def test_a_bit_is_one_where_its_uniform_number_falls_below_the_released_probability(cases):
    for case in cases:
        probability = case.vector("probabilities")[..., 1]
        for level in torch.linspace(0, 0.9999, 41):
            bits = case.sampler.bits(case.guided, level.expand(probability.shape))
            near = ((probability - level).abs() < 1e-5) & (probability > 0)  # where float error may decide
            assert torch.equal(bits[~near], (level < probability)[~near]), case.name

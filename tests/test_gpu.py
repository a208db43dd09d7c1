"""The same edit on an accelerator: same draws, same bits up to rounding. Skipped where there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.toys import picture, toy_pipeline

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


def bits_on(device: str, **randomness: Any) -> torch.Tensor:
    output = toy_pipeline().to(device)(picture(30, 30), "warmer", output_type="bits", **randomness)
    return torch.cat([scale.flatten().cpu() for scale in output.images[0]])


def test_one_seed_draws_the_same_on_both():
    agreement = (bits_on("cpu", seed=5) == bits_on("cuda", seed=5)).float().mean()
    assert agreement > 0.99  # float32 sums in another order; a bit at even odds may fall the other way


def test_a_generator_of_the_accelerator_is_accepted():
    first, again = (bits_on("cuda", generator=torch.Generator("cuda").manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)


def test_bfloat16_keeps_norms_and_head_in_float32():
    pipeline = toy_pipeline().to("cuda").to(torch.bfloat16)
    output = pipeline(picture(30, 30), "warmer", seed=5)
    assert output.images[0].size == (30, 30)
    assert pipeline.editor.transformer.head.weight.dtype == torch.float32
    assert pipeline.editor.transformer.get_parameter("blocks.0.attention.project.weight").dtype == torch.bfloat16

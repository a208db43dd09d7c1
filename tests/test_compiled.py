"""Compiled blocks: the same bits, one pair of graphs for all layers and numbers of tokens, one more for one token."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from tests.toys import picture, toy_pipeline
from varedit.compiled import compile_blocks

EDIT: dict[str, Any] = {"image": picture(30, 30), "prompt": "make it a lot warmer", "seed": 5, "output_type": "bits"}


def test_the_bits_are_the_same_and_layers_share_their_graphs():
    expected = toy_pipeline()(**EDIT).images[0]
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    pipeline = toy_pipeline()
    compile_blocks(pipeline.editor.transformer, backend=counter)  # type: ignore[arg-type]  # torch takes a function, too
    for _ in range(2):  # compiled, then reused
        found = pipeline(**EDIT).images[0]
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
        assert counter.frame_count == 2 * 2, "two graphs for the first scale's one token, two for any other number"


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # torch's compiler speaks of itself
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_compiled_and_recorded_on_an_accelerator_the_bits_agree(precision: torch.dtype) -> None:
    torch._dynamo.reset()
    plain, pipeline = (toy_pipeline().to("cuda").to(precision) for _ in range(2))
    pipeline.editor.compile()
    pipeline.warm_up(EDIT["image"])
    prompts = ["make it a lot warmer", "darker", "the picture black and white"]
    for variants, (seed, prompt) in itertools.product((1, 2), enumerate(prompts)):
        edit = EDIT | {"image": picture(30, 30, seed), "prompt": prompt, "seed": seed}
        edit |= {"num_images_per_prompt": variants}
        pairs = zip(itertools.chain(*pipeline(**edit).images), itertools.chain(*plain(**edit).images), strict=True)
        same = torch.cat([(ours == theirs).flatten() for ours, theirs in pairs]).float().mean()
        # Fused kernels round elsewhere; a bit at even odds may fall the other way.
        assert same > (0.99 if precision == torch.float32 else 0.9)

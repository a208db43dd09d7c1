"""Compiled blocks: the same bits, one pair of graphs for all layers and numbers of tokens, one more for one token."""

from __future__ import annotations

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
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_compiled_for_an_accelerator_the_bits_agree():
    torch._dynamo.reset()
    expected = toy_pipeline().to("cuda")(**EDIT).images[0]
    pipeline = toy_pipeline().to("cuda")
    pipeline.editor.compile()
    for _ in range(4):  # compiled, source recorded, scales recorded, replayed
        found = pipeline(**EDIT).images[0]
    same = torch.cat([(ours == theirs).flatten() for ours, theirs in zip(found, expected, strict=True)])
    assert same.float().mean() > 0.99  # fused kernels round elsewhere; a bit at even odds may fall the other way

"""The transformer's blocks through torch.compile: fewer kernels, the same arithmetic.

Each block is compiled as two graphs, with attention and the cache between them left as they are: attention is one fused
kernel already, and a graph that wrote into the caches would have to be made anew for each layer. So one pair of graphs
serves all layers, and any number of tokens: torch makes a second pair for a single one, and more for other kinds of
input, such as tokens at places of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch._dynamo

from varedit.transformer.block import Block
from varedit.transformer.model import VAREditTransformer

MAX_KINDS = 64  # kinds of input that are compiled; others run as they are. Torch's own limit is 8


def compile_blocks(transformer: VAREditTransformer, *, backend: str = "inductor") -> None:
    """Compile a transformer's blocks in place. Nothing happens yet: each kind of input is compiled when it first comes.

    Args:
        transformer: on its device.
        backend: of torch.compile; others than "inductor" are for tests.
    """
    for block in cast(list[Block], list(transformer.blocks)):
        block.enter = _compiled(block.enter, backend)  # type: ignore[method-assign]  # for this block alone
        block.leave = _compiled(block.leave, backend)  # type: ignore[method-assign]


def _compiled(function: Callable[..., Any], backend: str) -> Callable[..., Any]:
    fast = torch.compile(function, backend=backend, dynamic=True)

    def run(*arguments: Any) -> Any:
        with torch._dynamo.config.patch(recompile_limit=MAX_KINDS, accumulated_recompile_limit=MAX_KINDS):
            return fast(*arguments)

    return run

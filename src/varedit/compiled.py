"""The transformer's blocks through torch.compile: fewer kernels, the same arithmetic.

Each block is compiled as two graphs, with attention and the cache between them left as they are: attention is one fused
kernel already, and a graph that wrote into the caches would have to be made anew for each layer. So one pair of graphs
serves all layers, and a new pair is made only for a new number of tokens: one for the source and one for each scale.
On CUDA the graphs are replayed as CUDA graphs, which takes the cost of launching kernels off the small scales.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch._dynamo

from varedit.transformer.block import Block
from varedit.transformer.model import VAREditTransformer

MAX_SHAPES = 256  # numbers of tokens and batch sizes that are compiled; others run as they are. Torch's own limit is 8


def compile_blocks(transformer: VAREditTransformer, *, backend: str = "inductor") -> None:
    """Compile a transformer's blocks in place. Nothing happens yet: each shape is compiled when it first comes.

    Args:
        transformer: on its device.
        backend: of torch.compile; others than "inductor" are for tests.
    """
    is_cuda = transformer.head.weight.device.type == "cuda"
    options: dict[str, Any] = {"backend": backend, "dynamic": False}
    if is_cuda and backend == "inductor":
        options["mode"] = "reduce-overhead"
    for block in cast(list[Block], list(transformer.blocks)):
        block.enter = _compiled(block.enter, options)  # type: ignore[method-assign]  # for this block alone
        block.leave = _compiled(block.leave, options)  # type: ignore[method-assign]
    if is_cuda:
        # The results of one scale may be written over by the next: by then they are in the caches.
        transformer.blocks[0].register_forward_pre_hook(lambda *_: torch.compiler.cudagraph_mark_step_begin())


def _compiled(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    fast = torch.compile(function, **options)

    def run(*arguments: Any) -> Any:
        with torch._dynamo.config.patch(recompile_limit=MAX_SHAPES, accumulated_recompile_limit=MAX_SHAPES):
            return fast(*arguments)

    return run

"""Seeing every attention that a transformer computes while it edits, without a change to what it computes.

`watch_attention` shows each call of the attention kernel with the very queries, keys, values and mask that it was given
and the result that it gave. The weights, which the kernel never forms, follow from these. Folded texts are unfolded
meanwhile, as only then is there a call to see. Knows nothing of pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from varedit.transformer.block import Block
from varedit.transformer.cross_attention import FoldedText, TextKeysValues
from varedit.transformer.model import VAREditTransformer

WEIGHTS_AT_ONCE = 2**25  # numbers, of one run of queries under all heads


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """One attention of one block. Keys and values are the cache's own rows, and later scales may write over them.

    Attributes:
        layer: counted from 0.
        scale: the target scale, counted from 0, whose tokens ask; None where the source's own tokens do, which they
            need not in the last layer.
        is_text: whether they ask the words, and not the tokens of pictures.
        q: (B, N, L, E).
        k, v: (B, N, keys, E).
        mask: (B, 1, 1, keys) added to products, -inf at keys that do not count; None where all do.
        factor: what products of queries and keys are multiplied with.
        attended: (B, N, L, E), the model's own result.
    """

    layer: int
    scale: int | None
    is_text: bool
    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None
    factor: float
    attended: Tensor

    def weights(self, item: int, head: int | None = None) -> Tensor:
        """How one item's queries spread over the keys, (L, keys) float32 with rows of sum 1.

        Args:
            item: of the batch.
            head: counted from 0; None is the mean over all.
        """
        heads = slice(None) if head is None else slice(head, head + 1)
        q, k = self.q[item, heads].float(), self.k[item, heads].float()  # the kernel too sums in float32
        rows = max(1, WEIGHTS_AT_ONCE // (len(q) * k.shape[1]))
        return torch.cat([self._softmax(part, k, item).mean(0) for part in q.split(rows, dim=1)])

    def _softmax(self, q: Tensor, k: Tensor, item: int) -> Tensor:
        products = q @ k.transpose(1, 2) * self.factor  # (N, rows, keys)
        if self.mask is not None:
            products = products + self.mask[item]
        return products.softmax(-1)


@contextmanager
def watch_attention(transformer: VAREditTransformer, show: Callable[[AttentionCall], None]) -> Iterator[None]:
    """Show every attention of the one edit, or batch of edits of one template, that runs within, as it happens.

    The edit draws all tokens of all scales on this thread: no candidates, no reuse, and no compiled blocks, whose
    kernels cannot be seen.
    """
    watch = _Watch(show, transformer)
    with ExitStack() as hooks:
        for layer, block in enumerate(cast(list[Block], list(transformer.blocks))):
            asks_words = block.cross_attention
            for handle in (
                block.register_forward_pre_hook(partial(watch.enter, layer)),
                block.register_forward_hook(watch.leave),
                asks_words.register_forward_pre_hook(watch.enter_text),
            ):
                hooks.callback(handle.remove)
        hooks.enter_context(watch)
        yield


class _Watch(TorchFunctionMode):
    """Stands before every function of torch that this thread calls, and looks at one of them."""

    def __init__(self, show: Callable[[AttentionCall], None], transformer: VAREditTransformer) -> None:
        super().__init__()
        self.show = show
        self.transformer = transformer
        self.layer: int | None = None  # the block that runs
        self.is_text = False
        self.passes: dict[int, int] = {}  # how often each block has begun

    def enter(self, layer: int, *_: Any) -> None:
        self.layer, self.is_text = layer, False
        self.passes[layer] = self.passes.get(layer, 0) + 1

    def enter_text(self, _: Any, given: tuple[Tensor, TextKeysValues | FoldedText]) -> tuple[Tensor, TextKeysValues]:
        self.is_text = True
        x, text = given
        return x, text.text if isinstance(text, FoldedText) else text

    def leave(self, *_: Any) -> None:
        self.layer = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        result = func(*args, **named)
        if func is F.scaled_dot_product_attention and self.layer is not None:
            self._tell(self.layer, *args, result=result, **named)
        return result

    def _tell(
        self,
        layer: int,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        result: Tensor,
        attn_mask: Tensor | None = None,
        scale: float | None = None,
    ) -> None:
        scale_index = self.passes[layer] - (2 if self.transformer.finishes_source(layer) else 1)
        self.show(
            AttentionCall(
                layer=layer,
                scale=None if scale_index < 0 else scale_index,
                is_text=self.is_text,
                q=q,
                k=k,
                v=v,
                mask=attn_mask,
                factor=q.shape[-1] ** -0.5 if scale is None else scale,
                attended=result,
            )
        )

"""Bytes of the tensors that are alive while something runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the storage of every tensor that an operation makes, from then until it is dropped.

    Attributes:
        now: bytes alive that were made inside.
        peak: the most that were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        before = {_address(tensor) for tensor in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            if _address(tensor) not in before:
                self._count(tensor)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if size == 0 or address in self._known:
            return
        self._known.add(address)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._dropped, address, size)

    def _dropped(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.now -= size


def _tensors(values: Any) -> Iterator[Tensor]:
    """Those that have memory of their own; a quantised one is several of them."""
    for leaf in tree_leaves(values):
        if is_traceable_wrapper_subclass(leaf):
            yield from _tensors([getattr(leaf, name) for name in leaf.__tensor_flatten__()[0]])
        elif isinstance(leaf, Tensor) and leaf.device.type != "meta":
            yield leaf


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())


def peak_of(run: Callable[[], Any]) -> int:
    """The most bytes of tensors made by a function that are alive at once."""
    live = LiveBytes()
    with torch.inference_mode(), live:
        result = run()
    del result
    return live.peak

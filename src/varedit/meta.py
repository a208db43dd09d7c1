"""Modules without weights: shapes and types alone, to be filled from a file. Nothing is drawn that is then replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

Made = TypeVar("Made", bound=nn.Module)


def module_without_weights(make: Callable[[], Made]) -> Made:
    """What `make` builds, with all parameters and buffers on the meta device."""
    with torch.device("meta"), _NothingDrawn():
        return make()


class _NothingDrawn(TorchFunctionMode):
    """Leaves tensors as they are where `torch.nn.init` would draw them.

    Drawing on the meta device computes nothing either, but it imports torch's compiler, which takes seconds.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if getattr(func, "__module__", "") == "torch.nn.init":
            return named["tensor"] if "tensor" in named else args[0]
        return func(*args, **named)

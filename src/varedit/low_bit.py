"""Weights in 8 bits through torchao: half the memory of bfloat16, for a small change of the results.

Only what is stored changes: each row of a matrix gets a scale of its own, and products are computed in the compute
type. Which matrices these are, `varedit.precision` says. Quantising goes weight by weight as a model is read from its
mapped file, so the model is never in memory whole in a wider type.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from varedit.errors import MissingExtra, UsageError
from varedit.precision import is_low_bit

StoredWeights = Literal["full", "int8", "fp8"]


def quantiser(weights: StoredWeights, part: str) -> Callable[[str, Tensor], Tensor]:
    """What becomes of each weight of a part when it is read, for `checkpoints.load_weights`.

    Args:
        weights: "full" leaves all as they are.
        part: "transformer" or "text_encoder".

    Raises:
        UsageError: there is no such form.
        MissingExtra: torchao is not installed.
    """
    if weights not in get_args(StoredWeights):
        raise UsageError(f"weights must be one of {', '.join(get_args(StoredWeights))}, not {weights!r}")
    if weights == "full":
        return lambda name, weight: weight
    quantise = _torchao(weights)
    return lambda name, weight: quantise(weight) if is_low_bit(part, name) else weight


def _torchao(weights: StoredWeights) -> Callable[[Tensor], Tensor]:
    try:
        with _warnings_unsaid():
            from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise MissingExtra(f"{weights} weights", "lowbit") from error
    config: Any = Int8WeightOnlyConfig(version=2) if weights == "int8" else Float8WeightOnlyConfig()

    def quantise(weight: Tensor) -> Tensor:
        with torch.device("meta"):
            holder = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        holder.weight = nn.Parameter(weight, requires_grad=False)
        quantize_(holder, config)
        return cast(Tensor, holder.weight)

    return quantise


@contextmanager
def _warnings_unsaid() -> Iterator[None]:
    """Keep torchao, as it is imported, from logging which kernels of other devices it could not load."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

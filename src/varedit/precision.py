"""Which parts compute in which number format: the one place that says so (spec "Precision").

Always float32: the residual stream, norms and modulations, query and key normalisation, rotary, text pool and
projection, logits, codes and features, the encoder. In the compute type: the blocks' matrices, cached keys and values,
the decoder, the text encoder.
"""

from __future__ import annotations

import re
from typing import cast

import torch
from torch import nn

from varedit.autoencoder import Autoencoder
from varedit.errors import UsageError
from varedit.transformer.block import Block
from varedit.transformer.model import VAREditTransformer

_BLOCK_PART = re.compile(r"blocks\.\d+\.(attention|cross_attention|feed_forward)\.")
_TEXT_MATRIX = re.compile(r"encoder\.block\.\d+\..*\.(q|k|v|o|wi|wi_0|wi_1|wo)\.weight$")

NAMES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def compute_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The compute type that a name, a torch dtype or "auto" means on a device. Raises UsageError."""
    if isinstance(dtype, torch.dtype):
        found = dtype
    elif dtype == "auto":
        found = _best(device)
    elif dtype in NAMES:
        found = NAMES[dtype]
    else:
        raise UsageError(f"precision must be auto, {', '.join(NAMES)}, not {dtype!r}")
    if found not in NAMES.values():
        raise UsageError(f"precision must be one of {', '.join(NAMES)}, not {found}")
    return found


def compute_device(device: str | torch.device) -> torch.device:
    """The device that a name means; "auto" is the best one there is. Raises UsageError for one that is not there."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise UsageError(f"there is no device {str(device)!r} here; use auto, cpu, cuda or mps") from error
    if found.type == "meta":
        raise UsageError("the device meta holds no numbers; use auto, cpu, cuda or mps")
    return found


def set_compute_dtype(transformer: VAREditTransformer, autoencoder: Autoencoder, dtype: torch.dtype) -> None:
    """Bring the parts named above to the compute type, in place; all others stay float32."""
    for block in cast(list[Block], list(transformer.blocks)):
        parts: tuple[nn.Module, ...] = (block.attention, block.cross_attention, block.feed_forward)
        for part in parts:
            part.to(dtype)
    autoencoder.decoder.to(dtype)


def computes_in_float32(part: str, name: str) -> bool:
    """Whether a weight of a model's part ("transformer", "autoencoder", "text_encoder") stays float32 in any case."""
    return part != "text_encoder" and not name.startswith("decoder.") and not _BLOCK_PART.match(name)


def is_low_bit(part: str, name: str) -> bool:
    """Whether a weight may be held in 8 bits: the matrices of all blocks, by far the most of a large model."""
    if part == "text_encoder":
        return bool(_TEXT_MATRIX.match(name))
    return part == "transformer" and bool(_BLOCK_PART.match(name)) and name.endswith(".weight")


def _best(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float32

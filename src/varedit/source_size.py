"""Maps at the model's resolution, brought to the pixels of the photograph that was fitted to the model."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from varedit.fit import Fit


def to_source_size(fit: Fit, maps: NDArray[np.float32], rows: slice = slice(None)) -> NDArray[np.float32]:
    """Resize maps of any range bilinearly, as PIL does, to the pixels of the photograph.

    Args:
        fit: of the photograph.
        maps: (C, h, w) of the model's size.
        rows: those of the photograph that are wanted; each is the same whichever are.

    Returns: (C, rows, W).
    """
    assert maps.shape[1:] == (fit.model_height, fit.model_width), f"maps are {maps.shape}, not {fit}"
    left, top, right, bottom = fit.source_box
    wanted = np.arange(top, bottom)[rows]
    places, down = _down(wanted, fit.model_height, fit.padded_height)
    bands = torch.from_numpy(down) @ torch.from_numpy(np.ascontiguousarray(maps[:, places], np.float32))
    canvas = F.interpolate(bands[None], (len(wanted), fit.padded_width), mode="bilinear", antialias=True)[0]
    resized: NDArray[np.float32] = canvas[:, :, left:right].numpy()
    return resized


def _down(wanted: NDArray[np.int64], given: int, made: int) -> tuple[slice, NDArray[np.float32]]:
    """What some of the made rows are of the given ones: which these are, and the weights (wanted, given)."""
    centres, support = (wanted + 0.5) * given / made, max(1.0, given / made)
    places = slice(max(0, int(centres[0] - support)), min(given, int(centres[-1] + support) + 1))
    distances = np.abs(np.arange(given)[places] + 0.5 - centres[:, None])
    weights = np.maximum(1 - distances / support, 0)
    return places, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

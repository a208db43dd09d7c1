"""Maps at the model's resolution, brought to the pixels of the photograph that was fitted to the model."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from varedit.fit import Fit


def to_source_size(fit: Fit, maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Resize maps of any range bilinearly, as PIL does, to the pixels of the photograph.

    Args:
        fit: of the photograph.
        maps: (C, h, w) of the model's size.

    Returns: (C, H, W).
    """
    assert maps.shape[1:] == (fit.model_height, fit.model_width), f"maps are {maps.shape}, not {fit}"
    given = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32))[None]
    canvas = F.interpolate(given, (fit.padded_height, fit.padded_width), mode="bilinear", antialias=True)[0]
    left, top, right, bottom = fit.source_box
    resized: NDArray[np.float32] = canvas[:, top:bottom, left:right].numpy()
    return resized

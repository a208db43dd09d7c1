"""How much fine detail a picture holds, for tests that it is kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601


def gradient_energy(picture: NDArray[np.uint8]) -> float:
    """Mean square step between neighbours of the luma of (H, W, 3), down and across."""
    grey = picture @ LUMA
    return float(np.square(np.diff(grey, axis=0)).mean() + np.square(np.diff(grey, axis=1)).mean())

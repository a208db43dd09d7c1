"""Sub-pixel registration of two pictures by phase correlation, for tests that nothing shifts or zooms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.detail import LUMA

FINEST = 0.01  # pixels


def shift_between(reference: NDArray[np.uint8], moved: NDArray[np.uint8], *, band: float = 1.0) -> tuple[float, float]:
    """How far (down, right) in pixels ``moved`` lies from ``reference``, both (H, W, 3) uint8 of one size.

    Phase correlation (Kuglin and Hines, 1975), refined by evaluating the correlation surface between the pixels
    (Guizar-Sicairos et al., 2008).

    Args:
        band: share of the spectrum that is compared, 1 up to the Nyquist frequency; a picture that holds no fine
            detail is compared in what it holds.
    """
    first, second = (_windowed(picture) for picture in (reference, moved))
    height, width = first.shape
    spectrum = np.fft.fft2(second) * np.conj(np.fft.fft2(first))
    vertical, horizontal = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    inside = np.hypot(vertical, horizontal) <= band / 2
    phases = np.where(inside, spectrum / np.maximum(np.abs(spectrum), 1e-9), 0)
    down = right = 0.0
    for step, reach in ((1.0, 8), (0.1, 10), (FINEST, 10)):  # nine pixels around, then tenths, then hundredths
        offsets = np.arange(-reach, reach + 1) * step
        rows = np.exp(2j * np.pi * (down + offsets)[:, None] * vertical[:, 0])
        columns = np.exp(2j * np.pi * horizontal[0][:, None] * (right + offsets))
        surface = np.real(rows @ phases @ columns)
        peak = np.unravel_index(np.argmax(surface), surface.shape)
        down, right = down + offsets[peak[0]], right + offsets[peak[1]]
    return float(down), float(right)


def _windowed(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    grey = picture @ LUMA
    window = np.hanning(grey.shape[0])[:, None] * np.hanning(grey.shape[1])[None, :]
    windowed: NDArray[np.float64] = (grey - grey.mean()) * window
    return windowed

"""Before and after in one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def side_by_side(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two pictures (H, W, 3) left and right of a white gap."""
    import numpy as np

    assert before.shape == after.shape, f"a result of {after.shape} for a picture of {before.shape}"
    height, width, _ = before.shape
    gap = np.full((height, _gap(width), 3), 255, dtype=np.uint8)
    return np.concatenate((before, gap, after), axis=1)


def size_of_comparison(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of both pictures together, each of ``size``."""
    width, height = size
    return 2 * width + _gap(width), height


def _gap(width: int) -> int:
    return max(2, width // 50)

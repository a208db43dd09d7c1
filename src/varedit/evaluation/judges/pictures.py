"""The two pictures of an edit as a judge is shown them: one size, PNG, and named by their pixels."""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from varedit.errors import InputMissing
from varedit.evaluation.judges.questions import EditToJudge, Shown
from varedit.images import read_image
from varedit.output import encode_image

MAX_SIDE = 1024
PATCH = 28  # pixels a side that become one token in the Qwen-VL family; for the estimate of a dry run


@dataclass(frozen=True, eq=False)
class SentPicture:
    """A picture of a call."""

    rgb: NDArray[np.uint8]  # (H, W, 3)

    @cached_property
    def sha256(self) -> str:
        """Of size and pixels."""
        return hashlib.sha256(str(self.rgb.shape).encode() + self.rgb.tobytes()).hexdigest()

    @property
    def url(self) -> str:
        """The picture itself as a data URL. PNG: what JPEG adds would be judged too."""
        data = encode_image(self.rgb, "PNG", provenance=None)
        return "data:image/png;base64," + base64.b64encode(data).decode()

    @property
    def words(self) -> str:
        """What stands in a text that shows no pictures."""
        height, width = self.rgb.shape[:2]
        return f"<PNG of {width}x{height} pixels>"

    @property
    def estimated_tokens(self) -> int:
        """What the picture may cost; models differ, the reply tells the truth."""
        height, width = map(int, self.rgb.shape[:2])
        return math.ceil(height / PATCH) * math.ceil(width / PATCH)


def sent_pictures(edit: EditToJudge) -> dict[Shown, SentPicture]:
    """Read both pictures. The result takes the source's size, and no side is longer than `MAX_SIDE`.

    Raises: ImageError, InputMissing.
    """
    if edit.result is None:
        raise InputMissing(f"there is no result for {edit.id}.")
    source, result = (Image.fromarray(read_image(path).rgb) for path in (edit.source, edit.result))
    scale = min(1.0, MAX_SIDE / max(source.size))
    size = (max(1, round(source.width * scale)), max(1, round(source.height * scale)))
    return {"source": _resized(source, size), "result": _resized(result, size)}


def _resized(image: Image.Image, size: tuple[int, int]) -> SentPicture:
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return SentPicture(np.asarray(image))

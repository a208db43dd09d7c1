"""A sheet of editing pairs for the eye: source and target side by side, the instruction below."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GAP = 6  # pixels between pictures, and around them
FONT_SIZE = 11
LINE_HEIGHT = 14
CAPTION_LINES = 2
LETTERBOX = "#d0d0d0"  # beside a picture that does not fill its place


class SheetPair(Protocol):
    """What a sheet shows of an editing example; scenes are such pairs."""

    @property
    def source(self) -> NDArray[np.uint8]:
        """(H, W, 3) sRGB."""
        ...

    @property
    def target(self) -> NDArray[np.uint8]:
        """(H, W, 3) sRGB, perhaps of another size."""
        ...

    @property
    def instruction(self) -> str:
        """What stands below."""
        ...


def contact_sheet(pairs: Sequence[SheetPair], columns: int) -> Image.Image:
    """Pairs row by row on white; the last row may be short.

    Each picture has a place as large as the largest height and width (H, W) of all. A smaller one stands in its middle,
    at its own size. A cell is ``2 W + 3 GAP`` wide and ``H + 2 GAP + CAPTION_LINES * LINE_HEIGHT`` high.
    """
    pictures = [picture for pair in pairs for picture in (pair.source, pair.target)]
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    cell_width = 2 * width + 3 * GAP
    cell_height = height + 2 * GAP + CAPTION_LINES * LINE_HEIGHT
    rows = -(-len(pairs) // columns)
    sheet = Image.new("RGB", (columns * cell_width, rows * cell_height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_SIZE)
    for position, pair in enumerate(pairs):
        x, y = position % columns * cell_width + GAP, position // columns * cell_height + GAP
        sheet.paste(_letterboxed(pair.source, height, width), (x, y))
        sheet.paste(_letterboxed(pair.target, height, width), (x + width + GAP, y))
        letters = max(1, int(cell_width / draw.textlength("n", font)))
        for number, line in enumerate(wrap(pair.instruction, letters)[:CAPTION_LINES]):
            draw.text((x, y + height + 2 + number * LINE_HEIGHT), line, fill="black", font=font)
    return sheet


def _letterboxed(picture: NDArray[np.uint8], height: int, width: int) -> Image.Image:
    """The picture in the middle of a place of this size."""
    place = Image.new("RGB", (width, height), LETTERBOX)
    place.paste(Image.fromarray(picture), ((width - picture.shape[1]) // 2, (height - picture.shape[0]) // 2))
    return place

"""A sheet of editing pairs for the eye: source and target side by side, the instruction below."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from varedit.data.scenes import EditPair

GAP = 6  # pixels between pictures, and around them
FONT_SIZE = 11
LINE_HEIGHT = 14
CAPTION_LINES = 2


def contact_sheet(pairs: Sequence[EditPair], columns: int) -> Image.Image:
    """Pairs row by row on white; all pairs must have one size (H, W).

    A cell is ``2 W + 3 GAP`` wide and ``H + 2 GAP + CAPTION_LINES * LINE_HEIGHT`` high, the last row may be short.
    """
    height, width = pairs[0].source.shape[:2]
    cell_width = 2 * width + 3 * GAP
    cell_height = height + 2 * GAP + CAPTION_LINES * LINE_HEIGHT
    rows = -(-len(pairs) // columns)
    sheet = Image.new("RGB", (columns * cell_width, rows * cell_height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_SIZE)
    for position, pair in enumerate(pairs):
        assert pair.source.shape[:2] == (height, width), "a contact sheet is of one size"
        x, y = position % columns * cell_width + GAP, position // columns * cell_height + GAP
        sheet.paste(Image.fromarray(pair.source), (x, y))
        sheet.paste(Image.fromarray(pair.target), (x + width + GAP, y))
        letters = max(1, int(cell_width / draw.textlength("n", font)))
        for number, line in enumerate(wrap(pair.instruction, letters)[:CAPTION_LINES]):
            draw.text((x, y + height + 2 + number * LINE_HEIGHT), line, fill="black", font=font)
    return sheet

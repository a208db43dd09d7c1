"""Attention as pictures: maps over the photograph for each scale, for each word, and the map of tokens by tokens.

Brightness is attention, on an even scale of colour. In a sheet each map has its own scale; the caption says what the
brightest place has, as a multiple of what it would have if the attention were the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from varedit.evaluation.attention import AttentionMaps, EditAttention, Floats, KeyGroup, ScaleAttention
from varedit.scales import Grid

Bytes = NDArray[np.uint8]

GAP, LINE, FONT_SIZE = 10, 16, 12  # pixels
PHOTOGRAPH_SHARE = 0.35  # of the photograph under a map
FLOOR, CEILING = -4, 0  # powers of ten, of the colours of a token map
SMALLEST_MAP = 720  # pixels, to which a map of few tokens is enlarged
_EMPTY = (58, 60, 64)  # keys that a scale does not see


def scale_sheet(edit: EditAttention, layer: int) -> Image.Image:
    """One row a chosen scale: the edit so far, then where its tokens look in the source and in the earlier scales.

    Both are shown of all tokens together and of the one at the mark, and the words beside them. The layer is one of
    those chosen.
    """
    rows = [_scale_row(edit, edit.layers[layer][scale], scale) for scale in edit.scales]
    titles = ("the edit so far", "source: all", "source: mark", "earlier: all", "earlier: mark", "words")
    return _table(titles, rows)


def word_sheet(edit: EditAttention, layer: int) -> Image.Image:
    """One picture a word: how much of their attention to words the places of the finest chosen scale give to it.

    The darkest colour is the least that a place gives to the word, the brightest the most; both stand below.
    """
    scale = edit.scales[-1]
    words = _maps(edit.layers[layer][scale]).words
    size = (edit.source.shape[0], edit.source.shape[1])
    cells = [
        _captioned(
            _over(edit.previews[scale], _enlarged_to(each - each.min(), size)),
            f"{shown_word(word)}: {100 * each.min():.1f} to {100 * each.max():.1f} %",
        )
        for word, each in zip(edit.words, words, strict=True)
    ]
    columns = min(4, len(cells))
    return _stacked([cells[start : start + columns] for start in range(0, len(cells), columns)])


def token_map(edit: EditAttention, layer: int) -> Image.Image:
    """All queries of the target by all keys: source scales, coarse to fine, then target scales; lines between scales.

    Where the source stands at one scale only it is one block. Colours are logarithmic, with a bar on the right.
    """
    scales = edit.layers[layer]
    sources = sorted({group for found in scales for group in found.groups if group.is_source}, key=lambda g: g.scale)
    columns = [*sources, *(found.groups[-1] for found in scales)]
    widths = {
        group: part.shape[1] for found in scales for group, part in zip(found.groups, _maps(found).tokens, strict=True)
    }
    zoom = max(1, SMALLEST_MAP // sum(widths.values()))
    rows = []
    for found in scales:
        parts = dict(zip(found.groups, _maps(found).tokens, strict=True))
        height = _maps(found).tokens[0].shape[0]
        blocks = [_block(parts.get(group), height, widths[group], zoom) for group in columns]
        rows.append(np.concatenate([_bordered(block) for block in blocks], axis=1))
    return _with_axes(np.concatenate(rows), [widths[group] * zoom + 1 for group in columns], columns)


def heat_colours(values: Floats) -> Bytes:
    """Colours (H, W, 3) of values (H, W) in [0, 1]: dark violet over red to pale yellow.

    Lightness rises in even steps in OKLab (B. Ottosson, "A perceptual color space for image processing", 2020), so
    that equal differences look equal, also without colour.
    """
    t = np.clip(values.astype(np.float64), 0, 1)
    lightness, hue = 0.10 + 0.87 * t, np.deg2rad(290 + 165 * t)
    chroma = 0.03 + 0.17 * np.sin(np.pi * t**0.8)
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        (
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ),
        axis=-1,
    ).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colours: Bytes = np.rint(255 * encoded).astype(np.uint8)
    return colours


def density(groups: Iterable[tuple[KeyGroup, Floats]], size: Grid) -> Floats:
    """Attention of a query to several scales as one map (h, w) over the picture, of mean 1; all 0 where there is none.

    Each token's share is spread evenly over the part of the picture that the token stands for.
    """
    total = np.zeros(size, np.float32)
    for group, attention in groups:
        h, w = group.grid
        total += _enlarged_to(attention * h * w, size)
    mean = total.mean()
    return total / mean if mean > 0 else total


def shown_word(piece: str) -> str:
    """A token as a person reads it."""
    return "(end)" if piece == "</s>" else piece.replace("▁", "") or "(blank)"


def _scale_row(edit: EditAttention, found: ScaleAttention, scale: int) -> list[Image.Image]:
    maps = _maps(found)
    size = (edit.source.shape[0], edit.source.shape[1])
    h, w = edit.schedule.grids[scale]
    cells = [_captioned(_marked(edit.previews[scale], edit, scale), f"scale {scale + 1}: {h}x{w} tokens")]
    for is_source, under in ((True, edit.source), (False, edit.previews[max(0, scale - 1)])):
        shares = [
            share for group, share in zip(found.groups, found.shares, strict=True) if _is_part(group, is_source, scale)
        ]
        for attention in (maps.mean, maps.marked):
            pairs = zip(found.groups, attention, strict=True)
            heat = density([pair for pair in pairs if _is_part(pair[0], is_source, scale)], size)
            told = f"{100 * sum(shares):.0f} % of all, " if attention is maps.mean else ""
            caption = f"{told}brightest {heat.max():.1f}x even" if shares else "there is none"
            cells.append(_captioned(_over(under, heat) if shares else Image.new("RGB", size[::-1], _EMPTY), caption))
    return [*cells, _captioned(_bars(edit.words, found.words, size), "of the attention to words")]


def _is_part(group: KeyGroup, is_source: bool, scale: int) -> bool:
    return group.is_source if is_source else not group.is_source and group.scale < scale


def _maps(found: ScaleAttention) -> AttentionMaps:
    assert found.maps is not None, "this layer was not chosen"
    return found.maps


def _over(picture: Bytes, heat: Floats) -> Image.Image:
    """A map (H, W) over a picture (H, W, 3) in grey; the map's brightest place has the brightest colour."""
    grey = np.asarray(Image.fromarray(picture.astype(np.uint8)).convert("L"), np.float32)[..., None]
    colours = heat_colours(heat / heat.max() if heat.max() > 0 else heat)
    mixed = PHOTOGRAPH_SHARE * grey + (1 - PHOTOGRAPH_SHARE) * colours
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _enlarged_to(attention: Floats, size: Grid) -> Floats:
    """Each value over the part of the picture that its token stands for, with hard edges."""
    image = Image.fromarray(np.ascontiguousarray(attention, np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.NEAREST))


def _marked(picture: Bytes, edit: EditAttention, scale: int) -> Image.Image:
    """The picture with a frame around the token of the scale that the mark lies in."""
    image = Image.fromarray(picture)
    h, w = edit.schedule.grids[scale]
    (x, y), (width, height) = edit.choice.mark, image.size
    column, row = min(int(x * w), w - 1), min(int(y * h), h - 1)
    box = (column * width / w, row * height / h, (column + 1) * width / w - 1, (row + 1) * height / h - 1)
    draw = ImageDraw.Draw(image)
    draw.rectangle(box, outline="black", width=4)
    draw.rectangle(box, outline="white", width=2)
    return image


def _bars(words: Sequence[str], shares: Sequence[float], size: Grid) -> Image.Image:
    """A bar for each word, the longest as wide as there is room."""
    height = max(size[0], LINE * len(words))
    image = Image.new("RGB", (size[1], height), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(FONT_SIZE)
    names = [shown_word(word) for word in words]
    left = min(size[1] // 2, int(max(draw.textlength(name, font) for name in names)) + 8)
    room = size[1] - left - 40
    for row, (name, share) in enumerate(zip(names, shares, strict=True)):
        y, length = row * LINE, max(1, round(room * share / max(shares)))
        draw.text((0, y), name, fill="black", font=font)
        draw.rectangle((left, y + 2, left + length, y + LINE - 3), fill="#7a4fa3")
        draw.text((left + length + 4, y), f"{100 * share:.0f} %", fill="black", font=font)
    return image


def _block(part: Floats | None, height: int, width: int, zoom: int) -> Bytes:
    """Queries of one scale by keys of another, in colours; grey where they do not see them."""
    if part is None:
        return np.full((height * zoom, width * zoom, 3), _EMPTY, np.uint8)
    powers: Floats = np.log10(np.maximum(part, np.float32(10.0**FLOOR)))
    return heat_colours((powers - np.float32(FLOOR)) / np.float32(CEILING - FLOOR)).repeat(zoom, 0).repeat(zoom, 1)


def _bordered(block: Bytes) -> Bytes:
    """With a white line on the left and above."""
    return np.pad(block, ((1, 0), (1, 0), (0, 0)), constant_values=255)


def _with_axes(pixels: Bytes, widths: Sequence[int], columns: Sequence[KeyGroup]) -> Image.Image:
    """The map with the names of its blocks above, where there is room, and the colour bar on the right."""
    height, width = pixels.shape[:2]
    left, top, right = GAP, 3 * LINE, 90
    image = Image.new("RGB", (left + width + right, top + height + GAP), "white")
    image.paste(Image.fromarray(pixels), (left, top))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(FONT_SIZE)
    x = left
    for is_source, name in ((True, "source"), (False, "target")):
        room = sum(extent for group, extent in zip(columns, widths, strict=True) if group.is_source is is_source)
        whole = f"{name}, by scale"
        draw.text((x, 4), whole if draw.textlength(whole, font) < room else name, fill="black", font=font)
        for group, extent in zip(columns, widths, strict=True):
            if group.is_source is is_source:
                if extent > LINE:
                    draw.text((x + 2, 4 + LINE), str(group.scale + 1), fill="black", font=font)
                x += extent
    ramp = heat_colours(np.linspace(1, 0, height, dtype=np.float32)[:, None])
    image.paste(Image.fromarray(ramp.repeat(16, axis=1)), (left + width + GAP, top))
    for power in range(FLOOR, CEILING + 1):
        y = top + (height - 1) * (CEILING - power) / (CEILING - FLOOR)
        draw.text((left + width + GAP + 22, y - LINE / 2), f"{10.0**power:g}", fill="black", font=font)
    return image


def _captioned(image: Image.Image, caption: str) -> Image.Image:
    framed = Image.new("RGB", (image.width, image.height + LINE + 4), "white")
    framed.paste(image)
    ImageDraw.Draw(framed).text((0, image.height + 2), caption, fill="black", font=ImageFont.load_default(FONT_SIZE))
    return framed


def _table(titles: Sequence[str], rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    font = ImageFont.load_default(FONT_SIZE + 2)
    heads = []
    for title, cell in zip(titles, rows[0], strict=True):
        head = Image.new("RGB", (cell.width, LINE + 4), "white")
        ImageDraw.Draw(head).text((0, 0), title, fill="black", font=font)
        heads.append(head)
    return _stacked([heads, *rows])


def _stacked(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Rows of pictures on white, each column as wide as its widest."""
    widths = [max(row[column].width for row in rows if column < len(row)) for column in range(len(rows[0]))]
    heights = [max(cell.height for cell in row) for row in rows]
    sheet = Image.new("RGB", (sum(widths) + GAP * (len(widths) + 1), sum(heights) + GAP * (len(rows) + 1)), "white")
    y = GAP
    for row, height in zip(rows, heights, strict=True):
        x = GAP
        for cell, width in zip(row, widths, strict=False):  # the last row may be short
            sheet.paste(cell, (x, y))
            x += width + GAP
        y += height + GAP
    return sheet

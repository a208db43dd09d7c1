"""What an edit's attention looks like as files: a page that needs nothing else, pictures, and the numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from varedit.evaluation.attention import EditAttention, ScaleAttention
from varedit.evaluation.attention_charts import DISTANCE_TITLE, SHARE_TITLE, distance_chart, share_chart
from varedit.evaluation.attention_pictures import scale_sheet, shown_word, token_map, word_sheet
from varedit.evaluation.page_parts import chart, figure, page, row, table
from varedit.output import encode_image, write_whole

_OWN_STYLE = """
section img { width: auto; max-width: 100%; } main figure { margin: 1rem 0; }
.head { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 20rem)); gap: 1rem; }
"""

_REFERENCES = {
    "sar": "In the first layer each target scale sees the source averaged down to its own grid; in the other layers it "
    "sees the source at the finest scale.",
    "finest": "Every target scale sees the source at the finest scale, in all layers.",
    "full": "Each target scale sees the source at its own scale and at the coarser ones, in all layers.",
}
_EXPLAINED = (
    "Each figure is of the attention that the model computed during this edit, in its branch with the instruction. "
    "A share is the mean over all tokens of a target scale. Distances are from a token's own place, within the source; "
    "the longer side of the picture is 1. Places tell over how many of the source's tokens one token's attention "
    "spreads (the exponential of its entropy)."
)


@dataclass(frozen=True)
class LayerPictures:
    """What is drawn of one layer."""

    layer: int  # counted from 0
    sheet: Image.Image
    words: Image.Image
    tokens: Image.Image


def write_attention(
    edit: EditAttention, folder: Path, on_layer: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """Write everything into a folder that exists; older files of the same names are replaced.

    Args:
        on_layer: told (layers drawn, layers in all).

    Returns: the path of the page. Raises OutputError.
    """
    drawn = []
    for done, layer in enumerate(edit.chosen, start=1):
        sheets = (scale_sheet(edit, layer), word_sheet(edit, layer), token_map(edit, layer))
        pictures = LayerPictures(layer, *sheets)
        named = {"scales": pictures.sheet, "words": pictures.words, "tokens": pictures.tokens}
        for name, image in named.items():
            write_whole(folder / f"layer-{layer + 1}-{name}.png", _encoded(image, "PNG"))
        drawn.append(pictures)
        on_layer(done, len(edit.chosen))
    write_whole(folder / "shares.svg", share_chart(edit, background="white").encode())
    write_whole(folder / "attention.json", json.dumps(attention_numbers(edit), indent=1).encode() + b"\n")
    page = folder / "attention.html"
    write_whole(page, attention_page(edit, drawn).encode())
    return page


def attention_numbers(edit: EditAttention) -> dict[str, Any]:
    """All numbers, ready for JSON; layers, heads and scales count from 1."""
    return {
        "settings": edit.settings,
        "reference": edit.reference,
        "head": None if edit.choice.head is None else edit.choice.head + 1,
        "mark": list(edit.choice.mark),
        "schedule": [list(grid) for grid in edit.schedule],
        "words": list(edit.words),
        "layers": [
            {"layer": layer, "scales": [_scale_numbers(each) for each in scales]}
            for layer, scales in enumerate(edit.layers, start=1)
        ],
    }


def attention_page(edit: EditAttention, drawn: Sequence[LayerPictures]) -> str:
    """The whole page."""
    title = f"Attention of {edit.settings['model']}: {edit.settings['instruction']}"
    charts = (share_chart(edit), distance_chart(edit))
    heads = "mean over all heads" if edit.choice.head is None else f"head {edit.choice.head + 1} alone"
    header = (
        f"<p>Reference: <strong>{edit.reference}</strong>. {escape(_REFERENCES[edit.reference])} "
        f"Shown: {heads}; seed {edit.settings['seed']}.</p>"
        f'<div class="head">{_figure(Image.fromarray(edit.source), "source")}'
        f"{_figure(Image.fromarray(edit.result), 'result')}</div>"
    )
    main = "\n".join(
        [
            f"<h2>Where the attention goes</h2>\n<p>{escape(_EXPLAINED)}</p>",
            *(chart(each, name) for each, name in zip(charts, (SHARE_TITLE, DISTANCE_TITLE), strict=True)),
            *(_section(edit, pictures) for pictures in drawn),
        ]
    )
    return page(title, header, main, style=_OWN_STYLE)


def _section(edit: EditAttention, pictures: LayerPictures) -> str:
    layer = pictures.layer + 1
    figures = (
        _figure(pictures.sheet, f"Layer {layer}: where the tokens of each scale look; the frame is the mark."),
        _figure(pictures.words, f"Layer {layer}: which places ask which word."),
        _figure(pictures.tokens, f"Layer {layer}: tokens by tokens; grey is what a scale does not see.", "PNG"),
    )
    return f"<section><h2>Layer {layer}</h2>\n{_table(edit, pictures.layer)}{''.join(figures)}</section>"


def _table(edit: EditAttention, layer: int) -> str:
    headings = ("scale", "source", "earlier", "itself", "distance", "if even", "places", *map(shown_word, edit.words))
    rows = []
    for scale, each in enumerate(edit.layers[layer], start=1):
        shares = (each.source_share, 1 - each.source_share - each.own_share, each.own_share)
        cells = [f"{abs(share):.3f}" for share in shares]
        cells += [f"{each.source_distance:.3f}", f"{each.even_distance:.3f}", f"{each.source_places:.1f}"]
        cells += [f"{share:.3f}" for share in each.words]
        rows.append(row(str(scale), cells))
    return table(headings, rows, f"Layer {layer + 1}")


def _scale_numbers(each: ScaleAttention) -> dict[str, Any]:
    return {
        "scale": each.groups[-1].scale + 1,
        "source_share": each.source_share,
        "own_share": each.own_share,
        "shares": [
            {"of": "source" if group.is_source else "target", "scale": group.scale + 1, "share": share}
            for group, share in zip(each.groups, each.shares, strict=True)
        ],
        "source_share_by_scale_distance": {str(distance): share for distance, share in each.source_shares.items()},
        "source_distance": each.source_distance,
        "even_distance": each.even_distance,
        "source_places": each.source_places,
        "words": list(each.words),
    }


def _figure(image: Image.Image, caption: str, kind: Literal["PNG", "JPEG"] = "JPEG") -> str:
    """JPEG for photographs, which are many times smaller so; PNG for what has sharp points of colour."""
    return figure(_encoded(image, kind), escape(caption), caption)


def _encoded(image: Image.Image, kind: Literal["PNG", "JPEG"]) -> bytes:
    return encode_image(np.asarray(image), kind, provenance=None)

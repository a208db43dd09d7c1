"""Attention as drawings: who has the attention at each scale, and how far from its own place a token looks.

SVG as text, in the page's own colour of text; a file of its own needs a background too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from varedit.evaluation.attention import EditAttention, ScaleAttention
from varedit.evaluation.attention_pictures import heat_colours
from varedit.evaluation.svg import box, drawing, text

PANEL_WIDTH, PANEL_HEIGHT, COLUMNS = 240, 170, 4  # pixels, and panels in a row
LEFT, TOP, BOTTOM = 44, 24, 34  # pixels around what a panel plots
SHARE_TITLE = "Share of the attention by what it goes to, for each layer and target scale"
DISTANCE_TITLE = "Mean distance of the attention within the source, for each layer and target scale"
EARLIER, OWN = "#8a8f98", "#c9cdd3"


def share_chart(edit: EditAttention, *, background: str = "none") -> str:
    """A panel a layer: for each target scale, the shares of the source by scale distance, of earlier scales, its own.

    Distance 0 is the source at the scale of the target, +1 at the next finer one, -1 at the next coarser one.
    """
    distances = sorted({distance for layer in edit.layers for each in layer for distance in each.source_shares})
    colours = dict(zip(distances, _ramp(len(distances)), strict=True))
    panels = [_share_panel(layer, colours) for layer in edit.layers]
    names = [(colour, f"source, {_distance_words(distance)}") for distance, colour in colours.items()]
    legend = [*names, (EARLIER, "earlier scales"), (OWN, "the scale itself")]
    return _chart(SHARE_TITLE, panels, legend, background)


def distance_chart(edit: EditAttention) -> str:
    """A panel a layer: for each target scale, how far from its own place a token looks in the source, and if evenly."""
    top = max(max(each.source_distance, each.even_distance) for layer in edit.layers for each in layer) or 1.0
    colour = _ramp(1)[0]
    panels = []
    for layer in edit.layers:
        found, even = [each.source_distance for each in layer], [each.even_distance for each in layer]
        lines = _line(even, top, EARLIER, "4 3") + _line(found, top, colour, "")
        panels.append(_axes(len(layer), f"{top:.2f}") + lines)
    legend = [(colour, "found"), (EARLIER, "if the same everywhere")]
    return _chart(DISTANCE_TITLE, panels, legend, "none")


def _share_panel(scales: Sequence[ScaleAttention], colours: dict[int, str]) -> str:
    step, bars = _step(len(scales)), []
    for place, each in enumerate(scales):
        source = sorted(each.source_shares.items())
        earlier = 1 - each.source_share - each.own_share
        parts = [(colours[distance], share) for distance, share in source]
        base = 0.0
        for colour, share in (*parts, (EARLIER, max(0.0, earlier)), (OWN, each.own_share)):
            height = share * _plot_height()
            y = TOP + _plot_height() - base - height
            bars.append(box(LEFT + place * step + 2, y, step - 4, height, colour, f"{100 * share:.1f} %"))
            base += height
    return _axes(len(scales), "100 %") + "".join(bars)


def _chart(title: str, panels: Sequence[str], legend: Sequence[tuple[str, str]], background: str) -> str:
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    drawn = [
        f'<g transform="translate({index % columns * PANEL_WIDTH} {index // columns * PANEL_HEIGHT})">'
        f"{text(LEFT, 15, f'layer {index + 1}', bold=True)}{panel}</g>"
        for index, panel in enumerate(panels)
    ]
    keys = [
        f'<g transform="translate({LEFT + place % 2 * PANEL_WIDTH} {rows * PANEL_HEIGHT + place // 2 * 18})">'
        f"{box(0, 0, 12, 12, colour)}{text(18, 11, name)}</g>"
        for place, (colour, name) in enumerate(legend)
    ]
    width, height = max(2, columns) * PANEL_WIDTH, rows * PANEL_HEIGHT + -(-len(legend) // 2) * 18 + 4
    return drawing(title, "".join(drawn) + "".join(keys), width, height, background=background)


def _axes(count: int, top: str) -> str:
    """Both axes of a panel: target scales below, from nothing to ``top`` on the left."""
    floor, right = TOP + _plot_height(), LEFT + count * _step(count)
    line = f'<path d="M{LEFT} {TOP}V{floor}H{right:.1f}" fill="none" stroke="currentColor"/>'
    every = -(-count // 14)  # numbers that have room
    numbers = [
        text(LEFT + (place + 0.5) * _step(count), floor + 13, str(place + 1), "middle")
        for place in range(0, count, every)
    ]
    ends = text(LEFT - 4, TOP + 8, top, "end") + text(LEFT - 4, floor, "0", "end")
    return line + "".join(numbers) + ends + text(LEFT, floor + 26, "target scale")


def _line(values: Sequence[float], top: float, colour: str, dashes: str) -> str:
    step = _step(len(values))
    places = [
        (LEFT + (place + 0.5) * step, TOP + _plot_height() * (1 - value / top)) for place, value in enumerate(values)
    ]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places)
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>{dots}'


def _step(count: int) -> float:
    return (PANEL_WIDTH - LEFT - 12) / count


def _plot_height() -> int:
    return PANEL_HEIGHT - TOP - BOTTOM


def _ramp(count: int) -> list[str]:
    """So many colours of the maps' scale, none too dark or too pale to be seen on either ground."""
    places = np.linspace(0.4, 0.85, count, dtype=np.float32)[None]
    return ["#{:02x}{:02x}{:02x}".format(*colour) for colour in heat_colours(places)[0]]


def _distance_words(distance: int) -> str:
    if distance == 0:
        return "at the scale itself"
    count = f"{abs(distance)} scale{'s' if abs(distance) > 1 else ''}"
    return f"{count} {'finer' if distance > 0 else 'coarser'}"

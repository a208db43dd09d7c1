"""Means with their intervals as drawings: a panel a measure, a line a category, a mark a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from varedit.evaluation.statistics import Interval
from varedit.evaluation.svg import box, drawing, text

PANEL_WIDTH, NAMES_WIDTH = 350, 130  # pixels; a phone has room for one
TOP, LINE, BOTTOM = 24, 14, 22  # pixels above the plot, of each mark's line, and below
COLOURS = ("#3f88d8", "#d9822b", "#3f9c63", "#b565c4", "#c94f4a", "#8a8f98")
LONGEST_NAME = 22  # letters

Rows = Mapping[str, Sequence[Interval | None]]  # by category, an interval of each run


@dataclass(frozen=True)
class Panel:
    """One measure."""

    heading: str
    rows: Rows
    digits: int


def interval_charts(panels: Sequence[Panel], runs: Sequence[str]) -> str:
    """Markup of a drawing a panel, as many beside each other as fit, and of a legend if there are several runs.

    Args:
        runs: names of the runs, in the order of each row's intervals.
    """
    drawn = [drawing(panel.heading, _panel(panel), PANEL_WIDTH, _height(panel)) for panel in panels]
    if len(runs) > 1:
        names = [
            _mark(10, 18 * number + 9, number) + text(22, 18 * number + 13, run) for number, run in enumerate(runs)
        ]
        drawn.append(drawing("Legend", "".join(names), PANEL_WIDTH, 18 * len(runs)))
    return f'<div class="panels">{"".join(drawn)}</div>'


def _panel(panel: Panel) -> str:
    low, high = _range(panel.rows)
    left, right = NAMES_WIDTH, PANEL_WIDTH - 24
    floor = _height(panel) - BOTTOM

    def place(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts = [text(left, 14, panel.heading, bold=True)]
    parts.append(f'<path d="M{left} {TOP}V{floor}H{right}" fill="none" stroke="currentColor"/>')
    for value, anchor in ((low, "start"), (high, "end")):
        parts.append(text(place(value), floor + 13, f"{value:.{panel.digits}f}", anchor))
    y = TOP + 4.0
    for name, intervals in panel.rows.items():
        height = LINE * len(intervals)
        parts.append(text(left - 6, y + height / 2 + 4, _short(name), "end"))
        for number, interval in enumerate(intervals):
            if interval is not None:
                parts.append(_whiskers(interval, place, y + LINE * (number + 0.5), number, panel.digits))
        y += height + 4
    return "".join(parts)


def _whiskers(interval: Interval, place: Callable[[float], float], y: float, number: int, digits: int) -> str:
    told, line = f"{interval.value:.{digits}f}, of {interval.n}", ""
    if interval.low is not None and interval.high is not None:
        start, end = place(interval.low), place(interval.high)
        line = box(start, y - 1, max(1.0, end - start), 2, _colour(number))
        told = f"{interval.value:.{digits}f}, {interval.low:.{digits}f} to {interval.high:.{digits}f}, of {interval.n}"
    return line + _mark(place(interval.value), y, number, told)


def _mark(x: float, y: float, number: int, told: str = "") -> str:
    """Another form for each run, as not everybody tells colours."""
    forms = ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "M-3.5-3.5h7v7h-7z", "M0-5l5 5l-5 5l-5-5z", "M0-5l5 9h-10z")
    title = f"<title>{told}</title>" if told else ""
    form = forms[number % len(forms)]
    return f'<path d="{form}" transform="translate({x:.1f} {y:.1f})" fill="{_colour(number)}">{title}</path>'


def _range(rows: Rows) -> tuple[float, float]:
    """The ends of the axis: all means and intervals."""
    there = [interval for intervals in rows.values() for interval in intervals if interval is not None]
    values = [value for each in there for value in (each.value, each.low, each.high) if value is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return (low - 0.5, high + 0.5) if math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-9) else (low, high)


def _height(panel: Panel) -> float:
    return TOP + 4 + sum(LINE * len(intervals) + 4 for intervals in panel.rows.values()) + BOTTOM


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]

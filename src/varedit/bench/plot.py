"""A measurement as a picture: each stage beside its bound, and images a second by batch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from varedit.errors import MissingExtra, UsageError
from varedit.output import write_whole

MEASURED, BOUND, OTHER = "#3060c0", "#b0b8c8", "#c06030"


def check_plot_path(path: Path) -> None:
    """Raise UsageError or MissingExtra for a plot that could not be drawn, before anything is measured."""
    if path.suffix not in (".png", ".svg"):
        raise UsageError(f"a plot is a .png or .svg file, not {path.name}")
    new_figure(1, 1)


def write_plot(report: dict[str, Any], path: Path) -> None:
    """Draw a report of `run.run_bench` as PNG or SVG. Raises OutputError, and as `check_plot_path`."""
    check_plot_path(path)
    figure = new_figure(11, 4.5)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    draw_stages(left, report["batches"][0]["stages"])
    left.set_title(f"batch of {report['batches'][0]['batch']}")
    draw_throughput(right, report)
    width, height = report["size"]
    figure.suptitle(f"{report['model']['name']}, {width}x{height}, {report['precision']}, {report['device']}")
    save_figure(figure, path)


def new_figure(width: float, height: float) -> Any:
    """An empty `matplotlib.figure.Figure` of so many inches. Raises MissingExtra."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("drawing a plot", "bench") from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure of `new_figure` whole, as its suffix says. Raises OutputError."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], dpi=120)
    write_whole(path, buffer.getvalue())


def draw_stages(axes: Any, stages: Sequence[Mapping[str, Any]]) -> None:
    """Measured time and bound of every stage, milliseconds on a logarithmic axis."""
    draw_pairs(
        axes, [[1000 * stage[key] for stage in stages] for key in ("seconds", "bound_seconds")], (MEASURED, BOUND)
    )
    axes.set_xticks(range(len(stages)), [stage["stage"] for stage in stages], rotation=60, ha="right")
    axes.set_yscale("log")
    axes.set_ylabel("ms")
    axes.set_ylim(top=axes.get_ylim()[1] * 4)  # room for the legend
    axes.legend(["measured", "lower bound"], loc="upper left", ncols=2)


def draw_pairs(axes: Any, heights: Sequence[Sequence[float]], colours: tuple[str, str]) -> None:
    """Two bars at each place, side by side."""
    for shift, row, colour in zip((-0.2, 0.2), heights, colours, strict=True):
        axes.bar([place + shift for place in range(len(row))], row, 0.4, color=colour)


def draw_throughput(axes: Any, report: dict[str, Any]) -> None:
    """Images a second by batch size, of other code too where it was measured."""
    rows = report["batches"]
    axes.plot(
        [row["batch"] for row in rows],
        [row["images_per_second"] for row in rows],
        marker="o",
        color=MEASURED,
        label="varedit",
    )
    if "other" in report:
        others = report["other"]["batches"]
        rates = [row["their_images_per_second"] for row in others]
        axes.plot([row["batch"] for row in others], rates, marker="s", color=OTHER, label=report["other"]["folder"])
    axes.set_xlabel("batch")
    axes.set_ylabel("images/s")
    axes.set_ylim(bottom=0)
    axes.legend()

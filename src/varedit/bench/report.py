"""A measurement as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table


def tables(report: dict[str, Any]) -> Iterator[Table]:
    """The stages of the smallest batch, then all batches."""
    width, height = report["size"]
    facts = f"{report['model']['name']}, {width}x{height}, {report['precision']}, {report['device']}"
    first = report["batches"][0]
    yield _table(
        f"{facts}: batch of {first['batch']}",
        ("stage", "ms", "bound ms", "by", "measured/bound", "GFLOP", "MB moved"),
        [
            (
                stage["stage"],
                f"{1000 * stage['seconds']:.1f}",
                f"{1000 * stage['bound_seconds']:.1f}",
                stage["bound_by"],
                f"{stage['ratio']:.1f}",
                f"{(stage['flops'] + stage['float32_flops']) / 1e9:.1f}",
                f"{stage['traffic'] / 1e6:.1f}",
            )
            for stage in first["stages"]
        ],
    )
    yield _table(
        "batches, from pixels to the decoder's pixels",
        ("batch", "seconds", "images/s", "with restoring", "peak MB"),
        [
            (
                str(row["batch"]),
                f"{row['seconds']:.3f}",
                f"{row['images_per_second']:.3f}",
                f"{row['restored_seconds']:.3f}",
                f"{row['peak_bytes'] / 1e6:.0f}",
            )
            for row in report["batches"]
        ],
    )
    if "other" in report:
        yield _table(
            f"beside {report['other']['folder']}, in turns",
            ("batch", "seconds", "its seconds", "its images/s", "speed-up"),
            [
                (
                    str(row["batch"]),
                    f"{row['our_seconds']:.3f}",
                    f"{row['their_seconds']:.3f}",
                    f"{row['their_images_per_second']:.3f}",
                    f"{row['speedup']:.2f}",
                )
                for row in report["other"]["batches"]
            ],
        )


def _table(title: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("stage", "by") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table

"""The pictures of a report: which items are shown, and their pictures small enough to travel inside a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from varedit.errors import ImageError, InputMissing
from varedit.evaluation.page_parts import figure
from varedit.evaluation.report_numbers import Measure, MeasuredRun
from varedit.evaluation.run_folder import RunItem
from varedit.images import read_image
from varedit.output import encode_image

SIDE = 320  # pixels, the longer one
QUALITY = 85


def best_and_worst(measure: Measure, items: Sequence[RunItem], count: int) -> tuple[list[RunItem], list[RunItem]]:
    """So many items in all: the best ones, best first, and the worst ones, worst first. None is in both."""
    ranked = [item for item in items if item.id in measure.values]
    ranked.sort(key=lambda item: measure.values[item.id], reverse=not measure.is_better_low)
    best = ranked[: (min(count, len(ranked)) + 1) // 2]
    return best, ranked[len(best) :][::-1][: count // 2]


def shown(path: Path | None, caption: str, alt: str) -> str:
    """A picture with its caption (plain text), or why there is none."""
    reason = "there is no picture"
    if path is not None:
        try:
            return figure(_small(path), escape(caption), alt)
        except (ImageError, InputMissing):
            reason = "the picture is damaged"
    return f'<figure><div class="none">{reason}</div><figcaption>{escape(caption)}</figcaption></figure>'


def given_pictures(run: MeasuredRun, item: RunItem) -> tuple[str, str]:
    """Markup of what the benchmark gives of an item: its source, and the true result and mask where there are any."""
    source = shown(run.folder.source(item), "source", "the source")
    target = mask = ""
    if item.target is not None:
        target = shown(run.folder.picture(item.target), "target", f"the true result of: {item.instruction}")
    if item.mask is not None:
        mask = shown(run.folder.picture(item.mask), "may change", "mask: white may change")
    return source, target + mask


def _small(path: Path) -> bytes:
    image = Image.fromarray(read_image(path).rgb)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return encode_image(np.asarray(image), "JPEG", provenance=None, quality=QUALITY)

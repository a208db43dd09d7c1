"""Scores of a run: every metric of every item, and their means.

A result is compared with the true result where the benchmark has one, else with the source. Where there is a mask, each
metric also comes with `_inside`, of the part that may change, and `_outside`, of the rest, which is compared with the
source in either case. Networks look at a part with black around it; other metrics look at its pixels alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from varedit.errors import ImageError
from varedit.evaluation import metrics
from varedit.evaluation.backbones import Clip, Dino, structure_distance
from varedit.evaluation.files import write_report
from varedit.evaluation.metrics import Bytes, Region, blackened, pixels
from varedit.evaluation.run_folder import RunFolder, RunItem
from varedit.images import load_mask, read_image
from varedit.perceptual import PerceptualDistance

ROWS, REPORT = "scores.jsonl", "scores.json"
PIXEL_METRICS = {"l1": metrics.l1, "l2": metrics.l2, "psnr": metrics.psnr, "ssim": metrics.ssim}
SMALLEST_LPIPS_SIDE = 16  # pixels; what is smaller has nothing left in the last stage

OnProgress = Callable[[int, int], None]  # items done, items in all


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What metrics look through; None leaves its metrics out.

    Attributes:
        clip: for `clip_image`, `clip_text` and `clip_direction`.
        dino: for `dino`.
        structure: for `structure` and `structure_pie`.
        lpips: for `lpips`.
    """

    clip: Clip | None = None
    dino: Dino | None = None
    structure: Dino | None = None
    lpips: PerceptualDistance | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """What the metrics of one item see: pictures (H, W, 3) of one size.

    Attributes:
        reference: what the result is compared with: the true result, or the source where there is none.
        mask: (H, W), true where the edit may change the source; None where the benchmark does not tell.
        is_resized: whether the result had another size.
    """

    source: Bytes
    result: Bytes
    reference: Bytes
    mask: Region | None
    has_target: bool
    source_caption: str | None
    target_caption: str | None
    is_resized: bool


@dataclass
class Row:
    """The scores of one item.

    Attributes:
        scores: by metric; None where it is not defined, such as outside of a mask that is everything.
        zeros: metrics that are 0 because their direction has no length.
        problem: why there are no scores, a sentence; None if there are.
        is_resized: see `Case`.
    """

    id: str
    category: str
    scores: dict[str, float | None] = field(default_factory=dict)
    zeros: list[str] = field(default_factory=list)
    problem: str | None = None
    is_resized: bool = False


def score_run(run: RunFolder, networks: Networks, on_progress: OnProgress = lambda done, total: None) -> list[Row]:
    """The scores of all items. A result that is missing or damaged costs its own item only, and its row says so.

    Raises: InputMissing, ImageError where the run's own pictures are not there or damaged.
    """
    items = run.items()
    rows = []
    for item in items:
        rows.append(_row(run, item, networks))
        on_progress(len(rows), len(items))
    return rows


def _row(run: RunFolder, item: RunItem, networks: Networks) -> Row:
    path = run.result(item)
    if path is None:
        return Row(item.id, item.category, problem=f"there is no result {run.results / item.id}.png")
    try:
        result = read_image(path, name=str(path)).rgb
    except ImageError as error:
        return Row(item.id, item.category, problem=str(error))
    case = _case(run, item, result)
    row = Row(item.id, item.category, pixel_scores(case), is_resized=case.is_resized)
    for name, value in network_scores(case, networks):
        if value is not None and np.isnan(value):
            row.zeros.append(name)
            value = 0.0
        row.scores[name] = value
    return row


def _case(run: RunFolder, item: RunItem, result: Bytes) -> Case:
    """An item's pictures in the size of its reference."""
    source = read_image(run.picture(item.source)).rgb
    height, width = source.shape[:2]
    mask = None if item.mask is None else load_mask(run.picture(item.mask), width, height) > 0.5
    reference = source if item.target is None else read_image(run.picture(item.target)).rgb
    height, width = reference.shape[:2]
    if mask is not None and mask.shape != (height, width):
        mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    return Case(
        source=_resized(source, reference),
        result=_resized(result, reference),
        reference=reference,
        mask=mask,
        has_target=item.target is not None,
        source_caption=item.source_caption or None,
        target_caption=item.target_caption or None,
        is_resized=result.shape != reference.shape,
    )


def _resized(picture: Bytes, like: Bytes) -> Bytes:
    if picture.shape == like.shape:
        return picture
    return np.asarray(Image.fromarray(picture).resize(like.shape[1::-1], Image.Resampling.BICUBIC))


def pixel_scores(case: Case) -> dict[str, float | None]:
    """Metrics that need no network.

    `unedited_psnr`, `unedited_ssim` and `unedited_mse` are those of PIE-Bench: of the whole frame, with black for what
    may change in both pictures, so that black places count as agreement.
    """
    scores = {name: metric(case.result, case.reference) for name, metric in PIXEL_METRICS.items()}
    if case.mask is None:
        return scores
    outside = ~case.mask
    for name, metric in PIXEL_METRICS.items():
        scores[f"{name}_inside"] = metric(case.result, case.reference, case.mask)
        scores[f"{name}_outside"] = metric(case.result, case.source, outside)
    pair = (blackened(case.result, outside), blackened(case.source, outside))
    for name, metric in (("psnr", metrics.psnr), ("ssim", metrics.ssim), ("mse", metrics.l2)):
        scores[f"unedited_{name}"] = metric(*pair) if outside.any() else None
    return scores


def network_scores(case: Case, networks: Networks) -> Iterator[tuple[str, float | None]]:
    """Metrics through networks; not a number for a direction without a length."""
    yield from _view_scores(case, networks, View(case.source, case.result, case.reference))
    if case.mask is not None:
        for suffix, region, reference in (
            ("_inside", case.mask, case.reference),
            ("_outside", ~case.mask, case.source),
        ):
            view = View(*(blackened(picture, region) for picture in (case.source, case.result, reference)))
            for name, value in _view_scores(case, networks, view):
                yield f"{name}{suffix}", value if region.any() else None
    if networks.clip is not None and case.has_target and case.target_caption is not None:
        (picture,), (caption,) = networks.clip.pictures([case.reference]), networks.clip.texts([case.target_caption])
        yield "clip_text_of_target", float(picture @ caption)


class View(NamedTuple):
    """What networks are shown of a case: all of it, or a part with black around it."""

    source: Bytes
    result: Bytes
    reference: Bytes


def _view_scores(case: Case, networks: Networks, view: View) -> Iterator[tuple[str, float | None]]:
    if networks.lpips is not None:
        yield "lpips", _lpips(networks.lpips, view.result, view.reference)
    if networks.dino is not None:
        first, second = networks.dino.pictures([view.result, view.reference])
        yield "dino", float(first @ second)
    if networks.structure is not None:
        yield "structure", structure_distance(networks.structure, view.source, view.result)
        yield "structure_pie", structure_distance(networks.structure, view.source, view.result, brightest=255.0)
    if networks.clip is not None:
        yield from _clip_scores(networks.clip, case, view)


def _clip_scores(clip: Clip, case: Case, view: View) -> Iterator[tuple[str, float | None]]:
    """`clip_image`: with the reference. `clip_text`: with the target's caption. `clip_direction`: between the way from
    source to result and that from caption to caption, of embeddings of length one (InstructPix2Pix, 2211.09800).
    """
    before, after, wanted = clip.pictures(view)
    yield "clip_image", float(after @ wanted)
    if case.target_caption is None:
        yield from (("clip_text", None), ("clip_direction", None))
        return
    caption = clip.texts([case.target_caption])[0]
    yield "clip_text", float(after @ caption)
    if case.source_caption is None:
        yield "clip_direction", None
        return
    ways = (after - before, caption - clip.texts([case.source_caption])[0])
    is_nowhere = bool((view.source == view.result).all()) or case.source_caption == case.target_caption
    yield "clip_direction", float("nan") if is_nowhere else float(torch.cosine_similarity(*ways, dim=0))


def _lpips(distance: PerceptualDistance, first: Bytes, second: Bytes) -> float | None:
    if min(first.shape[:2]) < SMALLEST_LPIPS_SIDE:
        return None
    device = distance.shift.device
    return float(distance(pixels(first)[None].to(device), pixels(second)[None].to(device)))


def scores_report(rows: Sequence[Row], facts: dict[str, Any]) -> dict[str, Any]:
    """Means over items, overall and by category, and everything that was left out; ready for JSON."""
    scored = [row for row in rows if row.problem is None]
    categories = sorted({row.category for row in scored})
    return {
        **facts,
        "items": len(rows),
        "scored": len(scored),
        "resized": sum(row.is_resized for row in scored),
        "missing": {row.id: row.problem for row in rows if row.problem is not None},
        "metrics": _means(scored),
        "categories": {name: _means([row for row in scored if row.category == name]) for name in categories},
    }


def _means(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """By metric: the mean over its items, how many they are, and how many of them are zero for want of a direction."""
    names = dict.fromkeys(name for row in rows for name in row.scores)
    means = {}
    for name in names:
        values = [value for row in rows if (value := row.scores.get(name)) is not None]
        zeros = sum(name in row.zeros for row in rows)
        mean = fmean(values) if values else None
        means[name] = {"mean": mean, "items": len(values), "undefined": len(rows) - len(values), "zeros": zeros}
    return means


def write_scores(run: RunFolder, rows: Sequence[Row], report: dict[str, Any]) -> Path:
    """Write scores.jsonl, an item a line, and scores.json; returns the latter. Raises OutputError."""
    write_report(run.path / ROWS, "".join(json.dumps(vars(row), ensure_ascii=False) + "\n" for row in rows))
    write_report(run.path / REPORT, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return run.path / REPORT

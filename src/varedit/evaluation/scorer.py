"""Scores of a run: every metric of every item, and their means.

A result is compared with the true result where the benchmark has one, else with the source. Where there is a mask, each
metric also comes with `_inside`, of the part that may change, and `_outside`, of the rest, which is compared with the
source in either case. Networks look at a part with black around it; other metrics look at its pixels alone. Networks
see the pictures of several items at a time, which changes no score.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from varedit.errors import ImageError
from varedit.evaluation import metrics
from varedit.evaluation.backbones import Clip, Dino, structure_distances
from varedit.evaluation.files import write_report
from varedit.evaluation.metric_names import INSIDE, OUTSIDE
from varedit.evaluation.metrics import Bytes, Region, blackened, pixels
from varedit.evaluation.run_folder import SCORE_ROWS, SCORES, RunFolder, RunItem
from varedit.evaluation.statistics import Interval, mean_intervals
from varedit.images import load_mask, read_image
from varedit.perceptual import PerceptualDistance

PIXEL_METRICS = {"l1": metrics.l1, "l2": metrics.l2, "psnr": metrics.psnr, "ssim": metrics.ssim}
BATCH_SIZE = 8  # items whose pictures networks see at a time
SMALLEST_LPIPS_SIDE = 16  # pixels; what is smaller has nothing left in the last stage

Scores = dict[str, float | None]  # by metric
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
        origin: see `Row`.
    """

    source: Bytes
    result: Bytes
    reference: Bytes
    mask: Region | None
    has_target: bool
    source_caption: str | None
    target_caption: str | None
    is_resized: bool
    origin: str


@dataclass
class Row:
    """The scores of one item.

    Attributes:
        scores: by metric; None where it is not defined, such as outside of a mask that is everything.
        zeros: metrics that are 0 because their direction has no length.
        problem: why there are no scores, a sentence; None if there are.
        is_resized: see `Case`.
        origin: what the source picture comes from; items of one origin are not independent.
    """

    id: str
    category: str
    scores: dict[str, float | None] = field(default_factory=dict)
    zeros: list[str] = field(default_factory=list)
    problem: str | None = None
    is_resized: bool = False
    origin: str = ""


def score_run(
    run: RunFolder,
    networks: Networks,
    on_progress: OnProgress = lambda done, total: None,
    *,
    batch_size: int = BATCH_SIZE,
) -> list[Row]:
    """The scores of all items. A result that is missing or damaged costs its own item only, and its row says so.

    Args:
        batch_size: items whose pictures the networks see at a time.

    Raises: InputMissing, ImageError where the run's own pictures are not there or damaged.
    """
    items = run.items()
    rows: list[Row] = []
    for start in range(0, len(items), batch_size):
        rows += _rows(run, items[start : start + batch_size], networks)
        on_progress(len(rows), len(items))
    return rows


def _rows(run: RunFolder, items: Sequence[RunItem], networks: Networks) -> list[Row]:
    """Rows of a few items, in their order."""
    rows, scored = [], []
    for item in items:
        row = Row(item.id, item.category)
        rows.append(row)
        try:
            case = _case(run, item)
        except _NoPicture as error:
            row.problem = str(error)
            continue
        row.scores, row.is_resized, row.origin = pixel_scores(case), case.is_resized, case.origin
        scored.append((row, case))
    found = network_scores([case for _, case in scored], networks)
    for (row, _), scores in zip(scored, found, strict=True):
        row.zeros = [name for name, value in scores.items() if value is not None and np.isnan(value)]
        row.scores |= scores | dict.fromkeys(row.zeros, 0.0)
    return rows


class _NoPicture(Exception):
    """A result is missing or damaged; the message is a sentence."""


def _case(run: RunFolder, item: RunItem) -> Case:
    """An item's pictures in the size of its reference. Raises _NoPicture."""
    path = run.result(item)
    if path is None:
        raise _NoPicture(f"there is no result {run.results / item.id}.png")
    try:
        result = read_image(path, name=str(path)).rgb
    except ImageError as error:
        raise _NoPicture(str(error)) from error
    before = run.source(item)
    if item.after is not None and not before.is_file():
        raise _NoPicture(f"there is no result of {item.after}, which it goes on from")
    source = read_image(before).rgb
    origin = item.origin or hashlib.sha256(source.tobytes()).hexdigest()[:16]
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
        origin=origin,
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
        scores[f"{name}{INSIDE}"] = metric(case.result, case.reference, case.mask)
        scores[f"{name}{OUTSIDE}"] = metric(case.result, case.source, outside)
    pair = (blackened(case.result, outside), blackened(case.source, outside))
    for name, metric in (("psnr", metrics.psnr), ("ssim", metrics.ssim), ("mse", metrics.l2)):
        scores[f"unedited_{name}"] = metric(*pair) if outside.any() else None
    return scores


def network_scores(cases: Sequence[Case], networks: Networks) -> list[Scores]:
    """Metrics through networks of each case; not a number for a direction without a length."""
    views = [view for case in cases for view in _views(case)]
    if not views:
        return []
    found: list[Scores] = [{} for _ in views]
    if networks.lpips is not None:
        _add(found, [{"lpips": _lpips(networks.lpips, view)} for view in views])
    if networks.dino is not None:
        _add(found, _dino_scores(networks.dino, views))
    if networks.structure is not None:
        _add(found, _structure_scores(networks.structure, views))
    if networks.clip is not None:
        _add(found, _clip_scores(networks.clip, views))
    by_case: dict[int, Scores] = {id(case): {} for case in cases}
    for view, scores in zip(views, found, strict=True):
        for name, value in scores.items():
            by_case[id(view.case)][f"{name}{view.suffix}"] = None if view.is_empty else value
    return list(by_case.values())


@dataclass(frozen=True, eq=False)
class View:
    """What networks are shown of a case: all of it, or a part with black around it.

    Attributes:
        suffix: of the names of its metrics.
        region: the part; None for all.
    """

    case: Case
    suffix: str = ""
    region: Region | None = None

    @property
    def source(self) -> Bytes:
        """(H, W, 3), as the next two."""
        return self._part(self.case.source)

    @property
    def result(self) -> Bytes:
        """What the editor made."""
        return self._part(self.case.result)

    @property
    def reference(self) -> Bytes:
        """What the result is compared with."""
        return self._part(self.case.source if self.suffix == OUTSIDE else self.case.reference)

    @property
    def is_empty(self) -> bool:
        """Whether it has no pixel."""
        return self.region is not None and not self.region.any()

    def _part(self, picture: Bytes) -> Bytes:
        return picture if self.region is None else blackened(picture, self.region)


def _views(case: Case) -> Iterator[View]:
    yield View(case)
    if case.mask is not None:
        yield View(case, INSIDE, case.mask)
        yield View(case, OUTSIDE, ~case.mask)


def _add(found: Sequence[Scores], more: Sequence[Scores]) -> None:
    for scores, others in zip(found, more, strict=True):
        scores.update(others)


def _dino_scores(dino: Dino, views: Sequence[View]) -> list[Scores]:
    embedded = dino.pictures([picture for view in views for picture in (view.result, view.reference)])
    return [{"dino": float(first @ second)} for first, second in embedded.unflatten(0, (-1, 2))]


def _structure_scores(structure: Dino, views: Sequence[View]) -> list[Scores]:
    """Views of one size are seen together."""
    found: list[Scores] = [{} for _ in views]
    by_size: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, view in enumerate(views):
        by_size[view.case.source.shape].append(place)
    for places in by_size.values():
        pairs = [(views[place].source, views[place].result) for place in places]
        for name, brightest in (("structure", 1.0), ("structure_pie", 255.0)):
            distances = structure_distances(structure, *map(list, zip(*pairs, strict=True)), brightest=brightest)
            for place, distance in zip(places, distances, strict=True):
                found[place][name] = distance
    return found


def _clip_scores(clip: Clip, views: Sequence[View]) -> list[Scores]:
    """`clip_image`: with the reference. `clip_text`: with the target's caption. `clip_direction`: between the way from
    source to result and that from caption to caption, of embeddings of length one (InstructPix2Pix, 2211.09800).
    """
    pictures = [picture for view in views for picture in (view.source, view.result, view.reference)]
    captions = {text for view in views for text in (view.case.source_caption, view.case.target_caption) if text}
    texts = dict(zip(captions, clip.texts(list(captions)), strict=True)) if captions else {}
    embedded = clip.pictures(pictures).unflatten(0, (-1, 3))
    return [_clip_scores_of(view, three, texts) for view, three in zip(views, embedded, strict=True)]


def _clip_scores_of(view: View, embedded: Tensor, texts: Mapping[str, Tensor]) -> Scores:
    """Of one view, by the embeddings (3, D) of its source, result and reference, and of all captions, each (D,)."""
    before, after, wanted = embedded
    case = view.case
    scores: Scores = {"clip_image": float(after @ wanted), "clip_text": None, "clip_direction": None}
    if case.target_caption is None:
        return scores
    caption = texts[case.target_caption]
    scores["clip_text"] = float(after @ caption)
    if case.source_caption is not None:
        ways = (after - before, caption - texts[case.source_caption])
        is_nowhere = bool((view.source == view.result).all()) or case.source_caption == case.target_caption
        scores["clip_direction"] = float("nan") if is_nowhere else float(torch.cosine_similarity(*ways, dim=0))
    if case.has_target and view.region is None:
        scores["clip_text_of_target"] = float(wanted @ caption)
    return scores


def _lpips(distance: PerceptualDistance, view: View) -> float | None:
    """One at a time: it looks at every pixel, which fills a device without others."""
    if min(view.result.shape[:2]) < SMALLEST_LPIPS_SIDE:
        return None
    device = distance.shift.device
    first, second = (pixels(picture)[None].to(device) for picture in (view.result, view.reference))
    return float(distance(first, second))


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
    """By metric: the mean over its items with its interval, how many they are, and how many are undefined or zero."""
    names = dict.fromkeys(name for row in rows for name in row.scores)
    columns = {name: [row.scores.get(name) for row in rows] for name in names}
    intervals = mean_intervals(columns, [row.origin or row.id for row in rows])
    means = {}
    for name in names:
        zeros = sum(name in row.zeros for row in rows)
        found = intervals.get(name, Interval(math.nan, None, None, 0))
        means[name] = {
            "mean": found.value if found.n else None,
            "low": found.low,
            "high": found.high,
            "items": found.n,
            "undefined": len(rows) - found.n,
            "zeros": zeros,
        }
    return means


def write_scores(run: RunFolder, rows: Sequence[Row], report: dict[str, Any]) -> Path:
    """Write scores.jsonl, an item a line, and scores.json; returns the latter. Raises OutputError."""
    write_report(run.path / SCORE_ROWS, "".join(json.dumps(vars(row), ensure_ascii=False) + "\n" for row in rows))
    write_report(run.path / SCORES, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return run.path / SCORES

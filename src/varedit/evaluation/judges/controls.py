"""Edits whose right scores are known beforehand, to try a judge before it is believed (spec "Evaluation", 7.3).

They are made of a run's own items and laid out as a run, so that a judge is asked about them as about any other.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from varedit.errors import InputMissing, UsageError
from varedit.evaluation.files import make_report_folder, write_report
from varedit.evaluation.metrics import Bytes
from varedit.evaluation.run_folder import BENCHMARK, ITEMS, PICTURES, RESULTS, RunFolder, RunItem
from varedit.images import read_image
from varedit.output import encode_image, write_whole

NAME = "controls"  # as a benchmark
NOTHING, OTHER, TARGET = "do nothing", "another picture", "true result"
WRONG, DAMAGED = "true result, other instruction", "true result, damaged elsewhere"
COUNT, SEED = 30, 0
DAMAGE = 0.1  # share of the picture
LARGEST_SUCCESS_OF_NOTHING = 2.0  # mean; a judge that gives more sees edits where there are none

_GOOD_AND_BAD = {  # which controls a score must tell apart
    "success": ((TARGET,), (NOTHING, OTHER, WRONG)),
    "over_editing": ((NOTHING, TARGET), (OTHER, DAMAGED)),
}
OnProgress = Callable[[int, int], None]  # items done, items in all


def write_controls(
    run: RunFolder,
    out: Path,
    *,
    count: int = COUNT,
    seed: int = SEED,
    on_progress: OnProgress = lambda done, total: None,
) -> RunFolder:
    """Make a run's folder of controls: "do nothing" and "another picture", and three more where true results are known.

    Args:
        run: whose items are taken; their results do not matter.
        count: items of each kind, drawn by the seed; all, if there are fewer.

    Raises: InputMissing; UsageError where there are fewer than two sources or the folder is in use; OutputError.
    """
    if (out / ITEMS).exists():
        raise UsageError(f"{out} holds a run already; give -o another folder.")
    items = [item for item in run.items() if item.after is None]
    items = [item for item in items if item.target is not None] or items
    order = np.random.default_rng(seed).permutation(len(items))[:count]
    chosen = [items[place] for place in order]
    make_report_folder(out)
    lines: list[str] = []
    for number, item in enumerate(chosen):
        other = _unlike(item, chosen[number + 1 :] + chosen[:number], run)
        for kind, instruction, result in _controls(run, item, other):
            name = f"{kind.replace(', ', '-').replace(' ', '-')}/{number:03d}"
            source = f"{PICTURES}/{number:03d}.source.png"
            _write(out / source, read_image(run.picture(item.source)).rgb)
            _write(out / RESULTS / f"{name}.png", result)
            control = RunItem(
                id=name, category=kind, instruction=instruction, language=item.language, source=source,
                meta={"item": item.id},
            )  # fmt: skip
            lines.append(control.to_json() + "\n")
        on_progress(number + 1, len(chosen))
    facts = {"name": NAME, "of": run.benchmark(), "count": len(chosen), "seed": seed}
    write_report(out / BENCHMARK, json.dumps(facts, indent=1) + "\n")
    write_report(out / ITEMS, "".join(lines))
    return RunFolder(out)


@dataclass(frozen=True)
class Trial:
    """What a judge by the paper's scheme made of the controls.

    Attributes:
        model: the judge.
        means: of both scores, by kind of control.
        areas: by score, how often a control that should have more of it has more (the area under the ROC curve); 1 is
            faultless, 0.5 is chance. None where one side was not judged.
    """

    model: str
    means: Mapping[str, Mapping[str, float]]
    areas: Mapping[str, float | None]

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> Self:
        """From the report of `varedit eval judge` on a folder of controls. Raises UsageError for another scheme."""
        if report["judge"]["scheme"] != "paper":
            raise UsageError("controls are judged by --scheme paper, whose right answers are known")
        scores: dict[str, list[Mapping[str, float]]] = {}
        for row in report["items"].values():
            if row["scores"] is not None:
                scores.setdefault(row["category"], []).append(row["scores"])
        means = {
            kind: {name: math.fsum(row[name] for row in rows) / len(rows) for name in _GOOD_AND_BAD}
            for kind, rows in scores.items()
        }
        areas = {
            name: _area(*([row[name] for kind in kinds for row in scores.get(kind, [])] for kinds in sides))
            for name, sides in _GOOD_AND_BAD.items()
        }
        return cls(report["judge"]["model"], means, areas)

    @classmethod
    def read(cls, path: Path) -> Self:
        """From the file of such a report. Raises InputMissing, UsageError."""
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputMissing(f"{path} is no report of varedit eval judge on controls: {reason}.") from error

    @property
    def failure(self) -> str | None:
        """Why nothing should be concluded from this judge, as a sentence; None if nothing speaks against it."""
        if NOTHING not in self.means:
            return f"{self.model} judged no control that does nothing."
        success = self.means[NOTHING]["success"]
        if success > LARGEST_SUCCESS_OF_NOTHING:
            return (
                f"{self.model} gives edits that change nothing a success of {success:.2f} of 10, where at most "
                f"{LARGEST_SUCCESS_OF_NOTHING:g} is sound: its scores rank nobody."
            )
        return None

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**dataclasses.asdict(self), "failure": self.failure}

    @property
    def words(self) -> str:
        """In one line for a terminal."""
        areas = (f"{name} {'-' if area is None else f'{area:.3f}'}" for name, area in self.areas.items())
        return f"good controls told from bad ones (area under ROC): {', '.join(areas)}"


def _controls(run: RunFolder, item: RunItem, other: RunItem) -> list[tuple[str, str, Bytes]]:
    """Kind, instruction and result of each control of an item."""
    source, foreign = (read_image(run.picture(each.source)).rgb for each in (item, other))
    found = [(NOTHING, item.instruction, source), (OTHER, item.instruction, foreign)]
    if item.target is not None:
        target = read_image(run.picture(item.target)).rgb
        found.append((TARGET, item.instruction, target))
        if other.instruction != item.instruction:
            found.append((WRONG, other.instruction, target))
        found.append((DAMAGED, item.instruction, _damaged(target, source, foreign)))
    return found


def _unlike(item: RunItem, others: Sequence[RunItem], run: RunFolder) -> RunItem:
    """An item of another source, of another instruction if there is one."""
    own = read_image(run.picture(item.source)).rgb
    foreign = [each for each in others if not np.array_equal(read_image(run.picture(each.source)).rgb, own)]
    if not foreign:
        raise UsageError(f"{run.path} has only one source picture; controls need two or more.")
    return next((each for each in foreign if each.instruction != item.instruction), foreign[0])


def _damaged(target: Bytes, source: Bytes, foreign: Bytes) -> Bytes:
    """The true result with a square of another picture in the corner that the edit changed least."""
    height, width = target.shape[:2]
    side = min(height, width, round(math.sqrt(DAMAGE * height * width)))
    if source.shape != target.shape:
        source = np.asarray(Image.fromarray(source).resize((width, height), Image.Resampling.BICUBIC))
    changed = np.abs(target.astype(np.int16) - source).sum(-1)
    corners = [(top, left) for top in (0, height - side) for left in (0, width - side)]
    top, left = min(corners, key=lambda corner: changed[corner[0] :, corner[1] :][:side, :side].sum())
    damaged = target.copy()
    patch = Image.fromarray(foreign).resize((side, side), Image.Resampling.BICUBIC)
    damaged[top : top + side, left : left + side] = np.asarray(patch)
    return damaged


def _area(good: Sequence[float], bad: Sequence[float]) -> float | None:
    """How often a good one has more than a bad one; a tie counts half (Mann and Whitney, 1947)."""
    if not good or not bad:
        return None
    pairs = np.subtract.outer(np.asarray(good), np.asarray(bad))
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def _write(path: Path, pixels: Bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, encode_image(pixels, "PNG", provenance=None))

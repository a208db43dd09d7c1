"""Scoring a whole run: networks by their names, the scores with all that numbers must carry, and the table of them."""

from __future__ import annotations

import dataclasses
import datetime
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table

from varedit import __version__
from varedit.errors import InputMissing
from varedit.evaluation.backbones import Clip, Dino
from varedit.evaluation.metric_names import INSIDE, OUTSIDE, metric_digits, whole_name
from varedit.evaluation.run_folder import RunFolder
from varedit.evaluation.scorer import Networks, OnProgress, score_run, scores_report, write_scores
from varedit.perceptual import BackboneName, load_perceptual
from varedit.precision import compute_device


@dataclass(frozen=True, kw_only=True)
class NetworkNames:
    """Folders or hub ids of what metrics look through; None leaves its metrics out.

    Attributes:
        clip, dino, structure: see `Networks`.
        lpips: weights of the backbone, and of the heads.
        lpips_network: which backbone that is.
    """

    clip: str | None = None
    dino: str | None = None
    structure: str | None = None
    lpips: tuple[str, str] | None = None
    lpips_network: BackboneName = "squeezenet1_1"

    def load(self, device: torch.device) -> Networks:
        """Read them. Raises ModelError, InputMissing."""
        lpips = None if self.lpips is None else load_perceptual(*self.lpips, name=self.lpips_network).to(device)
        return Networks(
            clip=None if self.clip is None else Clip.from_pretrained(self.clip, device),
            dino=None if self.dino is None else Dino.from_pretrained(self.dino, device),
            structure=None if self.structure is None else Dino.from_pretrained(self.structure, device),
            lpips=lpips,
        )


def score_folder(
    run: RunFolder, names: NetworkNames, device: str, on_progress: OnProgress = lambda done, total: None
) -> dict[str, Any]:
    """Score a run, write its scores.jsonl and scores.json, and return the latter.

    Raises: InputMissing where there is no run, or no result of it; ModelError, UsageError, OutputError.
    """
    items = run.items()
    if not any(run.result(item) for item in items):
        raise InputMissing(f"{run.results} has no results, such as {items[0].id}.png; edit with: varedit eval run")
    rows = score_run(run, names.load(compute_device(device)), on_progress)
    facts = {
        "benchmark": run.benchmark(),
        "editor": run.editor(),
        "networks": dataclasses.asdict(names),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {"varedit": __version__, "python": platform.python_version(), "torch": torch.__version__},
    }
    report = scores_report(rows, facts)
    write_scores(run, rows, report)
    return report


def score_table(report: Mapping[str, Any]) -> Table:
    """The means of a report, a metric a line: of the whole picture, inside the mask, and outside of it."""
    means = {name: _number(name, values["mean"]) for name, values in report["metrics"].items()}
    table = Table(box=None, pad_edge=False)
    for title in ("metric", "n", "whole", "inside", "outside"):
        table.add_column(title, justify="left" if title == "metric" else "right")
    for name, values in report["metrics"].items():
        if name == whole_name(name):
            parts = (means.get(f"{name}{suffix}", "") for suffix in ("", INSIDE, OUTSIDE))
            table.add_row(name, str(values["items"]), *parts)
    return table


def _number(name: str, value: float | None) -> str:
    return "-" if value is None else f"{value:.{metric_digits(name)}f}"

"""How good a model is at adjusting whole photographs that it has never seen, at their own size.

For each photograph of a split and each adjustment: the edit is right when the result is nearer, in L1, to its true
target than to the photograph and to the target of every other adjustment (other kinds and other strengths). The
restored result is compared at the photograph's size, the raw one at 64 x 64 pixels, as it holds no more detail. "Do
nothing" and "the target through the autoencoder" stand beside it as floor and ceiling.

    python benchmarks/whole_picture.py --material material -o benchmarks/results/mini-whole-picture.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from varedit.data.adjustments import ALL_ADJUSTMENTS, Adjustment
from varedit.data.crops import photograph_files, read_photograph
from varedit.data.language import Phrasing
from varedit.data.phrases import phrasings
from varedit.data.splits import split_of
from varedit.evaluation.contestants import Contestant, GenerationChoice, ModelEdits, TargetThroughAutoencoder
from varedit.evaluation.facts import measurement_facts
from varedit.evaluation.files import write_report
from varedit.evaluation.scene_run import loaded_model
from varedit.evaluation.success import Bytes, Readouts, l1, psnr
from varedit.evaluation.summary import Rate
from varedit.requests import derived_seed

SEED = 20261124
BATCH = 16  # edits of one photograph at a time
RAW_SIZE = (64, 64)
REQUIRED = 0.95  # of the edits, restored


@dataclass(frozen=True, eq=False)
class WholePictureEdit:
    """A task for a contestant: everything may change."""

    source: Bytes
    instruction: str
    target: Bytes
    mask: Bytes


Scores = dict[Adjustment, list[dict[str, float]]]


def main() -> None:
    arguments = _arguments()
    found, pipeline = loaded_model(arguments.model, "auto")
    choice = GenerationChoice(guidance=arguments.guidance, temperature=arguments.temperature)
    contestants: dict[str, Contestant] = {
        "model": ModelEdits(pipeline, choice),
        "ceiling": TargetThroughAutoencoder(pipeline),
    }
    photographs = [
        file for file in photograph_files(arguments.material / "photographs") if split_of(file.stem) == arguments.split
    ][: arguments.count]
    scores = _measured(photographs, contestants, arguments.short_side, arguments.phrasing)
    report = {
        **measurement_facts(found, pipeline, choice, _command(arguments)),
        "commit": _commit(),
        "split": arguments.split,
        "phrasing": arguments.phrasing,
        "seed": SEED,
        "photographs": len(photographs),
        **_summary(scores),
    }
    write_report(arguments.output, json.dumps(report, indent=1) + "\n")
    Console().print(_printed(report))


def _measured(
    photographs: list[Path], contestants: Mapping[str, Contestant], short_side: int, phrasing: Phrasing
) -> Scores:
    """Every adjustment of every photograph, in a wording drawn at random."""
    random = np.random.default_rng(SEED)
    scores: Scores = {adjustment: [] for adjustment in ALL_ADJUSTMENTS}
    for number, file in enumerate(track(photographs, console=Console(stderr=True), description="editing")):
        photograph = np.asarray(read_photograph(file, short_side))
        tasks = [_task(photograph, each, random, phrasing) for each in ALL_ADJUSTMENTS]
        seeds = [derived_seed(SEED, number * len(tasks) + place) for place in range(len(tasks))]
        made = {name: _edited(contestant, tasks, seeds) for name, contestant in contestants.items()}
        for place, adjustment in enumerate(ALL_ADJUSTMENTS):
            scores[adjustment].append(_score(tasks, place, {name: edits[place] for name, edits in made.items()}))
    return scores


def _summary(scores: Scores) -> dict[str, Any]:
    everything = [row for rows in scores.values() for row in rows]
    rate = Rate(sum(row["restored_success"] == 1 for row in everything), len(everything))
    return {
        "edits": len(everything),
        "required": REQUIRED,
        "restored_success_interval": [round(end, 4) for end in rate.interval],
        "mean": _mean(everything),
        "by_adjustment": {f"{each.kind}, {each.strength}": _mean(rows) for each, rows in scores.items()},
    }


def _task(
    photograph: Bytes, adjustment: Adjustment, random: np.random.Generator, phrasing: Phrasing
) -> WholePictureEdit:
    wanted = str(random.choice(phrasings(adjustment, phrasing)))
    everywhere = np.full(photograph.shape[:2], 255, np.uint8)
    return WholePictureEdit(photograph, wanted, adjustment.apply_to_bytes(photograph), everywhere)


def _edited(contestant: Contestant, tasks: list[WholePictureEdit], seeds: list[int]) -> list[Readouts]:
    starts = range(0, len(tasks), BATCH)
    return [edit for start in starts for edit in contestant(tasks[start : start + BATCH], seeds[start : start + BATCH])]


def _score(tasks: list[WholePictureEdit], place: int, edits: dict[str, Readouts]) -> dict[str, float]:
    """Of one edit of one photograph; a floor needs no column of its own, as "do nothing" is never right."""
    source, target = tasks[place].source, tasks[place].target
    wrong = [source, *(task.target for task in tasks if not np.array_equal(task.target, target))]
    small = [_small(picture) for picture in (target, *wrong)]
    return {
        "restored_success": _is_nearest(edits["model"].restored, target, wrong),
        "raw_success": _is_nearest(_small(edits["model"].raw), small[0], small[1:]),
        "ceiling_success": _is_nearest(edits["ceiling"].restored, target, wrong),
        "restored_psnr": psnr(edits["model"].restored, target),
        "raw_psnr": psnr(edits["model"].raw, target),
        "ceiling_psnr": psnr(edits["ceiling"].restored, target),
        "do_nothing_psnr": psnr(source, target),
    }


def _is_nearest(result: Bytes, target: Bytes, wrong: list[Bytes]) -> float:
    distance = l1(result, target)
    return float(all(distance < l1(result, picture) for picture in wrong))


def _small(picture: Bytes) -> Bytes:
    return np.asarray(Image.fromarray(picture).resize(RAW_SIZE, Image.Resampling.BOX))


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]}


def _printed(report: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("adjustment", no_wrap=True)
    for heading in ("restored", "raw", "ceiling", "dB", "dB, nothing"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in (*report["by_adjustment"].items(), ("all", report["mean"])):
        shares = (row[f"{kind}_success"] for kind in ("restored", "raw", "ceiling"))
        decibels = (row["restored_psnr"], row["do_nothing_psnr"])
        table.add_row(
            name.replace("_", " "), *(f"{share:.2f}" for share in shares), *(f"{value:.1f}" for value in decibels)
        )
    return table


def _command(arguments: argparse.Namespace) -> str:
    words = ["python benchmarks/whole_picture.py"]
    for name in ("model", "split", "phrasing", "count", "short_side", "guidance", "temperature"):
        value = getattr(arguments, name)
        words += [] if value is None else [f"--{name.replace('_', '-')} {value}"]
    return " ".join(words)


def _commit() -> str:
    git = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--material", type=Path, default=Path("material"))
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--phrasing", choices=["train", "held_out"], default="train")
    parser.add_argument("--count", type=int, default=None, help="photographs; all of the split if not given")
    parser.add_argument("--short-side", type=int, default=256, help="pixels, of the photographs as they are edited")
    parser.add_argument("--guidance", type=float, default=None)
    parser.add_argument("--temperature", type=float, default=None)
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""The validations of a training, with the pairs seen and the hours spent until each: one JSON object a line.

Of several runs, each but the first began with what the one before it had made; with --after, the first began with what
a curve that was written before ends with, and that curve comes first. Pairs of which a step saw some pixels alone cost
time and are not counted.

python benchmarks/training_curve.py runs/first runs/second -o benchmarks/results/mini-editor-training.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from varedit.evaluation.files import write_report
from varedit.training.recipe import OptimizerSettings, Recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--after", type=Path, help="a curve to go on from")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    lines: list[dict[str, Any]] = []
    if arguments.after is not None:
        lines = [json.loads(line) for line in arguments.after.read_text(encoding="utf-8").splitlines()]
    spent = Spent(lines[-1]["pairs"], 3600 * lines[-1]["hours"]) if lines else Spent()
    for run in arguments.runs:
        recipe = Recipe.read(run / "recipe.toml")
        log = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        settings = settings_of(recipe, {name for entry in log for name in entry})
        lines += [{"run": run.name, **line} for line in curve(log, settings.batch_size, spent)]
    write_report(arguments.output, "".join(json.dumps(line) + "\n" for line in lines))


def settings_of(recipe: Recipe, logged: set[str]) -> OptimizerSettings:
    """Those of the training that logs these names."""
    if "psnr" in logged:
        return recipe.autoencoder_training
    detector = recipe.change_detector_training
    return detector if detector is not None and "told" in logged else recipe.editor_training


@dataclass
class Spent:
    """What a training has cost so far."""

    pairs: int = 0
    seconds: float = 0.0


def curve(log: list[dict[str, Any]], batch_size: int, spent: Spent) -> Iterator[dict[str, Any]]:
    """Validations, each with what was spent before it; hours are those of the steps, not of the pauses between."""
    step = 0
    for entry in log:
        pairs = (entry["step"] - step) * batch_size
        if "items_per_second" in entry:
            spent.seconds += pairs / entry["items_per_second"]
            spent.pairs += 0 if "pixels_left" in entry else pairs
            step = entry["step"]
        elif any(name.startswith("validation_") for name in entry):
            yield {"pairs": spent.pairs, "hours": round(spent.seconds / 3600, 3), **entry}


if __name__ == "__main__":
    main()

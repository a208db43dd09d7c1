"""The validations of a training run, with the pairs seen and the hours spent until each: one JSON object a line.

python benchmarks/training_curve.py runs/editor -o benchmarks/results/mini-editor-training.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from varedit.evaluation.files import write_report
from varedit.training.recipe import Recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    recipe = Recipe.read(arguments.run / "recipe.toml")
    log = [json.loads(line) for line in (arguments.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    is_editor = any("validation_copy" in entry for entry in log)
    settings = recipe.editor_training if is_editor else recipe.autoencoder_training
    write_report(arguments.output, "".join(json.dumps(line) + "\n" for line in curve(log, settings.batch_size)))


def curve(log: list[dict[str, Any]], batch_size: int) -> Iterator[dict[str, Any]]:
    """Validations, each with what was spent before it; hours are those of the steps, not of the pauses between."""
    step, seconds = 0, 0.0
    for entry in log:
        pairs = (entry["step"] - step) * batch_size
        if "items_per_second" in entry:
            seconds += pairs / entry["items_per_second"]
            step = entry["step"]
        elif any(name.startswith("validation_") for name in entry):
            yield {"pairs": entry["step"] * batch_size, "hours": round(seconds / 3600, 3), **entry}


if __name__ == "__main__":
    main()

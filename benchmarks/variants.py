"""What several variants of one edit take, beside as many edits of which each reads its photograph and its words.

Both draw the same pictures in one batch, from photographs to finished pixels; their seeds are the same, and their
pictures are compared. Medians of some turns.

    python benchmarks/variants.py -o benchmarks/results/variants-cpu.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recipe import load_average, recipe, spread, tell

from varedit.freed_memory import keep_freed_memory
from varedit.output import write_whole
from varedit.pipeline import VAREditPipeline
from varedit.requests import derived_seed
from varedit.results import EditOutput

PHOTOGRAPH = Path(__file__).resolve().parents[1] / "examples" / "coffee.jpg"
INSTRUCTION = "make it slightly warmer"
SEED = 1
COUNTS = (1, 2, 4, 8)


def main() -> None:
    arguments = _arguments()
    keep_freed_memory()  # as the commands do
    torch.set_num_threads(arguments.threads)
    pipeline = VAREditPipeline.from_pretrained(arguments.model, device="cpu")
    rows = []
    for count in COUNTS:
        seeds = [derived_seed(SEED, copy) for copy in range(count)]
        makers = {
            "variants": partial(pipeline, PHOTOGRAPH, INSTRUCTION, seed=SEED, num_images_per_prompt=count),
            "edits": partial(pipeline, [PHOTOGRAPH] * count, INSTRUCTION, seed=seeds),
        }
        found: dict[str, list[float]] = {name: [] for name in makers}
        for turn in range(arguments.repeats + 1):
            pictures = []
            for name, make in makers.items():
                seconds, output = _timed(make)
                pictures.append(np.stack([np.asarray(image) for image in output.images]).astype(int))
                if turn > 0:
                    found[name].append(seconds)
            assert np.abs(pictures[0] - pictures[1]).max() <= 1, "variants differ from the edits with their seeds"
        row: dict[str, Any] = {"count": count} | {name: spread(seconds) for name, seconds in found.items()}
        row["share"] = round(row["variants"]["median"] / row["edits"]["median"], 3)
        tell(f"{count}: {row['variants']['median']} s, {row['edits']['median']} s as edits of their own")
        rows.append(row)
    report = recipe("torch", "numpy") | {
        "model": arguments.model,
        "threads": arguments.threads,
        "load": load_average(),
        "edit": f"{PHOTOGRAPH.name}: {INSTRUCTION}",
        "rows": rows,
    }
    write_whole(arguments.output, json.dumps(report, indent=1).encode() + b"\n")


def _timed(make: Callable[[], EditOutput]) -> tuple[float, EditOutput]:
    start = time.perf_counter()
    output = make()
    return time.perf_counter() - start, output


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()

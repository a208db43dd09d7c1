"""Which `certainty` suits a model's change detector: pairs of numbers on validation scenes.

Each scene is edited once and restored with every pair, without a detector, and with the true mask in its place, which
is the most that any detector could reach. The pair that is chosen goes into the recipe's [training.change_detector].

    python benchmarks/choose_certainty.py --model mini -o benchmarks/results/mini-certainty.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from varedit.data.scenes import held_out_scenes
from varedit.evaluation.contestants import GenerationChoice
from varedit.evaluation.facts import measurement_facts
from varedit.evaluation.files import write_report
from varedit.evaluation.scene_run import loaded_model
from varedit.evaluation.scenes import SEED
from varedit.evaluation.success import Readouts, judged
from varedit.pipeline import VAREditPipeline
from varedit.requests import derived_seed
from varedit.runs import InModelSize

SPLIT: Final = "validation"
CERTAINTIES = ((0.4, 0.7), (0.6, 0.85), (0.8, 0.95), (0.9, 0.98), (0.95, 0.99))
BATCH = 40  # scenes edited together
NONE, TRUE_MASK = "no detector", "the true mask"


def main() -> None:
    arguments = _arguments()
    found, pipeline = loaded_model(arguments.model, "auto")
    size_hw = pipeline.config.picture_size(pipeline.config.templates.square.schedule)
    source = held_out_scenes(arguments.material, SPLIT, size_hw)
    wins: dict[str, dict[str, list[bool]]] = {}
    with Progress(console=Console(stderr=True)) as progress:
        for index in progress.track(range(0, arguments.count, BATCH), description="editing validation scenes"):
            numbers = range(index, min(index + BATCH, arguments.count))
            scenes = [source.scene(number) for number in numbers]
            edits = _edited(pipeline, scenes, numbers)
            for number, scene, (item, fitted) in zip(numbers, scenes, edits, strict=True):
                alternatives, raw = source.alternatives(number), item.raw()
                for name, limited in _limited(pipeline, scene, item, fitted):
                    made = Readouts(raw=raw, restored=limited.restored().rgb)
                    won = judged(scene, alternatives, made).is_success
                    for group in ("all", scene.family):
                        wins.setdefault(name, {}).setdefault(group, []).append(won)
    rows = {name: {group: _share(won) for group, won in groups.items()} for name, groups in wins.items()}
    Console().print(_table(rows))
    if arguments.output is not None:
        command = f"python benchmarks/choose_certainty.py --model {arguments.model} --count {arguments.count}"
        facts = measurement_facts(found, pipeline, GenerationChoice(), command)
        facts |= {"split": SPLIT, "count": arguments.count, "seed": SEED, "success": rows}
        write_report(arguments.output, json.dumps(facts, indent=1) + "\n")


def _edited(
    pipeline: VAREditPipeline, scenes: list[Any], numbers: range
) -> Iterator[tuple[InModelSize, NDArray[np.float32]]]:
    """Each edit and its photograph at the model's size."""
    seeds = [derived_seed(SEED, number) for number in numbers]
    run = pipeline.started([scene.source for scene in scenes], [scene.instruction for scene in scenes], seed=seeds)
    for _ in run.scales():
        pass
    return zip(run.in_model_size(run.decoded(), run.unedited()), run.fitted, strict=True)


def _limited(
    pipeline: VAREditPipeline, scene: Any, item: InModelSize, fitted: NDArray[np.float32]
) -> Iterator[tuple[str, InModelSize]]:
    """One edit with each limit."""
    detector = pipeline.editor.change_detector
    assert detector is not None and item.unedited is not None, "the model has no change detector"
    yield NONE, replace(item, likely=None)
    own, text = detector.config, pipeline.editor.read([scene.instruction])
    for certainty in CERTAINTIES:
        detector.config = replace(own, certainty=certainty)
        likely = pipeline.editor.likely_change(fitted, item.unedited, item.result, text)
        yield "{:g} to {:g}".format(*certainty), replace(item, likely=likely)
    detector.config = own
    yield TRUE_MASK, replace(item, likely=(scene.mask > 0)[None].astype(np.float32))


def _share(won: list[bool]) -> float:
    return round(float(np.mean(won)), 4)


def _table(rows: dict[str, dict[str, float]]) -> Table:
    groups = ("all", "adjustment", "colour", "object")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("certainty", *groups):
        table.add_column(heading, justify="left" if heading == "certainty" else "right", no_wrap=True)
    for name, row in rows.items():
        table.add_row(name, *(f"{row[group]:.3f}" for group in groups))
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--material", type=Path, default=Path("material"))
    parser.add_argument("--count", type=int, default=360)
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()

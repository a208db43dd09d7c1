"""What candidates cost beside one edit, and what choosing among them gains on held-out scenes.

Cost: seconds (median) and the transformer's arithmetic, as torch counts it, of one edit with N candidates over that of
one edit. Gain: success on validation scenes with N candidates, all else equal.

    python benchmarks/candidates.py --model mini --count 150 -o benchmarks/results/candidates-cpu.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from varedit.data.scenes import held_out_scenes
from varedit.evaluation.contestants import MODEL, GenerationChoice, ModelEdits
from varedit.evaluation.facts import measurement_facts
from varedit.evaluation.files import write_report
from varedit.evaluation.scene_report import summary_values
from varedit.evaluation.scene_run import loaded_model
from varedit.evaluation.scenes import SEED, evaluate_scenes
from varedit.evaluation.summary import summaries
from varedit.pipeline import VAREditPipeline


def main() -> None:
    arguments = _arguments()
    found, pipeline = loaded_model(arguments.model, "auto")
    size_hw = pipeline.config.picture_size(pipeline.config.templates.square.schedule)
    source = held_out_scenes(arguments.material, "validation", size_hw)
    rows: list[dict[str, Any]] = []
    with Progress(console=Console(stderr=True)) as progress:
        for number in progress.track(arguments.candidates, description="candidates"):
            choice = GenerationChoice(temperature=arguments.temperature, candidates=number)
            cost = _cost(pipeline, source.scene(0), choice, arguments.repeats)
            scenes = evaluate_scenes(source, {MODEL: ModelEdits(pipeline, choice)}, range(arguments.count))
            rows.append({"candidates": number, **cost, "groups": [summary_values(g) for g in summaries(scenes, MODEL)]})
    for row in rows:
        row["seconds_of_one"] = round(row["seconds"] / rows[0]["seconds"], 3)
        row["flops_of_one"] = round(row["flops"] / rows[0]["flops"], 3)
    Console().print(_table(rows))
    if arguments.output is not None:
        command = f"python benchmarks/candidates.py --model {arguments.model} --count {arguments.count}"
        choice = GenerationChoice(temperature=arguments.temperature)
        facts = measurement_facts(found, pipeline, choice, f"{command} --temperature {arguments.temperature:g}")
        facts |= {"split": "validation", "count": arguments.count, "seed": SEED}
        write_report(arguments.output, json.dumps({**facts, "rows": rows}, indent=1) + "\n")


def _cost(pipeline: VAREditPipeline, scene: Any, choice: GenerationChoice, repeats: int) -> dict[str, float]:
    """Seconds and arithmetic from instruction to features of one edit; the photograph is encoded before."""

    def edited() -> float:
        run = pipeline.started([scene.source], [scene.instruction], seed=0, **choice.arguments)
        started = time.perf_counter()
        for _ in run.scales():
            pass
        return time.perf_counter() - started

    with FlopCounterMode(display=False) as counter:
        edited()
    return {"seconds": statistics.median(edited() for _ in range(repeats)), "flops": counter.get_total_flops()}


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("candidates", "seconds", "of one", "FLOPs of one", "success"):
        table.add_column(heading, justify="right")
    for row in rows:
        success = row["groups"][0]["success"]["share"]
        numbers = (f"{row['seconds']:.3f}", row["seconds_of_one"], row["flops_of_one"], f"{success:.3f}")
        table.add_row(str(row["candidates"]), *map(str, numbers))
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--material", type=Path, default=Path("material"))
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--temperature", type=float, default=1.0, help="of every candidate; near 0 all are alike")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()

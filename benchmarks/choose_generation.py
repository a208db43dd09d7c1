"""Which guidance, temperature and way of drawing suit a model: a grid of settings on validation scenes.

Prints one row a setting and the best one, which goes into the recipe's [generation]; the test split is never touched.

    python benchmarks/choose_generation.py --model mini --count 150 -o benchmarks/results/mini-generation.json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from varedit.data.scenes import held_out_scenes
from varedit.evaluation.contestants import GenerationChoice
from varedit.evaluation.facts import measurement_facts
from varedit.evaluation.files import write_report
from varedit.evaluation.scene_report import summary_values
from varedit.evaluation.scene_run import loaded_model
from varedit.evaluation.scenes import SEED
from varedit.evaluation.sweep import SweepRow, best_row, settings_sweep
from varedit.reuse import ReuseSettings

SPLIT: Final = "validation"


def main() -> None:
    arguments = _arguments()
    console = Console(stderr=True)
    found, pipeline = loaded_model(arguments.model, "auto")
    size_hw = pipeline.config.picture_size(pipeline.config.templates.square.schedule)
    with Progress(console=console) as progress:
        bar = progress.add_task("editing validation scenes")
        rows = settings_sweep(
            pipeline,
            held_out_scenes(arguments.material, SPLIT, size_hw),
            _choices(arguments),
            range(arguments.count),
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    best = best_row(rows)
    Console().print(_table(rows, best))
    if arguments.output is not None:
        facts = measurement_facts(found, pipeline, best.choice, _command(arguments))
        facts |= {"split": SPLIT, "count": arguments.count, "seed": SEED, "size": list(size_hw)}
        report = {**facts, "best": _values(best), "rows": [_values(row) for row in rows]}
        write_report(arguments.output, json.dumps(report, indent=1) + "\n")


def _choices(arguments: argparse.Namespace) -> list[GenerationChoice]:
    """Every guidance, way of drawing and reuse together; a temperature of 0 is a greedy draw."""
    reuses: list[ReuseSettings | bool] = [False] * arguments.exact
    reuses += [
        ReuseSettings(first_scale=scale, tolerance=tolerance, margin=arguments.margin)
        for scale, tolerance in product(arguments.first_scale, arguments.tolerance)
    ]
    return [
        GenerationChoice(guidance=guidance, temperature=temperature or 1.0, greedy=temperature == 0, reuse=reuse)
        for guidance, temperature, reuse in product(arguments.guidance, arguments.temperature, reuses)
    ]


def _table(rows: list[SweepRow], best: SweepRow) -> Table:
    families = [group.name for group in rows[0].groups if group.level == "family"]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("guidance", "temperature", "reuse", *families, "mean success", "raw", "margin"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        by_family = [group.success.share for group in row.groups if group.level == "family"]
        numbers = (*by_family, row.mean_success, row.groups[0].raw_success.share, row.mean_margin)
        table.add_row(
            f"{row.choice.guidance:g}",
            "greedy" if row.choice.greedy else f"{row.choice.temperature:g}",
            _reuse_words(row.choice.reuse),
            *(f"{number:.3f}" for number in numbers),
            style="bold" if row is best else "",
        )
    return table


def _values(row: SweepRow) -> dict[str, Any]:
    return {
        "guidance": row.choice.guidance,
        "temperature": row.choice.temperature,
        "greedy": row.choice.greedy,
        "reuse": asdict(row.choice.reuse) if isinstance(row.choice.reuse, ReuseSettings) else None,
        "mean_success": round(row.mean_success, 4),
        "mean_margin": round(row.mean_margin, 4),
        "groups": [summary_values(group) for group in row.groups],
    }


def _command(arguments: argparse.Namespace) -> str:
    grid = f"--guidance {_listed(arguments.guidance)} --temperature {_listed(arguments.temperature)}"
    if arguments.tolerance:
        grid += f" --tolerance {_listed(arguments.tolerance)} --first-scale {_listed(arguments.first_scale)}"
        grid += f" --margin {arguments.margin}" + ("" if arguments.exact else " --no-exact")
    return f"python benchmarks/choose_generation.py --model {arguments.model} --count {arguments.count} {grid}"


def _reuse_words(reuse: bool | ReuseSettings | None) -> str:
    return f"from {reuse.first_scale}, {reuse.tolerance:g}" if isinstance(reuse, ReuseSettings) else "none"


def _listed(numbers: list[float]) -> str:
    return " ".join(f"{number:g}" for number in numbers)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--material", type=Path, default=Path("material"))
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 1.5, 2.0, 3.0])
    parser.add_argument("--temperature", type=float, nargs="+", default=[0.0, 0.1, 0.3, 0.6], help="0 draws greedily")
    parser.add_argument("--tolerance", type=float, nargs="*", default=[], help="of reuse")
    parser.add_argument("--first-scale", type=int, nargs="+", default=[3], help="of reuse, counted from 0")
    parser.add_argument("--margin", type=int, default=1, help="of reuse, in tokens")
    parser.add_argument("--exact", action=argparse.BooleanOptionalAction, default=True, help="also without reuse")
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""What the approximations cost in quality and save in arithmetic, by edited area, on scenes of local edits.

Every setting edits the same scenes with the same seeds; "exact" computes everything. Arithmetic is what torch counts
while the transformer runs. Settings are compared on the validation split; the test split is for the one that was chosen
there. Writes the numbers and a plot beside them (needs matplotlib, the extra "bench").

    python benchmarks/reuse.py --split test --count 600 -o benchmarks/results/reuse-cpu.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from varedit.data.scenes import held_out_scenes
from varedit.evaluation.contestants import GenerationChoice, readouts
from varedit.evaluation.facts import measurement_facts
from varedit.evaluation.files import write_report
from varedit.evaluation.scene_run import loaded_model
from varedit.evaluation.scenes import SEED
from varedit.evaluation.success import judged
from varedit.pipeline import VAREditPipeline
from varedit.requests import derived_seed
from varedit.reuse import ReuseSettings

LARGEST_LOCAL_AREA = 0.5  # of the picture; a larger edit is not a local one
AREAS = (0.0, 0.05, 0.1, 0.2, 0.5)  # edges of the groups by edited area
EXACT = "exact"


@dataclass(frozen=True)
class Measured:
    """One edit of one scene.

    Attributes:
        area: share of the picture that the true edit changes.
        is_success: as `varedit.evaluation.success` judges it.
        late_flops, flops: of the transformer's late scales, and of all its scales.
        kept: share of the pixels outside the true edit that are the source's, bit for bit.
    """

    area: float
    is_success: bool
    late_flops: int
    flops: int
    kept: float


@dataclass(frozen=True)
class Setting:
    """A way of generating, and what it did to each scene."""

    name: str
    choice: GenerationChoice
    edits: list[Measured] = field(default_factory=list)


def main() -> None:
    arguments = _arguments()
    found, pipeline = loaded_model(arguments.model, "auto")
    settings = _settings(pipeline, arguments)
    size_hw = pipeline.config.picture_size(pipeline.config.templates.square.schedule)
    source = held_out_scenes(arguments.material, arguments.split, size_hw)
    late = ReuseSettings(first_scale=arguments.first_scale).begins(pipeline.config.templates.square.schedule)
    with Progress(console=Console(stderr=True)) as progress:
        for index in progress.track(range(arguments.count), description="editing scenes"):
            scene = source.scene(index)
            if (area := float((scene.mask > 0).mean())) > LARGEST_LOCAL_AREA:
                continue
            for setting in settings:
                setting.edits.append(_measured(pipeline, setting, scene, source.alternatives(index), index, area, late))
    facts = measurement_facts(found, pipeline, settings[0].choice, arguments.command)
    facts |= {"split": arguments.split, "count": arguments.count, "seed": SEED, "late_scales_from": late}
    report = {**facts, "settings": [_values(setting, settings[0]) for setting in settings]}
    Console().print(_table(settings))
    if arguments.output is not None:
        write_report(arguments.output, json.dumps(report, indent=1) + "\n")
        _plot(report["settings"], arguments.output.with_suffix(".png"))


def _settings(pipeline: VAREditPipeline, arguments: argparse.Namespace) -> list[Setting]:
    """Exact, guidance on the early scales alone, and reuse in each way, with and without late guidance."""
    guidance = pipeline.config.generation.guidance_scale if arguments.guidance is None else arguments.guidance
    num_scales, first = pipeline.config.num_scales, arguments.first_scale
    early = [guidance] * first + [1.0] * (num_scales - first)
    ways: list[tuple[str, float | list[float]]] = [("", guidance)]
    if guidance != 1:
        ways.append(("no late guidance", early))
    settings = []
    reuses = [
        ReuseSettings(first_scale=first, tolerance=tolerance, margin=margin)
        for margin, tolerance in product(arguments.margin, arguments.tolerance)
    ]
    for (words, strength), reuse in product(ways, [False, *reuses]):
        how = f"reuse {reuse.tolerance:g}, margin {reuse.margin}" if reuse else ""
        name = ", ".join(part for part in (words, how) if part)
        choice = GenerationChoice(guidance=strength, greedy=arguments.greedy, reuse=reuse)
        settings.append(Setting(name or EXACT, choice))
    return settings


def _measured(
    pipeline: VAREditPipeline,
    setting: Setting,
    scene: Any,
    alternatives: Sequence[Any],
    index: int,
    area: float,
    late: int,
) -> Measured:
    """Edit one scene in one way."""
    seed = derived_seed(SEED, index)
    run = pipeline.started([scene.source], [scene.instruction], seed=seed, **setting.choice.arguments)
    flops = []
    loop = run.scales()
    for _ in run.template.schedule:
        with FlopCounterMode(display=False) as counter:
            next(loop)
        flops.append(counter.get_total_flops())
    (result,) = readouts(run)
    outside = scene.mask == 0
    kept = (result.restored == scene.source).all(axis=2)[outside].mean() if outside.any() else 1.0
    return Measured(
        area=area,
        is_success=judged(scene, alternatives, result).is_success,
        late_flops=sum(flops[late:]),
        flops=sum(flops),
        kept=float(kept),
    )


def _values(setting: Setting, exact: Setting) -> dict[str, Any]:
    """The numbers of one setting, of all scenes and by edited area."""
    groups = [("all", 0.0, LARGEST_LOCAL_AREA)]
    groups += [(f"{low:g} to {high:g}", low, high) for low, high in pairwise(AREAS)]
    rows = []
    for name, low, high in groups:
        chosen = [place for place, edit in enumerate(exact.edits) if low <= edit.area <= high]
        if not chosen:
            continue
        mine, theirs = ([which.edits[place] for place in chosen] for which in (setting, exact))
        rows.append(
            {
                "edited_area": name,
                "scenes": len(chosen),
                "success": float(np.mean([edit.is_success for edit in mine])),
                "late_flops_of_exact": sum(e.late_flops for e in mine) / sum(e.late_flops for e in theirs),
                "flops_of_exact": sum(e.flops for e in mine) / sum(e.flops for e in theirs),
                "outside_pixels_kept": float(np.mean([edit.kept for edit in mine])),
            }
        )
    return {"name": setting.name, "groups": rows}


def _table(settings: list[Setting]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("setting", "scenes", "success", "late FLOPs", "all scales", "outside kept"):
        table.add_column(heading, justify="left" if heading == "setting" else "right", no_wrap=True)
    for setting in settings:
        row = _values(setting, settings[0])["groups"][0]
        shares = (row["success"], row["late_flops_of_exact"], row["flops_of_exact"], row["outside_pixels_kept"])
        table.add_row(setting.name, str(row["scenes"]), *(f"{share:.3f}" for share in shares))
    return table


def _plot(settings: list[dict[str, Any]], path: Path) -> None:
    """Success against late arithmetic; a line joins the groups by edited area of one setting."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for setting in settings:
        all_scenes, *by_area = setting["groups"]
        left.plot(all_scenes["late_flops_of_exact"], all_scenes["success"], "o", label=setting["name"])
        areas = [row["edited_area"] for row in by_area]
        right.plot(areas, [row["late_flops_of_exact"] for row in by_area], "o-", label=setting["name"])
    left.set(xlabel="late FLOPs, exact = 1", ylabel="success", xlim=(0, 1.1), title="all local edits")
    right.set(xlabel="edited area", ylabel="late FLOPs, exact = 1", ylim=(0, 1.1), title="by edited area")
    left.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--material", type=Path, default=Path("material"))
    parser.add_argument("--split", choices=["validation", "test", "generalisation"], default="validation")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--guidance", type=float, help="the model's own if not given")
    parser.add_argument("--greedy", action="store_true")
    parser.add_argument("--first-scale", type=int, default=3, help="the first late scale, counted from 0")
    parser.add_argument("--tolerance", type=float, nargs="*", default=[0.0, 0.01, 0.02, 0.05, 0.1])
    parser.add_argument("--margin", type=int, nargs="*", default=[1])
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    words = [f"--model {arguments.model} --split {arguments.split} --count {arguments.count}"]
    words += [] if arguments.guidance is None else [f"--guidance {arguments.guidance:g}"]
    words += ["--greedy"] * arguments.greedy + [f"--first-scale {arguments.first_scale}"]
    words += ["--tolerance", *(f"{tolerance:g}" for tolerance in arguments.tolerance)]
    words += ["--margin", *map(str, arguments.margin)]
    arguments.command = " ".join(["python benchmarks/reuse.py", *words])
    return arguments


if __name__ == "__main__":
    main()

"""The paper's central comparison at our scale: one small editor trained with each reference, at equal budgets.

`sar` sees the source averaged to the current scale in the first layer, `finest` sees its finest scale everywhere,
`full` sees every scale of it. The three share the recipe, the autoencoder, the seed and so the pairs and the order in
which they come. Runs are kept and resumed; scores are on held-out scenes of both splits. Writes JSON, and a table as
Markdown.

    python benchmarks/reference_modes.py --autoencoder runs/autoencoder/autoencoder --runs runs/references \
        -o benchmarks/results/reference-modes.json
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.progress import Progress

from varedit.config import Reference
from varedit.data.scenes import SceneSplit, held_out_scenes
from varedit.evaluation.contestants import MODEL, GenerationChoice, ModelEdits
from varedit.evaluation.facts import measurement_facts
from varedit.evaluation.files import write_report
from varedit.evaluation.scene_run import loaded_model
from varedit.evaluation.scenes import SEED, evaluate_scenes
from varedit.evaluation.summary import Rate, summaries
from varedit.pipeline import VAREditPipeline

REFERENCES = get_args(Reference)
SPLITS: tuple[SceneSplit, ...] = ("test", "generalisation")
SWITCH = 'reference = "sar"'  # the one line of the recipe that changes


def main() -> None:
    arguments = _arguments()
    console = Console(stderr=True)
    for reference in REFERENCES:
        console.print(f"training with {reference}")
        _train(arguments, reference)
    rows = {reference: _row(arguments, reference, console) for reference in REFERENCES}
    found, pipeline = loaded_model(str(_model(arguments, REFERENCES[0])), "cpu")
    facts = measurement_facts(found, pipeline, GenerationChoice(), _command(arguments))
    facts |= {"splits": SPLITS, "count": arguments.count, "seed": SEED, "recipe": arguments.recipe.name}
    write_report(arguments.output, json.dumps({**facts, "rows": rows}, indent=1) + "\n")
    table = _markdown(rows)
    write_report(arguments.output.with_suffix(".md"), table)
    Console().print(table, markup=False)


def _train(arguments: argparse.Namespace, reference: str) -> None:
    """Train, or go on, or find it done: the command decides by the run's folder."""
    recipe = arguments.runs / f"{reference}.toml"
    text = arguments.recipe.read_text(encoding="utf-8")
    assert text.count(SWITCH) == 1, f"the recipe must hold the line {SWITCH} once"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(text.replace(SWITCH, f'reference = "{reference}"'), encoding="utf-8")
    if _model(arguments, reference).is_dir():
        return
    command = [sys.executable, "-m", "varedit", "train", "editor", "--recipe", recipe, "--threads", "1"]
    command += ["--material", arguments.material, "--autoencoder", arguments.autoencoder]
    command += ["-o", arguments.runs / reference]
    before = _seconds_of_children()
    try:
        subprocess.run([str(word) for word in command], check=True)
    finally:  # a run may take several calls
        spent = _spent(arguments, reference) + _seconds_of_children() - before
        (arguments.runs / f"{reference}-seconds.json").write_text(json.dumps(spent), encoding="utf-8")


def _seconds_of_children() -> float:
    """Processor time, which other work on the machine does not lengthen much."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _spent(arguments: argparse.Namespace, reference: str) -> float:
    path = arguments.runs / f"{reference}-seconds.json"
    return float(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else 0.0


def _row(arguments: argparse.Namespace, reference: str, console: Console) -> dict[str, Any]:
    """What one reference reached, and what it cost."""
    log = [json.loads(line) for line in (arguments.runs / reference / "metrics.jsonl").read_text("utf-8").splitlines()]
    validation = [entry for entry in log if "validation_accuracy" in entry][-1]
    _, pipeline = loaded_model(str(_model(arguments, reference)), "cpu")
    splits = {split: _scores(arguments, pipeline, split, f"{reference}, {split}", console) for split in SPLITS}
    scales = [validation[f"validation_accuracy_{k + 1}"] for k in range(len(pipeline.config.templates.square.schedule))]
    return {
        "splits": splits,
        "nearer_to_target": validation["validation_nearer_to_target"],
        "l1_to_target": validation["validation_l1_to_target"],
        "l1_of_doing_nothing": validation["validation_l1_source_to_target"],
        "accuracy": validation["validation_accuracy"],
        "accuracy_of_changed_bits": validation["validation_changed"],
        "accuracy_by_scale": scales,
        "training_processor_seconds": round(_spent(arguments, reference)),
    }


def _scores(
    arguments: argparse.Namespace, pipeline: VAREditPipeline, split: SceneSplit, label: str, console: Console
) -> dict[str, Any]:
    """One model on the scenes of one split."""
    size_hw = pipeline.config.picture_size(pipeline.config.templates.square.schedule)
    source = held_out_scenes(arguments.material, split, size_hw)
    with Progress(console=console) as progress:
        bar = progress.add_task(label, total=arguments.count)
        started = time.process_time()
        scenes = evaluate_scenes(
            source,
            {MODEL: ModelEdits(pipeline, GenerationChoice())},
            range(arguments.count),
            on_progress=lambda done, total: progress.update(bar, completed=done),
        )
        seconds = time.process_time() - started
    groups = {group.name: group for group in summaries(scenes, MODEL) if group.level != "category"}
    return {
        "success": {name: _rate(group.success) for name, group in groups.items()},
        "raw_success": {name: _rate(group.raw_success) for name, group in groups.items()},
        "preserved": round(groups["all"].preserved.share, 4),
        "outside_raw_psnr": round(groups["all"].outside_raw_psnr or 0.0, 2),
        "processor_seconds_per_scene": round(seconds / arguments.count, 4),
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {"share": round(rate.share, 4), "interval": [round(end, 4) for end in rate.interval]}


def _markdown(rows: dict[str, dict[str, Any]]) -> str:
    names = list(rows)
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]

    def line(title: str, cell: Callable[[dict[str, Any]], str]) -> None:
        lines.append(f"| {title} | " + " | ".join(cell(rows[name]) for name in names) + " |")

    for split, kind in product(SPLITS, ("success", "raw_success")):
        for group in rows[names[0]]["splits"][split][kind]:
            title = f"{kind.replace('_', ' ')}, {split}, {group}"
            line(title, lambda row, at=(split, kind, group): _share(row["splits"][at[0]][at[1]][at[2]]))
    for split in SPLITS:
        line(f"kept outside, {split}", lambda row, split=split: f"{row['splits'][split]['preserved']:.3f}")
    line("dB outside before restoring, test", lambda row: f"{row['splits']['test']['outside_raw_psnr']:.1f}")
    line("L1 to the target, validation", lambda row: f"{row['l1_to_target']:.4f} of {row['l1_of_doing_nothing']:.4f}")
    line("nearer to the target than to the source", lambda row: f"{row['nearer_to_target']:.3f}")
    line("accuracy of bits", lambda row: f"{row['accuracy']:.4f}")
    line("accuracy of changed bits", lambda row: f"{row['accuracy_of_changed_bits']:.4f}")
    for scale in range(len(rows[names[0]]["accuracy_by_scale"])):
        line(f"accuracy, scale {scale + 1}", lambda row, scale=scale: f"{row['accuracy_by_scale'][scale]:.4f}")
    line("training, processor s", lambda row: f"{row['training_processor_seconds']}")
    line("processor s per scene", lambda row: f"{row['splits']['test']['processor_seconds_per_scene']:.3f}")
    return "\n".join(lines) + "\n"


def _share(rate: dict[str, Any]) -> str:
    low, high = rate["interval"]
    return f"{rate['share']:.3f} ({low:.2f} to {high:.2f})"


def _model(arguments: argparse.Namespace, reference: str) -> Path:
    folder: Path = arguments.runs / reference / "model"
    return folder


def _command(arguments: argparse.Namespace) -> str:
    return f"python benchmarks/reference_modes.py --recipe {arguments.recipe} --count {arguments.count}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=Path("configs/reference_modes.toml"))
    parser.add_argument("--autoencoder", type=Path, required=True, help="folder of its trained weights")
    parser.add_argument("--material", type=Path, default=Path("material"))
    parser.add_argument("--runs", type=Path, default=Path("runs/references"))
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""`varedit eval`: how good a model is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from varedit.cli.eval_controls import controls
from varedit.cli.eval_judge import judge
from varedit.cli.eval_raters import agreement, compare
from varedit.cli.eval_report import report
from varedit.cli.eval_run import run
from varedit.cli.eval_score import score
from varedit.cli.eval_study import study, study_results
from varedit.cli.eval_table import table
from varedit.cli.request import device_option, drawing_options, measured_model_option
from varedit.cli.terminal import Terminal, talking, write_result

if TYPE_CHECKING:
    from varedit.evaluation.scene_run import ScenesResult


@click.group()
def eval() -> None:
    """Measure how good a model is.

    \b
    varedit data fetch -o material
    varedit eval scenes --model mini
    varedit eval scenes --model mini --split generalisation --json > generalisation.json
    varedit eval run pie-bench PIE-Bench_v1 -o runs/pie
    varedit eval score runs/pie
    varedit eval judge runs/pie --endpoint http://localhost:8000/v1 --model Qwen/Qwen3-VL-8B-Instruct
    """


eval.add_command(run)
eval.add_command(score)
eval.add_command(controls)
eval.add_command(judge)
eval.add_command(agreement)
eval.add_command(compare)
eval.add_command(report)
eval.add_command(table)
eval.add_command(study)
eval.add_command(study_results)


@eval.command()
@measured_model_option
@click.option("--split", type=click.Choice(["validation", "test", "generalisation"]), default="test", show_default=True)
@click.option("--count", type=click.IntRange(1, 100_000), default=600, show_default=True, help="Number of scenes.")
@click.option(
    "--material",
    type=click.Path(path_type=Path),
    default=Path("material"),
    show_default=True,
    help="Folder of photographs and cut-outs; see varedit data fetch.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("evaluation"),
    show_default=True,
    metavar="DIR",
    help="Folder for the page and the numbers; older ones of the same model and split are replaced.",
)
@drawing_options
@click.option("--batch-size", type=click.IntRange(1, 1024), default=32, show_default=True, help="Scenes at a time.")
@click.option("--threads", type=click.IntRange(1, 1024), default=None, help="Processor threads to compute with.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="All numbers as one JSON object instead of the table.")
@talking
@click.pass_obj
def scenes(terminal: Terminal, /, output: Path, threads: int | None, as_json: bool, **options: Any) -> None:
    """Edit held-out scenes whose true result is known, and say how often that succeeds.

    Beside the model stand "do nothing" and "target through the autoencoder", its floor and its ceiling. Prints a table;
    writes a page of pictures, and the same numbers as JSON, to the output folder.

    \b
    varedit eval scenes --model mini
    varedit eval scenes --model runs/editor/model --split validation --count 150 --guidance 2
    """
    import torch

    from varedit.evaluation.contestants import GenerationChoice
    from varedit.evaluation.files import make_report_folder
    from varedit.evaluation.scene_run import ScenesRequest, run_scenes

    chosen = {name: options.pop(name) for name in ("guidance", "temperature", "greedy", "reuse", "candidates")}
    request = ScenesRequest(choice=GenerationChoice(**chosen), **options)
    make_report_folder(output)
    if threads is not None:
        torch.set_num_threads(threads)
    with terminal.progress(f"editing {request.split} scenes") as show:
        result = run_scenes(request, show)
    page = result.write(output)
    tell(result, as_json)
    terminal.say(f"pictures: {page}")


def tell(result: ScenesResult, as_json: bool) -> None:
    """Write the numbers to stdout: one JSON object, or a table."""
    if as_json:
        write_result(json.dumps(result.report).encode() + b"\n")
        return
    from rich.console import Console

    from varedit.evaluation.scene_report import results_table

    Console().print(results_table(result.scenes))

"""`varedit eval score`: metrics of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from varedit.cli.request import device_option
from varedit.cli.terminal import Terminal, talking, write_result


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--clip", metavar="MODEL", help="CLIP model, a folder or hub id; such as openai/clip-vit-base-patch32.")
@click.option("--dino", metavar="MODEL", help="DINO for its similarity; such as facebook/dino-vits16.")
@click.option("--structure", metavar="MODEL", help="DINO for the structure distance; such as facebook/dino-vitb8.")
@click.option(
    "--lpips",
    nargs=2,
    metavar="BACKBONE HEADS",
    help="LPIPS: weights of the backbone with torchvision's names, and of the heads from the package lpips.",
)
@click.option(
    "--lpips-network", type=click.Choice(["squeezenet1_1", "vgg16"]), default="squeezenet1_1", show_default=True
)
@device_option
@click.option("--json", "as_json", is_flag=True, help="All numbers as one JSON object instead of the table.")
@talking
@click.pass_obj
def score(terminal: Terminal, /, folder: Path, as_json: bool, device: str, **chosen: Any) -> None:
    """Score the results in DIR, which `varedit eval run` made, or any editor whose pictures lie in DIR/results.

    L1, L2, PSNR and SSIM always; metrics through networks where their weights are named. Each of the whole picture,
    and inside and outside the mask where the benchmark has one. Writes DIR/scores.json, and DIR/scores.jsonl with a
    line for each item; prints the means.

    \b
    varedit eval score runs/pie
    varedit eval score runs/emu --clip openai/clip-vit-base-patch32 --dino facebook/dino-vits16
    """
    from varedit.evaluation.run_folder import RunFolder
    from varedit.evaluation.score_run import NetworkNames, score_folder, score_table

    with terminal.progress("scoring", unit="items") as show:
        report = score_folder(RunFolder(folder), NetworkNames(**chosen), device, show)
    for name, problem in list(report["missing"].items())[:3]:
        terminal.say(f"note: {name} is left out: {problem}")
    if report["missing"]:
        terminal.say(
            f"note: {len(report['missing'])} of {report['items']} items have no scores; means are without them"
        )
    if as_json:
        write_result(json.dumps(report).encode() + b"\n")
        return
    from rich.console import Console

    Console().print(score_table(report))

"""`varedit eval table`: runs beside the numbers that the paper states."""

from __future__ import annotations

import json
from pathlib import Path

import click

from varedit.cli.terminal import write_result


@click.command()
@click.argument("folders", metavar="DIR [DIR...]", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--table",
    "name",
    type=click.Choice(["overall", "success", "balance"]),
    default="overall",
    show_default=True,
    help="All items, or one of the judge's scores by category.",
)
@click.option(
    "--controls",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What the judge made of controls (varedit eval controls); no table is printed if it failed.",
)
@click.option("--markdown", is_flag=True, help="As a table in Markdown.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object, with intervals.")
def table(folders: tuple[Path, ...], name: str, controls: Path | None, markdown: bool, as_json: bool) -> None:
    """Set the runs in each DIR beside the rows of the VAREdit paper, and say who judged what.

    For EMU-Edit, PIE-Bench, ImgEdit-Bench and the English half of GEdit-Bench. Runs bring the numbers of `varedit eval
    score` and a row for each judge of `varedit eval judge`.

    \b
    varedit eval table runs/pie
    varedit eval table runs/emu-2b runs/emu-8b --table balance --markdown
    """
    from rich.console import Console

    from varedit.evaluation.judges.controls import Trial
    from varedit.evaluation.report_numbers import read_runs
    from varedit.evaluation.report_table import run_table

    found = run_table(read_runs(folders), name, trial=None if controls is None else Trial.read(controls))
    if as_json:
        write_result(json.dumps(found.to_json(), ensure_ascii=False).encode() + b"\n")
    elif markdown:
        write_result(found.to_markdown().encode())
    else:
        Console().print(found.to_terminal())

"""`varedit eval controls`: edits by which a judge is tried."""

from __future__ import annotations

from pathlib import Path

import click

from varedit.cli.terminal import Terminal, talking, write_result


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of controls.")
@click.option("--count", type=click.IntRange(2), default=30, show_default=True, metavar="N", help="Of each kind.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, metavar="N")
@talking
@click.pass_obj
def controls(terminal: Terminal, /, folder: Path, out: Path, count: int, seed: int) -> None:
    """Make edits whose right scores are known, from the items of the run in DIR, to try a judge with.

    The source itself, another picture, and, where there are true results: the true result, the same with the
    instruction of another item, and the same damaged elsewhere. Judge the new folder as any other.

    \b
    varedit eval run scenes material -o runs/scenes --prepare
    varedit eval controls runs/scenes -o runs/controls
    varedit eval judge runs/controls --endpoint http://localhost:8000/v1 --model Qwen/Qwen3-VL-8B-Instruct
    """
    from varedit.evaluation.judges.controls import write_controls
    from varedit.evaluation.run_folder import RunFolder

    with terminal.progress("making controls", unit="items") as show:
        write_controls(RunFolder(folder), out, count=count, seed=seed, on_progress=show)
    write_result(f"{out}\n".encode())

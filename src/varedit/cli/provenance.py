"""`varedit provenance`: what a result file says of its own making, and the command that repeats it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from varedit.cli.terminal import Terminal, printable, talking, write_result


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The whole record as one JSON object.")
@talking
@click.pass_obj
def provenance(terminal: Terminal, file: Path, as_json: bool) -> None:
    """Show how FILE was made: model, instruction, seed, settings.

    \b
    varedit provenance result.png
    varedit provenance result.jpg --json
    """
    from varedit.provenance import recorded

    made = recorded(file)
    if as_json:
        write_result(json.dumps(made).encode() + b"\n")
        return
    width = max(map(len, made))
    for name, value in made.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        write_result(f"{printable(name):{width}}  {printable(shown)}\n".encode())
    masked = "" if made.get("mask_sha256") is None else " --mask MASK"
    terminal.say(f"make it again: varedit replay {shlex.quote(str(file))} --source IMAGE{masked}")

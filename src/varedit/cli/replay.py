"""`varedit replay`: parse, make a result again from what its file says, write it, tell how it stands to the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from varedit.cli.request import device_option
from varedit.cli.terminal import Terminal, talking, write_result

MAX_THREADS = 1024


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    required=True,
    metavar="IMAGE",
    help="The picture that was edited; FILE tells its pixels' hash, not the picture.",
)
@click.option("--mask", type=click.Path(path_type=Path), metavar="IMAGE", help="The mask, if the edit had one.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="Where to write the result again.  [default: nowhere, only compare]",
)
@click.option(
    "-m",
    "--model",
    metavar="MODEL",
    help="Model folder, for models that are not on the hub.  [default: the one that FILE names]",
)
@device_option
@click.option("--force", is_flag=True, help="Overwrite OUT.")
@talking
@click.pass_obj
def replay(
    terminal: Terminal,
    file: Path,
    source: Path,
    mask: Path | None,
    output: Path | None,
    model: str | None,
    device: str,
    force: bool,
) -> int:
    """Make the result FILE again from its source, and compare.

    FILE says how it was made: model, instruction, seed and every other setting. The same machine and versions give the
    same bytes. The exit code is 1 if the pixels are others.

    \b
    varedit replay result.png --source photo.jpg
    varedit replay result.jpg --source photo.jpg -o again.jpg
    varedit replay result.png --source photo.jpg --mask cup.png
    """
    import torch

    from varedit.output import check_output_path, write_whole
    from varedit.pipeline import VAREditPipeline
    from varedit.provenance import recorded
    from varedit.replay import loading_of
    from varedit.replay import replay as replayed

    made = recorded(file)
    image_format = None if output is None else check_output_path(output, force=force)
    loading: dict[str, Any] = loading_of(made)
    if model is not None:
        loading = {name: value for name, value in loading.items() if name != "revision"} | {"source": model}
    if isinstance(made.get("threads"), int) and 1 <= made["threads"] <= MAX_THREADS:
        torch.set_num_threads(made["threads"])  # sums that are split otherwise are rounded otherwise
    with terminal.progress("loading the model"):
        pipeline = VAREditPipeline.from_pretrained(device=device, **loading)
    with terminal.progress(f"editing {source.name}"):
        result = replayed(pipeline, made, source, mask=mask)
    for note in result.notes:
        terminal.say(f"note: {note}")
    if output is not None and image_format is not None:
        write_whole(output, result.encoded(image_format))
        write_result(os.fsencode(output) + b"\n")
    difference = result.difference(file)
    terminal.say(f"compared with {file}: {difference.text}")
    return 0 if difference.is_same_picture else 1

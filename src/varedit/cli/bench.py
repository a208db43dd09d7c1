"""`varedit bench`: how fast a model edits here, stage by stage, and how fast it could be."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from varedit.cli.request import device_option, model_option, precision_option
from varedit.cli.terminal import Terminal, talking

if TYPE_CHECKING:
    from varedit.bench.run import BenchRequest


def parsed_batches(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Whole numbers from 1 to 1024 with commas between them, without repetitions."""
    parts = value.split(",")
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= 1024 for part in parts):
        raise click.BadParameter(f"{value!r} is not a list of batch sizes such as 1,2,4,8 (1 to 1024 each)", ctx, param)
    return tuple(dict.fromkeys(map(int, parts)))


@click.command()
@model_option
@click.option("--preset", metavar="NAME", help="Random weights of a released model, such as 2b-512 or 8b-1024.")
@click.option("--depth", type=click.IntRange(1), metavar="N", help="So many of the preset's blocks only.")
@click.option(
    "--size",
    type=click.Choice(["256", "512", "768", "1024"]),
    help="Side of the square whose pixels the pictures have, for released schedules.  [default: the model's]",
)
@click.option("--template", metavar="NAME", help="Scale schedule; see varedit info.  [default: the square one]")
@click.option(
    "--batch", "batches", callback=parsed_batches, default="1", show_default=True, metavar="N,..", help="Edits at once."
)
@device_option
@precision_option
@click.option("--compile", "compiles", is_flag=True, help="Compile the model first; on CUDA with CUDA graphs.")
@click.option("--threads", type=click.IntRange(1, 1024), default=None, help="Processor threads to compute with.")
@click.option(
    "--repeats", type=click.IntRange(1, 1000), default=3, show_default=True, help="Times each batch is timed."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Other code to time beside it: DIR/bench_adapter.py; see docs/speed.md.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Also write all numbers.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Also draw them (.png or .svg).")
@talking
@click.pass_obj
def bench(
    terminal: Terminal,
    /,
    json_file: Path | None,
    plot: Path | None,
    threads: int | None,
    **options: Any,
) -> None:
    """Time edits stage by stage, beside what the device allows.

    The bound of a stage is the larger of its arithmetic over the device's measured rate of matrix products and its
    memory traffic over the measured bandwidth. Random weights need no download.

    \b
    varedit bench
    varedit bench --preset 8b-1024 --device cuda --precision bfloat16 --batch 1,2,4 --json 8b.json --plot 8b.png
    varedit bench --preset 2b-512 --depth 4 --size 256 --folder benchmarks
    """
    import torch
    from rich.console import Console

    from varedit.bench.plot import check_plot_path, write_plot
    from varedit.bench.report import tables
    from varedit.bench.run import run_bench
    from varedit.output import write_whole

    request = bench_request(**options)
    if plot is not None:
        check_plot_path(plot)
    if threads is not None:
        torch.set_num_threads(threads)
    with terminal.progress(f"timing {request.model.config.name}") as show:
        report = run_bench(request, shlex.join(["varedit", *sys.argv[1:]]), show)
    if json_file is not None:
        write_whole(json_file, json.dumps(report, indent=2).encode() + b"\n")
    if plot is not None:
        write_plot(report, plot)
    for table in tables(report):
        Console().print(table)


def bench_request(
    *,
    model: str | None,
    preset: str | None,
    depth: int | None,
    size: str | None,
    device: str,
    precision: str,
    **same: Any,
) -> BenchRequest:
    """The measurement that the options mean. Raises UsageError, ModelError."""
    from varedit.bench.models import BenchModel
    from varedit.bench.run import BenchRequest
    from varedit.errors import UsageError
    from varedit.hub import find_model
    from varedit.precision import compute_device, compute_dtype

    if preset is not None:
        if model is not None:
            raise UsageError("give either --model or --preset, not both")
        chosen = BenchModel.of_preset(preset, depth)
    elif depth is not None:
        raise UsageError("--depth cuts a preset; give --preset too")
    else:
        chosen = BenchModel.of_folder(find_model(model).folder)
    if size is not None:
        chosen = chosen.at_size(int(size))
    where = compute_device(device)
    return BenchRequest(model=chosen, device=where, dtype=compute_dtype(precision, where), **same)

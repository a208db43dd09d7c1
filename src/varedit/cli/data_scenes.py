"""`varedit data scenes`: procedural editing pairs as files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from varedit.cli.terminal import Terminal, talking

if TYPE_CHECKING:
    from varedit.data.scenes import SceneSplit

SMALLEST_SIDE, LARGEST_SIDE = 16, 1024  # pixels


def parse_size(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """(height, width) of "64", a square, or of "56x72"."""
    match = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4}))?", value, re.ASCII)
    sides = [int(side) for side in match.groups(match[1])] if match else []
    if not sides or min(sides) < SMALLEST_SIDE or max(sides) > LARGEST_SIDE:
        limits = f"from {SMALLEST_SIDE} to {LARGEST_SIDE} pixels"
        raise click.BadParameter(f"{value!r} is no size. Give one side {limits} or two, such as 64 or 56x72.")
    return sides[0], sides[1]


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder for the shards.")
@click.option("--material", type=click.Path(path_type=Path), default=Path("material"), show_default=True)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "generalisation"]),
    default="train",
    show_default=True,
)
@click.option("--count", type=click.IntRange(1), default=1000, show_default=True, help="So many scenes.")
@click.option(
    "--size",
    callback=parse_size,
    default="64",
    show_default=True,
    metavar="SIZE",
    help="A side in pixels, or HEIGHTxWIDTH.",
)
@click.option("--seed", type=click.IntRange(0), help="By default 0 in training, else that of the compared scenes.")
@click.option("--workers", type=click.IntRange(1), help="Processes; by default one a core.")
@click.option("--per-shard", type=click.IntRange(1), default=1000, show_default=True, help="Scenes in one file.")
@click.option("--force", is_flag=True, help="Replace what an earlier call wrote to the folder.")
@talking
@click.pass_obj
def scenes(
    terminal: Terminal,
    /,
    out: Path,
    material: Path,
    split: SceneSplit,
    count: int,
    size: tuple[int, int],
    seed: int | None,
    workers: int | None,
    per_shard: int,
    force: bool,
) -> None:
    """Write editing pairs with exact ground truth: WebDataset shards and a contact sheet, sheet.jpg.

    They are made of the photographs and cut-outs that `varedit data fetch` collects. The same options give the same
    files, whatever the number of workers.

    \b
    varedit data scenes --out shards --count 10000 --workers 4
    varedit data scenes --out look --split test --count 24 --size 128
    """
    from varedit.data.scene_shards import SHEET_NAME, write_scenes
    from varedit.data.scenes import HELD_OUT_SEEDS, Scenes

    if seed is None:
        seed = HELD_OUT_SEEDS.get(split, 0)
    made = Scenes(material, split=split, size_hw=size, seed=seed)
    with terminal.progress("making scenes") as show:
        write_scenes(
            made,
            out,
            count=count,
            workers=workers or os.cpu_count() or 1,
            records_per_shard=per_shard,
            force=force,
            on_progress=show,
        )
    terminal.say(f"{count} scenes; {out / SHEET_NAME} shows some")
    click.echo(out)

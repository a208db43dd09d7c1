"""`varedit data`: fetch photographs to train on, and look at the editing pairs that are made of them."""

from __future__ import annotations

from pathlib import Path

import click

from varedit.cli.terminal import Terminal, talking


@click.group()
def data() -> None:
    """Fetch training photographs and look at editing pairs.

    \b
    varedit data fetch -o material
    varedit data sheet material/photographs -o sheet.png
    """


@data.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("material"), show_default=True)
@click.option("--permissive", is_flag=True, help="Only CC0, public domain, CC-BY and OFL material.")
@click.option("--source", "sources", multiple=True, metavar="NAME", help="Only this package; may be repeated.")
@talking
@click.pass_obj
def fetch(terminal: Terminal, /, output: Path, permissive: bool, sources: tuple[str, ...]) -> None:
    """Fetch photographs from distribution packages into FOLDER/photographs.

    Needs apt-get and dpkg-deb (Debian or Ubuntu) and pip. Licences are kept beside the pictures, in LICENCES.md.
    """
    from varedit.data.material import fetch_material

    with terminal.progress("fetching") as show:
        report = fetch_material(
            output,
            sources=sources or None,
            permissive_only=permissive,
            on_progress=lambda package, done, total: show(done, total),
        )
    for package in report.unavailable:
        terminal.say(f"note: {package} could not be fetched; the others were")
    terminal.say(f"{report.num_photographs} photographs; {len(report.duplicates)} near-duplicates left out")
    click.echo(output / "photographs")


@data.command()
@click.argument("photographs", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="PNG file to write.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--count", type=click.IntRange(1, 200), default=24, show_default=True)
@click.option("--force", is_flag=True, help="Overwrite the file.")
@talking
@click.pass_obj
def sheet(terminal: Terminal, /, photographs: Path, output: Path, seed: int, count: int, force: bool) -> None:
    """Write a contact sheet of editing pairs: source, target, instruction."""
    import numpy as np

    from varedit.data.contact_sheet import contact_sheet
    from varedit.data.scenes import AdjustmentScenes
    from varedit.output import check_output_path, save_image

    check_output_path(output, force=force)
    scenes = AdjustmentScenes(photographs, split="train", size_hw=(128, 128), seed=seed)
    picture = contact_sheet([scenes.pair(index) for index in range(count)], columns=4)
    save_image(np.asarray(picture.convert("RGB")), output, provenance=None, force=force)
    click.echo(output)

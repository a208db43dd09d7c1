"""`varedit data`: fetch photographs to train on, make editing pairs of them, and check sets of others."""

from __future__ import annotations

from pathlib import Path

import click

from varedit.cli.data_check import check
from varedit.cli.data_scenes import scenes
from varedit.cli.data_unpack import unpack
from varedit.cli.terminal import Terminal, talking


@click.group()
def data() -> None:
    """Fetch photographs, make editing pairs of them, and check sets of others.

    \b
    varedit data fetch -o material
    varedit data scenes --out look --count 24
    """


data.add_command(check)
data.add_command(scenes)
data.add_command(unpack)


@data.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("material"), show_default=True)
@click.option("--permissive", is_flag=True, help="Only CC0, public domain, CC-BY and OFL material.")
@click.option("--source", "sources", multiple=True, metavar="NAME", help="Only this package; may be repeated.")
@talking
@click.pass_obj
def fetch(terminal: Terminal, /, output: Path, permissive: bool, sources: tuple[str, ...]) -> None:
    """Fetch photographs and cut-outs from distribution packages into OUTPUT/photographs and OUTPUT/cutouts.

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
    terminal.say(
        f"{report.num_photographs} photographs and {report.num_cutouts} cut-outs; "
        f"{len(report.duplicates)} near-duplicates left out"
    )
    click.echo(output / "photographs")

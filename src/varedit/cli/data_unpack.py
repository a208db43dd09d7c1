"""`varedit data unpack`: archives in parts, as large sets are published, without a joined copy on the disk."""

from __future__ import annotations

from pathlib import Path

import click

from varedit.cli.terminal import Terminal, talking


@click.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder; by default that of the archive.")
@talking
@click.pass_obj
def unpack(terminal: Terminal, /, archive: Path, output: Path | None) -> None:
    """Unpack ARCHIVE, a tar file or any part of one (.part-aa, .part001, .split.000).

    What is there already is left as it is, so that a call that was interrupted goes on.

    \b
    varedit data unpack images/source_images.tar.gz.part-aa
    """
    from varedit.data.readers.archives import unpack as unpack_archive

    folder = output or archive.parent
    with terminal.progress("unpacking, in MiB") as show:
        count = unpack_archive(archive, folder, show)
    terminal.say(f"{count} files")
    click.echo(folder)

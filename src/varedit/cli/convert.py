"""`varedit convert`: released `.pth` weights to a model folder of ours."""

from __future__ import annotations

from pathlib import Path

import click

from varedit.cli.terminal import Terminal, talking
from varedit.errors import InputMissing, OutputError, UsageError

# Names of the files in the published folders: transformer, autoencoder, text encoder.
RELEASED_FILES = {
    "2b-512": ("2B-512.pth", "infinity_vae_d32reg.pth", "flan-t5-xl"),
    "8b-512": ("8B-512.pth", "infinity_vae_d56_f8_14_patchify.pth", "flan-t5-xl"),
    "8b-1024": ("8B-1024.pth", "infinity_vae_d56_f8_14_patchify.pth", "flan-t5-xl"),
}


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Where to.")
@click.option("--preset", required=True, metavar="NAME", help="Which model it is: 2b-512, 8b-512, 8b-1024.")
@talking
@click.pass_obj
def convert(terminal: Terminal, sources: tuple[Path, ...], output: Path, preset: str) -> None:
    """Convert released weights to a model folder.

    SOURCE is the folder that holds the published files under their published names; or the transformer, the
    autoencoder and, if you have it, the text encoder folder, in this order. Weights pass through one part at a time, so
    memory stays far below the model's size, and the folder appears only when it is complete. Convert only files that
    you trust.

    \b
    varedit convert downloads/VAREdit --preset 8b-512 -o models/8b-512
    varedit convert 2B-512.pth infinity_vae_d32reg.pth flan-t5-xl --preset 2b-512 -o models/2b-512
    """  # fmt: skip
    transformer, autoencoder, text_encoder = named_sources(sources, preset)
    if output.exists():
        raise OutputError(f"{output} exists already; name a new folder")
    from varedit.released import convert as convert_weights

    with terminal.progress("converting") as on_progress:
        convert_weights(
            transformer=transformer,
            autoencoder=autoencoder,
            text_encoder=text_encoder,
            out=output,
            preset=preset,
            on_progress=on_progress,
        )
    click.echo(str(output))


def named_sources(sources: tuple[Path, ...], preset: str) -> tuple[Path, Path, Path | None]:
    """Transformer, autoencoder and text encoder (None: not given). Raises InputMissing for one that does not exist."""
    if len(sources) == 1 and sources[0].is_dir():
        if preset not in RELEASED_FILES:
            raise UsageError(f"there is no published folder for preset {preset}; name the files one by one")
        sources = tuple(sources[0] / name for name in RELEASED_FILES[preset])
        if not sources[2].exists():
            sources = sources[:2]
    if len(sources) not in (2, 3):
        raise UsageError("convert takes one published folder, or a transformer, an autoencoder and a text encoder")
    for path in sources:
        if not path.exists():
            raise InputMissing(f"{path} does not exist")
    return sources[0], sources[1], sources[2] if len(sources) == 3 else None

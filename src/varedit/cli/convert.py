"""`varedit convert`: released weights to a model folder of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from varedit.cli.terminal import Terminal, talking
from varedit.errors import InputMissing, UsageError
from varedit.presets import PRESETS, preset_named


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Where to.")
@click.option("--preset", required=True, type=click.Choice(list(PRESETS)), help="Which model it is.")
@click.option("--ema", "use_ema", is_flag=True, help="Take the averaged weights of a trainer's file.")
@click.option(
    "--dtype", type=click.Choice(["keep", "bfloat16"]), default="keep", show_default=True,
    help="How weights are stored; bfloat16 halves the folder, for computing in bfloat16.",
)  # fmt: skip
@talking
@click.pass_obj
def convert(
    terminal: Terminal,
    sources: tuple[Path, ...],
    output: Path,
    preset: str,
    use_ema: bool,
    dtype: Literal["keep", "bfloat16"],
) -> None:
    """Convert released weights to a model folder.

    SOURCE is the folder that holds the published files under their published names; or the transformer, the
    autoencoder and the text encoder's folder (google/flan-t5-xl), in this order. Weights pass through shard by shard,
    so memory stays far below the model's size, and the folder appears only when it is complete. Convert only files
    that you trust. The presets infinity-... make pictures from text; they are starting points for training.

    \b
    varedit convert downloads/VAREdit --preset 8b-512 -o models/8b-512
    varedit convert 2B-512.pth infinity_vae_d32reg.pth flan-t5-xl --preset 2b-512 -o models/2b-512
    """  # fmt: skip
    transformer, autoencoder, text_encoder = named_sources(sources, preset)
    from varedit.conversion import convert as convert_weights

    with terminal.progress("converting") as on_progress:
        convert_weights(
            transformer=transformer,
            autoencoder=autoencoder,
            text_encoder=text_encoder,
            out=output,
            preset=preset,
            use_ema=use_ema,
            dtype=dtype,
            on_progress=on_progress,
        )
    click.echo(str(output))


def named_sources(sources: tuple[Path, ...], preset: str) -> tuple[Path, Path, Path | None]:
    """Transformer, autoencoder and text encoder (None: not given). Raises InputMissing for one that does not exist."""
    if len(sources) == 1 and sources[0].is_dir():
        published = preset_named(preset)
        names = (published.transformer, published.autoencoder, published.text_encoder)
        sources = tuple(sources[0] / name for name in names)
        if not sources[2].exists():
            sources = sources[:2]
    if len(sources) not in (2, 3):
        raise UsageError("convert takes one published folder, or a transformer, an autoencoder and a text encoder")
    for path in sources:
        if not path.exists():
            raise InputMissing(f"{path} does not exist")
    return sources[0], sources[1], sources[2] if len(sources) == 3 else None

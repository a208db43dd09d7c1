"""`varedit train`: the autoencoder and the editor, from a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

_OPTIONS = (
    click.option("--recipe", type=click.Path(path_type=Path), default=Path("configs/mini.toml"), show_default=True),
    click.option(
        "--photographs",
        type=click.Path(path_type=Path),
        default=Path("material/photographs"),
        show_default=True,
        help="Folder of photographs; see varedit data fetch.",
    ),
    click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the run."),
    click.option("--threads", type=int, default=None, help="Processor threads to compute with."),
)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group()
def train() -> None:
    """Train a model from a recipe; a run that was interrupted goes on where its last checkpoint stands.

    \b
    varedit data fetch -o material
    varedit train autoencoder -o runs/autoencoder
    varedit train editor --autoencoder runs/autoencoder/autoencoder -o runs/editor
    """


@train.command()
@_with_options
def autoencoder(recipe: Path, photographs: Path, output: Path, threads: int | None) -> None:
    """Train the autoencoder of a recipe."""
    from varedit.cli.training_progress import shown_progress
    from varedit.training.autoencoder import train_autoencoder
    from varedit.training.recipe import Recipe
    from varedit.training.sources import adjustment_sources

    read = Recipe.read(recipe)
    training, validation = adjustment_sources(read, photographs)
    with shown_progress(threads) as on_step:
        trained = train_autoencoder(read, training, validation, output, on_step)
    click.echo(f"{output / 'autoencoder'}  {trained.metrics}")


@train.command()
@click.option("--autoencoder", type=click.Path(path_type=Path), required=True, help="Folder of its trained weights.")
@_with_options
def editor(autoencoder: Path, recipe: Path, photographs: Path, output: Path, threads: int | None) -> None:
    """Train the editor of a recipe on a trained autoencoder; ends with a model folder."""
    from varedit.cli.training_progress import shown_progress
    from varedit.training.editor import train_editor
    from varedit.training.recipe import Recipe
    from varedit.training.sources import adjustment_sources

    read = Recipe.read(recipe)
    training, validation = adjustment_sources(read, photographs)
    with shown_progress(threads) as on_step:
        trained = train_editor(read, autoencoder, training, validation, output, on_step)
    click.echo(f"{output / 'model'}  {trained.metrics}")


@train.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--recipe", type=click.Path(path_type=Path), default=Path("configs/mini.toml"), show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write.")
def export(model: Path, recipe: Path, output: Path) -> None:
    """Write a trained MODEL folder as it is shipped: float16 storage, and the call defaults of the recipe."""
    from varedit.training.export import export_editor
    from varedit.training.recipe import Recipe

    export_editor(model, Recipe.read(recipe).editor.generation, output)
    click.echo(output)

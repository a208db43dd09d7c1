"""`varedit train`: the autoencoder and the editor, from a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from varedit.cli.terminal import Terminal, talking

_OPTIONS = (
    click.option("--recipe", type=click.Path(path_type=Path), default=Path("configs/mini.toml"), show_default=True),
    click.option(
        "--material",
        type=click.Path(path_type=Path),
        default=Path("material"),
        show_default=True,
        help="Folder that scenes are made of; see varedit data fetch.",
    ),
    click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the run."),
    click.option("--threads", type=click.IntRange(1), default=None, help="Processor threads to compute with."),
    talking,
)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group()
def train() -> None:
    """Train a model from a recipe.

    \b
    varedit data fetch -o material
    varedit train autoencoder -o runs/autoencoder
    varedit train editor --autoencoder runs/autoencoder/autoencoder -o runs/editor

    A run that was interrupted goes on where its last checkpoint stands: give the same command again. A recipe whose
    steps were raised makes it longer, as long as its learning rate has not begun to fall.

    Many GPUs, or many machines, train together under Accelerate; with FSDP2 they share the weights among them, too:

    \b
    accelerate launch -m varedit train editor ...
    accelerate launch --use_fsdp --fsdp_version 2 -m varedit train editor ...
    """


@train.command()
@_with_options
@click.pass_obj
def autoencoder(terminal: Terminal, /, recipe: Path, material: Path, output: Path, threads: int | None) -> None:
    """Train the autoencoder of a recipe."""
    from varedit.cli.training_progress import shown_progress
    from varedit.training.autoencoder import train_autoencoder
    from varedit.training.recipe import Recipe
    from varedit.training.sources import editing_data

    read = Recipe.read(recipe)
    data = editing_data(read, material)
    with shown_progress(terminal, threads) as on_step:
        trained = train_autoencoder(read, data.train, data.validation, output, on_step)
    if trained.weights:  # in one of the processes that may train together
        click.echo(f"{output / 'autoencoder'}  {trained.metrics}")


@train.command()
@click.option(
    "--autoencoder",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of its trained weights; without it, those of the editor that the recipe begins with.",
)
@_with_options
@click.pass_obj
def editor(
    terminal: Terminal, /, autoencoder: Path | None, recipe: Path, material: Path, output: Path, threads: int | None
) -> None:
    """Train the editor of a recipe on a trained autoencoder.

    Ends with a model folder, OUTPUT/model, or with a folder of adapters, OUTPUT/adapter, where the recipe asks for
    LoRA.
    """
    from varedit.cli.training_progress import shown_progress
    from varedit.training.editor import train_editor
    from varedit.training.recipe import Recipe
    from varedit.training.sources import editing_data

    read = Recipe.read(recipe)
    data = editing_data(read, material)
    with shown_progress(terminal, threads) as on_step:
        trained = train_editor(read, autoencoder, data, output, on_step)
    if trained.weights:  # as above
        click.echo(f"{output / ('model' if read.editor_training.lora is None else 'adapter')}  {trained.metrics}")


@train.command("change-detector")
@click.argument("model", type=click.Path(path_type=Path))
@_with_options
@click.pass_obj
def change_detector(
    terminal: Terminal, /, model: Path, recipe: Path, material: Path, output: Path, threads: int | None
) -> None:
    """Train what tells MODEL's edits from its noise, so that restoring leaves the rest of a photograph alone.

    MODEL first edits training scenes. Then export it with --change-detector OUTPUT/change_detector.
    """
    from varedit.cli.training_progress import shown_progress
    from varedit.training.change_detector import detector_data, train_change_detector
    from varedit.training.recipe import Recipe

    read = Recipe.read(recipe)
    with terminal.progress("editing scenes", unit="scenes") as on_edit:
        data = detector_data(read, model, material, output, on_edit)
    with shown_progress(terminal, threads) as on_step:
        trained = train_change_detector(read, data, output, on_step)
    if trained.weights:  # as above
        click.echo(f"{output / 'change_detector'}  {trained.metrics}")


@train.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--recipe", type=click.Path(path_type=Path), default=Path("configs/mini.toml"), show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--merge", is_flag=True, help="MODEL is a folder of adapters: add them to the editor they name.")
@click.option(
    "--change-detector",
    "detector",
    type=click.Path(path_type=Path),
    help="Folder of its weights, from varedit train change-detector; without it, MODEL's own is kept.",
)
@talking
def export(model: Path, recipe: Path, output: Path, merge: bool, detector: Path | None) -> None:
    """Write a trained MODEL folder as it is shipped: float16 storage, and the call defaults of the recipe."""
    from varedit.training.export import export_editor, merged_editor, take_change_detector, trained_editor
    from varedit.training.recipe import Recipe

    read = Recipe.read(recipe)
    found = merged_editor(model) if merge else trained_editor(model)
    if detector is not None:
        take_change_detector(found, read, detector)
    export_editor(found, read.editor.generation, output)
    click.echo(output)

"""`varedit inspect`: what goes on inside a model while it edits."""

from __future__ import annotations

from pathlib import Path

import click

from varedit.cli.request import device_option, guidance_option, model_option
from varedit.cli.terminal import Terminal, talking, write_result


def parsed_mark(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, float]:
    """Two numbers with a comma between them; their range is the library's to check."""
    try:
        x, y = map(float, value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not two numbers with a comma between them", ctx, param) from None
    return x, y


@click.group()
def inspect() -> None:
    """Look at what goes on inside a model.

    \b
    varedit inspect attention photo.jpg "make it black and white" -o attention
    """


@inspect.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("instruction")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("attention"),
    show_default=True,
    metavar="DIR",
    help="Folder for the page, the pictures and the numbers; older ones are replaced.",
)
@model_option
@click.option(
    "--layer",
    "layers",
    type=click.IntRange(1),
    multiple=True,
    metavar="N",
    help="Draw this layer, counted from 1; may be given again.  [default: 1, 2, 4, 8 and so on, and the last]",
)
@click.option("--head", type=click.IntRange(1), metavar="N", help="This head alone.  [default: the mean over all]")
@click.option(
    "--scale",
    "scales",
    type=click.IntRange(1),
    multiple=True,
    metavar="N",
    help="Draw this target scale, counted from 1; may be given again.  [default: all]",
)
@click.option(
    "--mark",
    callback=parsed_mark,
    default="0.5,0.5",
    show_default=True,
    metavar="X,Y",
    help="The place whose own look is drawn beside that of all, as shares of width and height.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, metavar="N")
@guidance_option
@device_option
@talking
@click.pass_obj
def attention(
    terminal: Terminal,
    /,
    image: Path,
    instruction: str,
    output: Path,
    model: str | None,
    device: str,
    seed: int,
    guidance: float | list[float] | None,
    mark: tuple[float, float],
    head: int | None,
    **places: tuple[int, ...],
) -> None:
    """Edit IMAGE as INSTRUCTION says, and show where the edit's tokens look.

    In the source, in the scales drawn before, and in the words: for each layer and scale, as pictures, as a page
    (attention.html) and as numbers (attention.json). Prints the path of the page.

    \b
    varedit inspect attention photo.jpg "make it black and white" -o attention
    varedit inspect attention photo.jpg "add a red hat" -m models/2b-512 --layer 1 --head 3 --mark 0.4,0.2
    """
    from varedit.evaluation.attention import AttentionChoice, attention_of_edit
    from varedit.evaluation.attention_page import write_attention
    from varedit.evaluation.files import make_report_folder
    from varedit.images import read_image
    from varedit.pipeline import VAREditPipeline
    from varedit.text import clean_instruction

    layers, scales = (tuple(number - 1 for number in places[name]) or None for name in ("layers", "scales"))
    choice = AttentionChoice(layers=layers, scales=scales, head=None if head is None else head - 1, mark=mark)
    picture, instruction = read_image(image), clean_instruction(instruction)
    make_report_folder(output)
    pipeline = VAREditPipeline.from_pretrained(model, device=device)
    with terminal.progress(f"editing {picture.name}") as show:
        found = attention_of_edit(pipeline, picture, instruction, choice, show, seed=seed, guidance_scale=guidance)
    with terminal.progress("drawing") as show:
        page = write_attention(found, output, show)
    write_result(f"{page}\n".encode())

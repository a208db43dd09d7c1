"""What one call of `varedit edit` may say: its options, and the value that they become."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from varedit.provenance import Told

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of one call, as typed; ranges are the library's to check."""

    arguments: tuple[str, ...]  # images, then the instruction
    output: str
    compare: str | None
    show_region: str | None
    previews: Path | None
    mask: Path | None
    model: str | None  # None: the embedded model
    device: str
    precision: str
    weights: str
    offload: bool
    compile: bool
    seed: int | None  # None: drawn
    guidance: float | list[float] | None  # None: the model's own, as for temperature
    temperature: float | list[float] | None
    greedy: bool
    reuse: bool | None  # None: the model's own
    candidates: int
    restore: bool
    fit: str
    force: bool
    metadata: Told
    as_json: bool
    batch_size: int | None  # this and what follows: of folders and lists of edits
    ray: bool
    workers: int | None

    @property
    def loading(self) -> dict[str, Any]:
        """How the model is to be loaded, as arguments of `VAREditPipeline.from_pretrained`."""
        return {
            "dtype": self.precision,
            "device": self.device,
            "weights": self.weights,
            "offload_text": self.offload,
            "compile": self.compile,
        }

    @property
    def call(self) -> dict[str, Any]:
        """What all edits of this call share, as arguments of `VAREditPipeline.requests`."""
        return {
            "guidance_scale": self.guidance,
            "temperature": self.temperature,
            "greedy": self.greedy,
            "reuse": self.reuse,
            "candidates": self.candidates,
            "restore": self.restore,
            "fit": self.fit,
        }


def request_options(command: Command) -> Command:
    """Give a command the arguments and options that make a `Request`."""
    return _with(_OPTIONS, command)


def _with(options: Iterable[Callable[[Command], Command]], command: Command) -> Command:
    for decorator in reversed(tuple(options)):
        command = decorator(command)
    return command


_model = partial(
    click.option, "-m", "--model", metavar="MODEL", envvar="VAREDIT_MODEL", show_envvar=True, show_default=True
)
model_option = _model(help="Model folder or hub id.  [default: the model inside the package]")
measured_model_option = _model(default="mini", help="Model folder or hub id.")

precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Number format of the model.",
)

device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="NAME",
    envvar="VAREDIT_DEVICE",
    show_envvar=True,
    help="auto, cpu, cuda, cuda:1, mps.",
)


def per_scale(_context: click.Context, _option: click.Parameter, typed: str | None) -> float | list[float] | None:
    """A number, or one for every scale with commas between them."""
    if typed is None:
        return None
    try:
        numbers = [float(part) for part in typed.split(",")]
    except ValueError:
        raise click.BadParameter(f"{typed!r} is neither a number nor numbers with commas between them") from None
    return numbers[0] if len(numbers) == 1 else numbers


guidance_option = click.option(
    "--guidance",
    callback=per_scale,
    metavar="X[,X...]",
    help="How strongly the instruction is stressed; 1 is not at all. One number for each scale makes the late ones "
    "cheap: 3,3,3,1,1,1.  [default: the model's]",
)

temperature_option = click.option(
    "--temperature",
    callback=per_scale,
    metavar="X[,X...]",
    help="How freely details are drawn; lower is safer. May differ by scale, too.  [default: the model's]",
)

reuse_option = click.option(
    "--reuse/--no-reuse",
    default=None,
    help="Compute fine scales only where the edit is: faster, an approximation; all else stays exactly as it was.  "
    "[default: the model's]",
)

candidates_option = click.option(
    "--candidates",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Begin with N seeds and finish the most promising.",
)

greedy_option = click.option("--greedy", is_flag=True, help="Take the likeliest bits instead of drawing them.")

_DRAWING = (guidance_option, temperature_option, greedy_option, reuse_option, candidates_option)


def drawing_options(command: Command) -> Command:
    """Give a command the options that say how bits are drawn."""
    return _with(_DRAWING, command)


_OPTIONS = (
    click.argument("arguments", nargs=-1, metavar="IMAGE... INSTRUCTION | FOLDER INSTRUCTION | EDITS.jsonl"),
    click.option(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="Result: a file, a folder, a pattern with {stem}, {seed} and {ext}, or - for stdout.",
    ),
    model_option,
    click.option(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        metavar="N",
        help="Same seed, same result.  [default: drawn, and told]",
    ),
    *_DRAWING,
    click.option(
        "--mask",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Picture of the image's size: white may change, black stays.",
    ),
    click.option("--compare", metavar="FILE", help="Also write before and after side by side."),
    click.option("--show-region", metavar="FILE", help="Also write the change map: white where the picture changed."),
    click.option(
        "--previews",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Also write what the picture looks like after every scale.",
    ),
    click.option(
        "--restore/--no-restore",
        default=True,
        help="Carry the change to the photograph's own pixels, or show the model's.  [default: restore]",
    ),
    click.option(
        "--fit",
        type=click.Choice(["template", "square"]),
        default="template",
        show_default=True,
        help="Fit the image into the nearest aspect ratio, or pad it to a square as the released models do.",
    ),
    device_option,
    precision_option,
    click.option(
        "--weights",
        type=click.Choice(["full", "int8", "fp8"]),
        default="full",
        show_default=True,
        help="Hold most weights in 8 bits: less memory, results that differ a little.",
    ),
    click.option("--offload", is_flag=True, help="Keep the text encoder in memory only while it reads."),
    click.option(
        "--compile", is_flag=True, help="Compile the model first: half a minute or more, then faster edits on a GPU."
    ),
    click.option("--force", is_flag=True, help="Overwrite files."),
    click.option(
        "--metadata",
        type=click.Choice(["full", "minimal", "none"]),
        default="full",
        show_default=True,
        help="What the result says of its making: all, or without instruction, seed and settings, or nothing.",
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of the path."),
    click.option(
        "--batch-size",
        type=click.IntRange(1),
        metavar="N",
        help="Many edits: so many are drawn together.  [default: what fits the device]",
    ),
    click.option("--ray", is_flag=True, help="Many edits: on the Ray cluster of RAY_ADDRESS, or on a local one."),
    click.option(
        "--workers",
        type=click.IntRange(1),
        metavar="N",
        help="Many edits with --ray: so many models.  [default: one a GPU, or one a machine]",
    ),
)

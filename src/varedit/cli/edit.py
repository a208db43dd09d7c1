"""`varedit edit`: parse, check everything that can be checked, load the model, edit, write, tell."""

from __future__ import annotations

import glob
import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from varedit.cli.jobs import PIPE, Job, Targets, names_many, plan, split_instruction
from varedit.cli.request import Request, request_options
from varedit.cli.terminal import Terminal, talking, write_result
from varedit.errors import InputMissing, OutputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from varedit.images import Picture
    from varedit.pipeline import VAREditPipeline
    from varedit.results import EditOutput


@click.command()
@request_options
@talking
@click.pass_obj
def edit(terminal: Terminal, /, **options: Any) -> int:
    """Edit each IMAGE as INSTRUCTION says.

    The result has the size of the image. The last argument is the instruction.

    \b
    varedit edit photo.jpg "make it black and white" -o result.png
    varedit edit photo.jpg "a lot warmer" -o result.jpg --seed 7 --compare both.jpg
    varedit edit photo.jpg "remove the cup" -o result.png --mask cup.png --show-region changed.png
    varedit edit *.jpg "slightly brighter" -o 'out/{stem}-{seed}.{ext}' --json
    varedit edit photos/ "slightly brighter" -o out/
    varedit edit edits.jsonl -o out/ --batch-size 16
    varedit edit photo.jpg "add a red hat" -m models/2b-512 --device cuda -o result.png --previews steps/
    cat photo.jpg | varedit edit - "sepia" -o - > result.png

    A folder, or a JSONL file whose lines have "image" and "instruction" (and may have "seed", "mask", "output",
    "guidance", "temperature" and "id"), is streamed through the model in batches. The same command again goes on where
    it stopped. If some images fail, the others are done and the exit code is 65.

    Temperature, guidance and seed are told at the end and recorded in the result, so that every edit can be repeated.
    """
    request = Request(**options)
    if names_many(request.arguments, request.output):
        from varedit.cli.edit_many import edit_many

        return edit_many(terminal, request)
    check_options(request)
    sources, instruction = split_instruction(request.arguments)
    seed = secrets.randbelow(2**32) if request.seed is None else request.seed  # drawn here: file names may hold it
    targets = Targets(
        output=request.output, compare=request.compare, region=request.show_region, previews=request.previews
    )
    jobs = plan(sources, targets, seed=seed)
    check_targets(jobs, request)

    editor: VAREditPipeline | None = None
    for job in jobs:
        picture = read_source(job.source)
        check_sizes(job, picture)
        settings = call_settings(request, picture, seed)
        loading = time.perf_counter()
        instruction = checked_instruction(request, instruction)
        for note in picture.notes:
            terminal.say(f"note: {picture.name}: {note}")
        if editor is None:  # only now: a bad image or a slip in typing should not cost the loading of a model
            with terminal.progress("loading the model"):
                editor = load_editor(request)
            if request.compile:
                with terminal.progress("compiling the model") as show:
                    editor.warm_up(picture, show)
        started = time.perf_counter()
        result = run(editor, picture, instruction, settings, job, terminal)
        write_results(job, picture, result, request)
        report(job, picture, result, request)
        for note in result.notes[0]:
            terminal.say(f"note: {note}")
        terminal.say(
            f"edited {picture.name} ({picture.width}x{picture.height}) in {time.perf_counter() - started:.1f} s, "
            f"loading {started - loading:.1f} s"
        )
        terminal.say(f"seed {result.seeds[0]}, model {result.settings[0]['model']}")
    return 0


def check_options(request: Request) -> None:
    """Raise UsageError for an option that only many edits have."""
    for name, is_given in (
        ("--batch-size", request.batch_size is not None),
        ("--ray", request.ray),
        ("--workers", request.workers is not None),
    ):
        if is_given:
            raise UsageError(f"{name} goes with a folder of images or a JSONL file of edits, not with single images")


def check_targets(jobs: list[Job], request: Request) -> None:
    """Raise OutputError or UsageError for a result that could not be written; makes the folders that are missing."""
    from varedit.output import check_output_path

    if request.show_region and not request.restore:
        raise UsageError("--show-region shows what restoring found to be changed; leave out --no-restore")
    for job in jobs:
        if job.output == PIPE and request.as_json:
            raise UsageError("-o - and --json would both write to stdout; give -o a file")
        if job.output == PIPE and sys.stdout.isatty():
            raise UsageError("-o - writes a picture to stdout, which is a terminal; redirect it: -o - > result.png")
        for path in job.files:
            make_folder(path.parent)
            check_output_path(path, force=request.force)
        if job.previews is not None:
            make_folder(job.previews)
            old = sorted(job.previews.glob(f"{glob.escape(job.stem)}-scale-*.png"))
            if old and not request.force:
                raise OutputError(f"{old[0]} exists. Choose another folder, or allow replacing it with --force.")


def make_folder(folder: Path) -> None:
    """Make a folder for results. Raises OutputError if that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot make the folder {folder}: {reason}") from error


def read_source(source: str) -> Picture:
    """Read one image, from a file or from stdin."""
    from varedit.images import MAX_BYTES, read_image

    if source != PIPE:
        return read_image(Path(source))
    if sys.stdin is None:
        raise InputMissing("stdin is closed, so there is no image to read from it")
    return read_image(sys.stdin.buffer.read(MAX_BYTES + 1), name="the image on stdin")  # a stream may never end


def check_sizes(job: Job, picture: Picture) -> None:
    """Raise OutputError where a format cannot hold the picture, before any work is done for it."""
    from varedit.cli.compare import size_of_comparison
    from varedit.output import check_output_path

    size = (picture.width, picture.height)
    if job.output != PIPE:
        check_output_path(Path(job.output), force=True, size=size)
    if job.compare is not None:
        check_output_path(job.compare, force=True, size=size_of_comparison(size))
    if job.region is not None:
        check_output_path(job.region, force=True, size=size)


def call_settings(request: Request, picture: Picture, seed: int) -> dict[str, Any]:
    """Keyword arguments of one pipeline call."""
    from varedit.images import load_mask

    mask = None if request.mask is None else load_mask(request.mask, picture.width, picture.height)
    return {**request.call, "seed": seed, "mask": mask}


def checked_instruction(request: Request, instruction: str) -> str:
    """The instruction without control characters. Raises UsageError for it, or for a number that no model takes."""
    from varedit.sampling import SamplingSettings
    from varedit.text import clean_instruction

    numbers: dict[str, Any] = {"guidance": request.guidance, "temperature": request.temperature}
    SamplingSettings(**{name: number for name, number in numbers.items() if number is not None})
    return clean_instruction(instruction)


def load_editor(request: Request) -> VAREditPipeline:
    """The pipeline that the options ask for."""
    from varedit.pipeline import VAREditPipeline

    return VAREditPipeline.from_pretrained(request.model, **request.loading)


def run(
    editor: VAREditPipeline,
    picture: Picture,
    instruction: str,
    settings: dict[str, Any],
    job: Job,
    terminal: Terminal,
) -> EditOutput:
    """Edit one picture, showing the scales as they pass and writing the previews that were asked for."""
    from varedit.output import save_image

    result: EditOutput | None = None
    with terminal.progress(f"editing {picture.name}") as show:
        for event in editor.stream(picture, instruction, **settings):
            show(event.index + 1, event.total)
            if job.previews is not None:
                save_image(pixels(event.preview()), job.preview_file(event.index + 1), provenance=None, force=True)
            result = event.output or result
    assert result is not None, "the last event of a stream carries the output"
    return result


def write_results(job: Job, picture: Picture, result: EditOutput, request: Request) -> None:
    """Write the edited picture and its companions."""
    from varedit.cli.compare import side_by_side
    from varedit.output import encode_image, save_image
    from varedit.provenance import as_told

    provenance = as_told(result.settings[0], request.metadata)
    edited = pixels(result.images[0])
    if job.output == PIPE:
        write_result(encode_image(edited, "PNG", alpha=picture.alpha, provenance=provenance))
    else:
        path = Path(job.output)
        save_image(edited, path, alpha=picture.alpha, provenance=provenance, force=request.force)
    if job.compare is not None:
        both = side_by_side(picture.rgb, edited)
        save_image(both, job.compare, provenance=provenance, force=request.force)
    if job.region is not None:
        change_map = result.change_maps[0]
        assert change_map is not None, "an edit that was restored has a change map"
        save_image(pixels(change_map.convert("RGB")), job.region, provenance=provenance, force=request.force)


def pixels(image: Image) -> NDArray[np.uint8]:
    """(H, W, 3) of an RGB image."""
    import numpy as np

    return np.asarray(image)


def report(job: Job, picture: Picture, result: EditOutput, request: Request) -> None:
    """Say on stdout what was written: a path, or a JSON object."""
    if job.output == PIPE:
        return
    if not request.as_json:
        write_result(os.fsencode(job.output) + b"\n")
        return
    record: dict[str, Any] = {
        "output": job.output,
        "source": job.source,
        "seed": result.seeds[0],
        "size": [picture.width, picture.height],
        "schedule": [list(grid) for grid in result.schedules[0]],
        "timings_ms": {name: round(1000 * seconds) for name, seconds in result.timings.items()},
        "settings": result.settings[0],
        "notes": [*picture.notes, *result.notes[0]],
    }
    extras = {"compare": job.compare, "show_region": job.region, "previews": job.previews}
    record |= {name: str(path) for name, path in extras.items() if path is not None}
    write_result(json.dumps(record).encode() + b"\n")  # in ASCII, as names may hold bytes of no encoding

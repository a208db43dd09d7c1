"""Pictures of single objects with a transparent background, each with its plain English noun: made small, and loaded.

Which pictures, and under what nouns, is in `cutouts.toml`; `material.py` writes them and their manifest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from varedit.errors import InputMissing

LONGEST_SIDE = 96  # pixels; scenes show objects at 16 to 64
FAINTEST_ALPHA = 16  # of 255; less is the haze around a hand-made cut-out, and does not count as the object


@dataclass(frozen=True, eq=False)
class Cutout:
    """One object: ``rgba`` is (h, w, 4) uint8, its colours not multiplied by alpha; ``name`` is the file's stem."""

    noun: str
    rgba: NDArray[np.uint8]
    name: str


def load_cutouts(folder: Path) -> tuple[Cutout, ...]:
    """The cut-outs that `varedit data fetch` wrote to ``folder``, in the order of their names.

    Args:
        folder: ``cutouts`` in the folder of the material; the manifest that lists them lies beside it.

    Raises: `InputMissing` where the folder, the manifest or a listed file is missing or cannot be read.
    """
    manifest = folder.parent / "manifest.json"
    if not folder.is_dir():
        raise InputMissing(f"{folder} is no folder of cut-outs. {_how_to_fetch(folder)}")
    if not manifest.is_file():
        raise InputMissing(f"{manifest} is missing, which lists the cut-outs. {_how_to_fetch(folder)}")
    listed = [entry for entry in json.loads(manifest.read_text("utf-8")) if entry["kind"] == "cutout"]
    if not listed:
        raise InputMissing(f"{manifest} lists no cut-outs. {_how_to_fetch(folder)}")
    return tuple(
        Cutout(noun=entry["noun"], rgba=_read(folder / Path(entry["file"]).name), name=Path(entry["file"]).stem)
        for entry in sorted(listed, key=lambda entry: str(entry["file"]))
    )


def _read(file: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            return np.array(image.convert("RGBA"))
    except (FileNotFoundError, UnidentifiedImageError) as error:
        raise InputMissing(f"The cut-out {file} is missing or damaged. {_how_to_fetch(file.parent)}") from error


def _how_to_fetch(folder: Path) -> str:
    return f"Fetch cut-outs with: varedit data fetch -o {folder.parent}"


def cut_out(image: Image.Image) -> Image.Image:
    """The object alone, in RGBA: cropped to what is opaque, its longest side at most 96 pixels, never enlarged.

    Pillow multiplies by alpha before it resamples RGBA and divides afterwards, so that the hidden colour of transparent
    pixels leaves no fringe.
    """
    rgba = image.convert("RGBA")
    seen = rgba.getchannel("A").point(lambda alpha: 255 if alpha >= FAINTEST_ALPHA else 0)
    cropped = rgba.crop(seen.getbbox())
    scale = LONGEST_SIDE / max(cropped.size)
    if scale >= 1:
        return cropped
    width, height = (max(round(side * scale), 1) for side in cropped.size)
    return cropped.resize((width, height), Image.Resampling.LANCZOS)

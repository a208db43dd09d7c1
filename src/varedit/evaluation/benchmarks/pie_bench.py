"""PIE-Bench (2310.01506), as its form gives it: 700 pictures of 512 x 512, a mapping file, masks in runs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from varedit.data.readers.fields import Place, Row, RowError, text
from varedit.evaluation.benchmarks.files import file_below, json_rows
from varedit.evaluation.benchmarks.items import Benchmark, Item

SIDE = 512  # pixels, of every picture and mask
TYPES = (
    "random",
    "change object",
    "add object",
    "delete object",
    "change content",
    "change pose",
    "change color",
    "change material",
    "change background",
    "change style",
)  # by editing_type_id


def read(folder: Path, split: str) -> Iterator[Item]:
    """All items; results are named after the pictures, with their folders."""
    file = file_below(folder, "mapping_file.json")
    for key, row in json_rows(file).items():
        path = text(row, "image_path")
        yield Item(
            id=str(PurePosixPath(path).with_suffix("")),
            category=_category(row),
            instruction=text(row, "editing_instruction"),
            source=Place(key, file, (file.parent / "annotation_images", file.parent)).picture(path),
            mask=_mask_file(row),
            source_caption=without_brackets(text(row, "original_prompt")),
            target_caption=without_brackets(text(row, "editing_prompt")),
            meta={"key": key},
        )


def decoded_mask(runs: Sequence[int], side: int = SIDE) -> NDArray[np.bool_]:
    """(side, side), true where the edit may change the picture.

    Args:
        runs: start and length in turn, over the rows of the picture one after the other. What goes beyond the end is
            cut off.
        side: of picture and mask, in pixels.

    The outermost pixels are always true, as in the published evaluation.
    """
    places = np.zeros(side * side, bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        places[start : start + length] = True
    mask = places.reshape(side, side)
    mask[[0, -1], :] = True
    mask[:, [0, -1]] = True
    return mask


def without_brackets(prompt: str) -> str:
    """A caption without the marks around the words that an edit changes."""
    return prompt.replace("[", "").replace("]", "")


def _category(row: Row) -> str:
    number = text(row, "editing_type_id")
    if number not in {str(index) for index in range(len(TYPES))}:
        raise RowError("damaged row", f"editing_type_id is {number!r}, not 0 to {len(TYPES) - 1}")
    return TYPES[int(number)]


def _mask_file(row: Row) -> bytes:
    runs = row.get("mask")
    if not isinstance(runs, list) or len(runs) % 2 or not all(isinstance(run, int) and run >= 0 for run in runs):
        raise RowError("damaged row", "mask is no list of starts and lengths")
    encoded = io.BytesIO()
    Image.fromarray(decoded_mask(runs)).save(encoded, "PNG")
    return encoded.getvalue()


PIE_BENCH = Benchmark("pie-bench", {"all": 700}, read)

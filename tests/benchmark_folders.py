"""Writes tiny benchmarks of exactly the published schemas, a few items each, for the tests of their readers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from tests.editing_sets import embedded, picture_file, put, put_parquet


def emu_edit(folder: Path) -> Path:
    """Two items of the test split and one of the validation split, in the file of the other's name."""
    put_parquet(
        folder / "data" / "validation-00000-of-00001.parquet",
        {
            "instruction": (pa.string(), ["add a cat", "never asked", "make it snow"]),
            "image": embedded([picture_file(seed) for seed in (1, 2, 3)]),
            "task": (pa.string(), ["Add", "local", "global"]),
            "split": (pa.string(), ["test", "validation", "test"]),
            "idx": (pa.int64(), [7, 8, 12]),
            "hash": (pa.string(), ["a", "b", "c"]),
            "input_caption": (pa.string(), ["a sofa", "x", ""]),
            "output_caption": (pa.string(), ["a cat on a sofa", "y", "a snowy field"]),
        },
    )
    return folder


def pie_bench(folder: Path) -> Path:
    """An item whose mask has two runs, and one that may change everywhere."""
    rows = {
        "000000000000": {
            "image_path": "0_random_140/000000000000.jpg",
            "original_prompt": "a slanted mountain bicycle on the road",
            "editing_prompt": "a slanted [rusty] mountain bicycle on the road",
            "editing_instruction": "Make the frame of the bike rusty",
            "editing_type_id": "0",
            "blended_word": "bicycle bicycle",
            "mask": [1024 + 10, 5, 512 * 300 + 500, 30],
        },
        "911000000003": {
            "image_path": "9_change_style_80/1_artificial/1_animal/911000000003.jpg",
            "original_prompt": "a dog",
            "editing_prompt": "[watercolor of] a dog",
            "editing_instruction": "Make it a watercolor",
            "editing_type_id": "9",
            "blended_word": "",
            "mask": [0, 512 * 512 + 7],
        },
    }
    for seed, row in enumerate(rows.values()):
        put(folder / "annotation_images" / str(row["image_path"]), picture_file(seed, 512, 512, "JPEG"))
    put(folder / "mapping_file.json", json.dumps(rows))
    return folder


def magicbrush(folder: Path) -> Path:
    """A session of eleven turns in the order of texts, of which the mask is the photograph with a hole."""
    names = ["input", *(f"output{number}" for number in range(1, 12))]
    session = folder / "test" / "images" / "242679"
    for seed, name in enumerate(names):
        put(session / f"242679-{name}.png", picture_file(seed))
    hole = np.full((48, 64), 255, np.uint8)
    hole[:12] = 0
    for number in range(1, 12):
        picture = Image.open(session / "242679-input.png").convert("RGBA")
        picture.putalpha(Image.fromarray(hole))
        picture.save(session / f"242679-mask{number}.png")
    turns = [
        {
            "input": f"242679-{names[number - 1]}.png",
            "mask": f"242679-mask{number}.png",
            "output": f"242679-output{number}.png",
            "instruction": f"edit {number}",
        }
        for number in sorted(range(1, 12), key=str)
    ]
    put(folder / "test" / "edit_sessions.json", json.dumps({"242679": turns}))
    captions = {"242679": {f"242679-{name}.png": f"shows {name}" for name in names}}
    for kind in ("local", "global"):
        put(folder / "test" / f"{kind}_descriptions.json", json.dumps(captions))
    return folder


def imgedit(folder: Path) -> Path:
    """Two edits of the basic suite, one of the other."""
    base = folder / "Benchmark"
    put(base / "singleturn" / "animal" / "000342021.jpg", picture_file(1, picture_format="JPEG"))
    put(base / "singleturn" / "style" / "000000007.jpg", picture_file(2, picture_format="JPEG"))
    put(base / "hard" / "000029784.jpg", picture_file(3, picture_format="JPEG"))
    basic = {
        "1082": {"id": "animal/000342021.jpg", "prompt": "Add a hat", "edit_type": "add"},
        "673": {"id": "style/000000007.jpg", "prompt": "Make it a sketch", "edit_type": "style"},
    }
    put(base / "Basic" / "basic_edit.json", json.dumps(basic))
    put(base / "UGE" / "UGE_edit.json", json.dumps({"1": {"id": "000029784.jpg", "prompt": "Remove the slice"}}))
    return folder


def gedit(folder: Path) -> Path:
    """One instruction in both languages, and an English one that comes twice, as a stream of record batches."""
    columns: dict[str, tuple[pa.DataType, Sequence[object]]] = {
        "task_type": (pa.string(), ["color_alter", "color_alter", "subject-add", "subject-add"]),
        "key": (pa.string(), ["0a", "0a", "0b", "0b"]),
        "instruction": (pa.string(), ["make it red", "把它变红", "add a dog", "add a dog"]),
        "instruction_language": (pa.string(), ["en", "zh", "en", "en"]),
        "input_image": embedded([picture_file(seed) for seed in (1, 1, 2, 2)]),
        "input_image_raw": embedded([picture_file(seed) for seed in (1, 1, 2, 2)]),
        "Intersection_exist": (pa.bool_(), [True, True, False, False]),
    }
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    table = pa.table({name: list(values) for name, (_, values) in columns.items()}, schema=schema)
    folder.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(folder / "data-00000-of-00004.arrow", schema) as stream:
        stream.write_table(table)
    return folder


WRITERS: dict[str, Callable[[Path], Path]] = {
    "emu-edit": emu_edit,
    "pie-bench": pie_bench,
    "magicbrush": magicbrush,
    "imgedit": imgedit,
    "gedit": gedit,
}

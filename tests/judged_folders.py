"""Folders of results for tests of judges and of what reads their numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from varedit.evaluation.run_folder import RunItem


def results_folder(folder: Path, categories: Sequence[str], size: tuple[int, int] = (8, 6)) -> Path:
    """A run with an item for each category, ids "0", "1", ..., every picture (width, height) of another colour."""
    for name in ("pictures", "results"):
        (folder / name).mkdir(parents=True)
    items = []
    for index, category in enumerate(categories):
        Image.new("RGB", size, (index, 0, 0)).save(folder / "pictures" / f"{index}.png")
        Image.new("RGB", size, (index, 200, 0)).save(folder / "results" / f"{index}.png")
        item = RunItem(id=str(index), category=category, instruction=f"do {index}", source=f"pictures/{index}.png")
        items.append(item.to_json())
    (folder / "items.jsonl").write_text("\n".join(items) + "\n")
    (folder / "benchmark.json").write_text(json.dumps({"benchmark": "toy"}))
    return folder


def coloured(colour: tuple[int, int, int], size: tuple[int, int] = (8, 6)) -> np.ndarray:
    """A picture (H, W, 3) of one colour, of (width, height)."""
    return np.full((size[1], size[0], 3), colour, dtype=np.uint8)

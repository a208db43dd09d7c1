"""Our own scenes as a benchmark: any number of editing examples with true results, made of a folder of material.

`varedit eval scenes` measures a model on the same scenes by whether it hits the target; as a benchmark, they are open
to every editor and every metric. The split "generalisation" has things, places and wordings that training leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, cast

import numpy as np

from varedit.data.scenes import held_out_scenes
from varedit.evaluation.benchmarks.items import Benchmark, Item
from varedit.output import encode_image

SIDE = 512  # pixels
COUNT = 600  # scenes of a split


def read(folder: Path, split: str) -> Iterator[Item]:
    """Scenes 0 to 599 of a held-out split; the folder is that of `varedit data fetch`."""
    source = held_out_scenes(folder, cast(Literal["validation", "test", "generalisation"], split), (SIDE, SIDE))
    for index in range(COUNT):
        scene = source.scene(index)
        yield Item(
            id=f"{split}-{index:05d}",
            category=f"{scene.family}: {scene.category}",
            instruction=scene.instruction,
            source=_png(scene.source),
            target=_png(scene.target),
            mask=_png(np.repeat(scene.mask[..., None], 3, axis=2)),
            meta={"photograph": scene.photograph},
        )


def _png(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    return encode_image(pixels, "PNG", provenance=None)


SCENES = Benchmark("scenes", {"test": COUNT, "validation": COUNT, "generalisation": COUNT}, read)

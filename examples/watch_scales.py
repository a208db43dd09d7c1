"""Watch an edit come, scale by scale: a picture after each, as a page would show it.

python examples/watch_scales.py photo.jpg "make it a lot cooler" folder
"""

from __future__ import annotations

import sys
from pathlib import Path

from varedit import VAREditPipeline


def main(photograph: str, instruction: str, folder: str) -> None:
    pipeline = VAREditPipeline.from_pretrained()
    Path(folder).mkdir(parents=True, exist_ok=True)
    for event in pipeline.stream(photograph, instruction, seed=7):
        # The preview is what the model draws; the finished edit has the photograph's own detail again.
        picture = event.preview() if event.output is None else event.output.images[0]
        picture.save(Path(folder) / f"scale-{event.index + 1}-of-{event.total}.png")
        print(f"scale {event.index + 1} of {event.total}: {event.grid[0]} x {event.grid[1]} tokens")


if __name__ == "__main__":
    main(*sys.argv[1:])

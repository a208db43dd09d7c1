"""Several instructions for one photograph in one batch, with a seed each.

python examples/edit_batch.py photo.jpg folder
"""

from __future__ import annotations

import sys
from pathlib import Path

from varedit import VAREditPipeline

INSTRUCTIONS = ["make it a lot warmer", "give it a sepia tone", "invert the colours"]


def main(photograph: str, folder: str) -> None:
    pipeline = VAREditPipeline.from_pretrained()
    output = pipeline(photograph, INSTRUCTIONS, seed=[1, 2, 3])
    Path(folder).mkdir(parents=True, exist_ok=True)
    for image, instruction in zip(output.images, INSTRUCTIONS, strict=True):
        path = Path(folder) / f"{instruction.replace(' ', '-')}.png"
        image.save(path)
        print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])

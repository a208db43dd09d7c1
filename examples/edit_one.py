"""Edit one photograph, and look at what the edit says of itself.

python examples/edit_one.py photo.jpg "make it black and white" result.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from varedit import VAREditPipeline
from varedit.output import save_image


def main(photograph: str, instruction: str, result: str) -> None:
    pipeline = VAREditPipeline.from_pretrained()
    output = pipeline(photograph, instruction, seed=7)
    # `output.images[0].save(result)` would do; this also records how the picture was made, for `varedit replay`.
    save_image(np.asarray(output.images[0]), Path(result), provenance=output.settings[0], force=True)
    changed = np.asarray(output.change_maps[0]) > 0
    print(f"{result}: seed {output.seeds[0]}, {changed.mean():.0%} of the pixels changed")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""How long an edit with the embedded model takes by the size of the photograph, which is restored at its own pixels.

The bundled photograph, enlarged; from its file to the finished pixels, the model being loaded. After one edit that is
not counted, the median of some.

    python benchmarks/photograph_size.py -o benchmarks/results/photograph-size-cpu.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from PIL import Image
from recipe import load_average, recipe, spread, tell

from varedit.freed_memory import keep_freed_memory
from varedit.output import write_whole
from varedit.pipeline import VAREditPipeline

PHOTOGRAPH = Path(__file__).resolve().parents[1] / "examples" / "coffee.jpg"
WIDTHS = (600, 2000, 4000, 6000)  # pixels
INSTRUCTIONS = ("make it black and white", "make it slightly warmer", "remove the cup")


def main() -> None:
    arguments = _arguments()
    keep_freed_memory()  # as the commands do
    pipeline = VAREditPipeline.from_pretrained("mini", device="cpu")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for width in WIDTHS:
            path = Path(folder) / f"{width}.jpg"
            with Image.open(PHOTOGRAPH) as photograph:
                height = round(width * photograph.height / photograph.width)
                photograph.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=92)
            for instruction in INSTRUCTIONS:
                seconds = [_seconds(pipeline, path, instruction) for _ in range(arguments.repeats + 1)][1:]
                rows.append({"size": [width, height], "instruction": instruction, **spread(seconds)})
                tell(f"{width}x{height}, {instruction}: {rows[-1]['median']} s")
    report = recipe("torch", "numpy", "pillow") | {"load": load_average(), "photograph": PHOTOGRAPH.name, "rows": rows}
    write_whole(arguments.output, json.dumps(report, indent=1).encode() + b"\n")


def _seconds(pipeline: VAREditPipeline, path: Path, instruction: str) -> float:
    start = time.perf_counter()
    pipeline(path, instruction, seed=1)
    return time.perf_counter() - start


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()

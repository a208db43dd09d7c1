"""How good the embedded model is at photo adjustments of photographs that it has never seen.

For each test photograph and each adjustment: the edit is right when the result is nearer, in L1, to the true target
than to the source and to the target of every other adjustment that the model was trained for (other kinds and other
strengths), all through the same decoder for the raw result, and at the photograph's own resolution for the restored
one. "Do nothing" and "the target through the autoencoder" stand beside it as floor and ceiling.

    python benchmarks/embedded.py --photographs material/photographs -o benchmarks/results/embedded-cpu.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from varedit import VAREditPipeline
from varedit.data.adjustments import ALL_ADJUSTMENTS, TINT_COLOURS, Adjustment
from varedit.data.crops import photograph_files, read_photograph
from varedit.data.phrases import phrasings
from varedit.data.splits import split_of
from varedit.results import EditOutput

SEED = 20261124
SHORT_SIDE = 256  # pixels, of the photographs as they are edited here
GREY = np.array([0.299, 0.587, 0.114])
NOT_TRAINED = ("fade", "vignette", "blur", "pixelate", "mirror", *TINT_COLOURS)
TRAINED = [adjustment for adjustment in ALL_ADJUSTMENTS if adjustment.kind not in NOT_TRAINED]


def main() -> None:
    arguments = _arguments()
    pipeline = VAREditPipeline.from_pretrained(arguments.model)
    files = [file for file in photograph_files(arguments.photographs) if split_of(file.stem) == arguments.split]
    photographs = [np.asarray(read_photograph(file, SHORT_SIDE)) for file in files[: arguments.count]]
    random = np.random.default_rng(SEED)
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number, photograph in enumerate(photographs):
        instructions = [random.choice(phrasings(item, arguments.phrasing)) for item in TRAINED]
        for restored in (True, False):
            output = pipeline(
                Image.fromarray(photograph),
                instructions,
                seed=SEED,
                restore=restored,
                guidance_scale=arguments.guidance,
                temperature=arguments.temperature,
            )
            assert isinstance(output, EditOutput)
            results = [np.asarray(image) for image in output.images]
            for adjustment, result in zip(TRAINED, results, strict=True):
                _score(scores[_name(adjustment)], photograph, result, adjustment, "restored" if restored else "raw")
        print(f"{number + 1}/{len(photographs)} {files[number].stem}", flush=True)
    table = {
        name: {key: round(float(np.mean(values)), 4) for key, values in row.items()} for name, row in scores.items()
    }
    report = _recipe(arguments, len(photographs)) | {"mean": _mean(table), "by_adjustment": table}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report["mean"], indent=1))


def _score(
    row: dict[str, list[float]], source: NDArray[np.uint8], result: NDArray[np.uint8], adjustment: Adjustment, kind: str
) -> None:
    wrong = [other.apply_to_bytes(source) for other in TRAINED if other != adjustment]
    target = adjustment.apply_to_bytes(source)
    compared = _blurred if kind == "raw" else np.asarray
    distance = [_l1(compared(result), compared(picture)) for picture in (target, source, *wrong)]
    row[f"{kind}_success"].append(float(np.argmin(distance) == 0))
    row[f"{kind}_nearer_than_source"].append(float(distance[0] < distance[1]))
    row[f"{kind}_psnr"].append(_psnr(result, target))
    if kind == "restored":
        row["gradient_energy"].append(_gradient_energy(result) / max(_gradient_energy(target), 1e-9))
        row["do_nothing_psnr"].append(_psnr(source, target))


def _blurred(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """At the model's own detail: a raw result holds no more, and is compared in what it can hold."""
    image = Image.fromarray(picture)
    small = image.resize((64, 64), Image.Resampling.BOX)
    return np.asarray(small).astype(np.float64)


def _l1(first: NDArray[Any], second: NDArray[Any]) -> float:
    return float(np.abs(first.astype(np.float64) - second.astype(np.float64)).mean())


def _psnr(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    error = np.square(first.astype(np.float64) - second).mean()
    return float(10 * np.log10(255**2 / max(error, 0.065)))  # identical pictures count as 60 dB


def _gradient_energy(picture: NDArray[np.uint8]) -> float:
    grey = picture @ GREY
    return float(np.square(np.diff(grey, axis=0)).mean() + np.square(np.diff(grey, axis=1)).mean())


def _name(adjustment: Adjustment) -> str:
    return f"{adjustment.kind}, {adjustment.strength}"


def _mean(table: dict[str, dict[str, float]]) -> dict[str, float]:
    keys = next(iter(table.values()))
    return {key: round(float(np.mean([row[key] for row in table.values()])), 4) for key in keys}


def _recipe(arguments: argparse.Namespace, photographs: int) -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    return {
        "command": f"python benchmarks/embedded.py --split {arguments.split} --phrasing {arguments.phrasing}",
        "date": datetime.date.today().isoformat(),
        "commit": commit.strip(),
        "device": f"CPU, {torch.get_num_threads()} threads, {platform.machine()}",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "photographs": photographs,
        "edits": photographs * len(TRAINED),
        "guidance": arguments.guidance,
        "temperature": arguments.temperature,
        "seed": SEED,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, default=Path("material/photographs"))
    parser.add_argument("--model", default=None)
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--phrasing", choices=["train", "held_out"], default="train")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--guidance", type=float, default=None)
    parser.add_argument("--temperature", type=float, default=None)
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()

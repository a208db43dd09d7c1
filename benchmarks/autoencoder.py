"""How good an autoencoder is on pictures that it has never seen, and how well it uses its bits at each scale.

Two kinds of pictures at the model's own size, each reported alone: sources and targets of held-out scenes, and whole
held-out photographs, cropped to the template's aspect ratio. PSNR and SSIM are means over pictures beside their 5th
percentiles (and PSNR once more as that of the mean squared error, which the log of a training has), L1 is of values in
[0, 1].

    python benchmarks/autoencoder.py mini --material material -o benchmarks/results/mini-autoencoder.json
    python benchmarks/autoencoder.py runs/autoencoder/autoencoder -o autoencoder.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from torch import Tensor

from varedit import __version__
from varedit.autoencoder import Autoencoder
from varedit.checkpoints import load_config, load_weights
from varedit.config import EditorConfig
from varedit.content_hash import folder_hash
from varedit.data.crops import photograph_files
from varedit.data.scenes import held_out_scenes
from varedit.data.splits import split_of
from varedit.editor import latent_quantizer
from varedit.evaluation.facts import device_words
from varedit.evaluation.files import make_report_folder, write_report
from varedit.hub import find_model
from varedit.training.batches import PairSource
from varedit.training.recipe import Recipe
from varedit.training.reconstruction import Reconstructions

BATCH = 32  # pictures at a time
OF_SPLIT = {"validation": "validation", "test": "test", "generalisation": "test"}  # photographs under the scenes


def main() -> None:
    arguments = _arguments()
    make_report_folder(arguments.output.parent)
    config, folder = _configuration(arguments.model)
    autoencoder = Autoencoder(config.autoencoder).eval()
    load_weights(autoencoder, folder)
    autoencoder.to(arguments.device)
    size_hw = config.picture_size(config.templates.square.schedule)
    kinds = {
        "scenes": _scene_pictures(held_out_scenes(arguments.material, arguments.split, size_hw), arguments, size_hw),
        "photographs": _photographs(arguments, size_hw),
    }
    measured = {kind: _measured(autoencoder, config, pictures) for kind, pictures in kinds.items()}
    report = _facts(arguments, config, folder) | {"height": size_hw[0], "width": size_hw[1]} | measured
    write_report(arguments.output, json.dumps(report, indent=1) + "\n")
    Console().print(_quality(measured), _bit_usage(measured))


def _configuration(model: str) -> tuple[EditorConfig, Path]:
    """The configuration and the autoencoder's folder: of a model, or of a training run (RUN/autoencoder)."""
    folder = find_model(model).folder
    if (folder / "config.json").is_file():
        return load_config(folder), folder / "autoencoder"
    return Recipe.read(folder.parent / "recipe.toml").editor, folder


def _scene_pictures(
    scenes: PairSource, arguments: argparse.Namespace, size_hw: tuple[int, int]
) -> Iterator[Sequence[np.ndarray]]:
    """Sources and targets of the first ``count`` scenes, in batches (B, H, W, 3) uint8."""
    for start in range(0, arguments.count, BATCH // 2):
        sources, _, targets, _ = scenes.batch(range(start, min(start + BATCH // 2, arguments.count)), size_hw)
        yield [*sources, *targets]


def _photographs(arguments: argparse.Namespace, size_hw: tuple[int, int]) -> Iterator[Sequence[np.ndarray]]:
    """Every photograph of the split, the largest part in the middle that has the template's aspect ratio."""
    height, width = size_hw
    files = photograph_files(arguments.material / "photographs")
    files = [file for file in files if split_of(file.stem) == OF_SPLIT[arguments.split]]
    for start in range(0, len(files), BATCH):
        pictures = [Image.open(file).convert("RGB") for file in files[start : start + BATCH]]
        yield [np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)) for picture in pictures]


@torch.no_grad()
def _measured(
    autoencoder: Autoencoder, config: EditorConfig, batches: Iterator[Sequence[np.ndarray]]
) -> dict[str, Any]:
    device = next(autoencoder.parameters()).device
    quantizer = latent_quantizer(config, config.templates.square)
    scores = Reconstructions()
    for pictures in batches:
        scores.add(autoencoder, quantizer, _pixels(pictures).to(device))
    report = scores.report()
    for grid, usage in zip(quantizer.grids, report["scales"], strict=True):
        usage["grid"] = list(grid)
    return report


def _pixels(pictures: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _facts(arguments: argparse.Namespace, config: EditorConfig, folder: Path) -> dict[str, Any]:
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout
    options = f"--split {arguments.split} --count {arguments.count} --device {arguments.device}"
    return {
        "command": f"python benchmarks/autoencoder.py {arguments.model} {options}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit.strip(),
        "device": device_words(torch.device(arguments.device)),
        "precision": "float32",
        "versions": {
            "varedit": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "model": {"name": config.name, "autoencoder_sha256": folder_hash(folder)},
        "split": arguments.split,
        "batch": BATCH,
    }


def _quality(measured: dict[str, dict[str, Any]]) -> Table:
    table = Table("", "pictures", "PSNR", "5 %", "SSIM", "5 %", "L1")
    for kind, row in measured.items():
        columns = ("pictures", "psnr", "psnr_5th_percentile", "ssim", "ssim_5th_percentile", "l1")
        table.add_row(kind, *(str(row[key]) for key in columns))
    return table


def _bit_usage(measured: dict[str, dict[str, Any]]) -> Table:
    table = Table("pictures", "grid", "ones", "entropy of a bit", "constant channels")
    for kind, row in measured.items():
        for usage in row["scales"]:
            values = (usage["ones"], usage["entropy"], usage["constant_channels"])
            table.add_row(kind, "{} x {}".format(*usage["grid"]), *map(str, values))
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model (mini, a folder, a name on the hub), or the autoencoder folder of a run")
    parser.add_argument("--material", type=Path, default=Path("material"))
    parser.add_argument("--split", choices=list(OF_SPLIT), default="test")
    parser.add_argument("--count", type=int, default=600, help="scenes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()

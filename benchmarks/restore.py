"""Full-resolution results against the true edit: PSNR, detail and time, for a perfect and for a noisy editor.

The editor is simulated: the photograph and the true edit both go through a lossy codec at the model's resolution (JPEG,
quality 30, resized to a square), and the restored picture is compared with the true edit at full resolution. With
--noise the decoded result also carries errors that reach over two or three pixels, as a weak editor's do.

    python benchmarks/restore.py --photographs FOLDER

reproduces the table of the spec "Restoring the photograph's own resolution" and writes results/restore-cpu.json.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from varedit.data.colours import colour_shares, drained, recoloured
from varedit.full_size import Upsample
from varedit.restore import Restored, restore
from varedit.windows import Array

RESULTS = Path(__file__).parent / "results" / "restore-cpu.json"
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], np.float32)
Picture = NDArray[np.uint8]  # (H, W, 3)
Pixels = NDArray[np.floating]
Edit = Callable[[Pixels], Pixels]  # on (H, W, 3) in [0, 1]


def grey(x: Pixels) -> Pixels:
    return np.repeat((x @ LUMA)[..., None], 3, axis=2)


def linear_gain(gain: float) -> Edit:
    """Exposure in linear light, by sRGB's curve."""

    def edit(x: Pixels) -> Pixels:
        light = gain * np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
        return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)

    return edit


def inside(x: Pixels) -> NDArray[np.bool_]:
    """(H, W, 1): an ellipse in the middle, the place of local edits."""
    rows, columns = np.linspace(-1, 1, x.shape[0])[:, None], np.linspace(-1, 1, x.shape[1])
    return (np.hypot(rows / 0.4, columns / 0.35) < 1)[..., None]


def vignette(x: Pixels) -> Pixels:
    rows, columns = np.linspace(-1, 1, x.shape[0])[:, None, None], np.linspace(-1, 1, x.shape[1])[:, None]
    return x * (1 - 0.3 * (rows**2 + columns**2))


EDITS: dict[str, Edit] = {
    "black and white": grey,
    "sepia": lambda x: x @ SEPIA.T,
    "negative": lambda x: 1 - x,
    "warmer": lambda x: x * np.array([1.12, 1.02, 0.85], np.float32),
    "brighter (clips)": lambda x: x * 1.4,
    "one stop up": linear_gain(2),
    "one stop down": linear_gain(0.5),
    "contrast (clips)": lambda x: (x - 0.5) * 1.6 + 0.5,
    "more colour": lambda x: grey(x) + (x - grey(x)) * 1.6,
    "gamma 0.6": lambda x: x**0.6,
    "vignette": vignette,
    "recoloured ellipse": lambda x: np.where(inside(x), x[..., [2, 0, 1]] * 0.8 + 0.1, x),
    "added ellipse": lambda x: np.where(inside(x), np.array([0.9, 0.15, 0.1], np.float32), x),
    "mirrored": lambda x: x[:, ::-1],
    "orange to blue": lambda x: recoloured(np.asarray(x, np.float32), colour_shares(x)["orange"], "blue"),
    "grey but orange": lambda x: drained(np.asarray(x, np.float32), 1 - colour_shares(x)["orange"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="a folder of JPEG and PNG photographs")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128], help="model resolutions in pixels")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.06], help="standard deviations on [-1, 1]")
    parser.add_argument("--edits", nargs="+", choices=EDITS, default=list(EDITS))
    parser.add_argument("--repeats", type=int, default=5, help="of the timed run, on the largest photograph")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = sorted(path for path in arguments.photographs.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found:
        parser.error(f"{arguments.photographs} holds no JPEG and no PNG")
    photographs = {path.name: np.asarray(Image.open(path).convert("RGB")) for path in found}
    check_identity(photographs)
    print(f"{'':34}| {'photograph':34} | PSNR upsampled, difference, restored | gradients upsampled, restored | kept")
    rows = [
        measured(name, photograph, edit, size, noise)
        for size in arguments.sizes
        for noise in arguments.noise
        for edit in arguments.edits
        for name, photograph in photographs.items()
    ]
    arguments.output.parent.mkdir(exist_ok=True)
    report = recipe(photographs, arguments.photographs) | {
        "timing": timed(photographs, arguments.repeats),
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")


def check_identity(photographs: dict[str, Picture]) -> None:
    """Equal bits give the photograph back, before anything is measured."""
    for photograph in photographs.values():
        source = decoded(photograph, 64)
        restored = restore(photograph, source, source.copy(), upsample=bilinear_to(photograph))
        assert np.array_equal(restored.rgb, photograph)


def measured(name: str, photograph: Picture, edit: str, size: int, noise: float) -> dict[str, Any]:
    """One row of the table; also printed."""
    true = levels(np.asarray(EDITS[edit](photograph / np.float32(255)), np.float32))
    restored, source, result = simulated(photograph, true, size, noise)
    upsample = bilinear_to(photograph)
    upsampled = levels(upsample(result).transpose(1, 2, 0) / 2 + 0.5)
    difference = levels(photograph / np.float32(255) + upsample(result - source).transpose(1, 2, 0) / 2)
    detail = gradient_energy(true)
    row = {
        "edit": edit,
        "size": size,
        "noise": noise,
        "photograph": name,
        "psnr_upsampled": round(psnr(upsampled, true), 2),
        "psnr_added_difference": round(psnr(difference, true), 2),
        "psnr_restored": round(psnr(restored.rgb, true), 2),
        "gradient_energy_upsampled": round(gradient_energy(upsampled) / detail, 4),
        "gradient_energy_restored": round(gradient_energy(restored.rgb) / detail, 4),
        "pixels_kept": round(float((restored.change == 0).mean()), 4),
    }
    values = " ".join(f"{row[key]:>8}" for key in list(row)[4:])
    print(f"{edit:20} {size:4} px {noise:4} | {name:34.34} | {values}", flush=True)
    return row


def simulated(photograph: Picture, true: Picture, size: int, noise: float) -> tuple[Restored, Array, Array]:
    source, result = decoded(photograph, size), decoded(true, size)
    if noise:
        draws = np.random.default_rng(1).standard_normal(result.shape)
        smooth = draws + sum(np.roll(draws, shift, axis) for shift in (-1, 1) for axis in (1, 2)) / 2
        result = np.clip(result + noise / smooth.std() * smooth, -1, 1).astype(np.float32)
    return restore(photograph, source, result, upsample=bilinear_to(photograph)), source, result


def timed(photographs: dict[str, Picture], repeats: int) -> dict[str, Any]:
    """Black and white on the largest photograph, after one warm-up, on one thread."""
    name, photograph = max(photographs.items(), key=lambda item: item[1].size)
    source, result = decoded(photograph, 64), decoded(levels(grey(photograph / np.float32(255))), 64)
    wall, processor = [], []
    for _ in range(repeats + 1):
        start = time.perf_counter(), time.process_time()
        restore(photograph, source, result, upsample=bilinear_to(photograph))
        wall.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    summary: dict[str, Any] = {"photograph": name, "megapixels": photograph.size / 3e6, "model_size": 64, "threads": 1}
    for label, seconds in (("wall_s", wall[1:]), ("processor_s", processor[1:])):
        summary[label] = {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
    print(json.dumps(summary))
    return summary


def recipe(photographs: dict[str, Picture], folder: Path) -> dict[str, Any]:
    """What a number must carry to be one; of the folder only its name, for the rest of its path is one machine's."""
    options = [folder.name if word == str(folder) else word for word in sys.argv[1:]]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "command": "python benchmarks/restore.py " + " ".join(options),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit or None,
        "device": f"CPU, {platform.machine()}, one thread",
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__},
        "precision": "float32",
        "photographs": {name: f"{x.shape[1]}x{x.shape[0]}" for name, x in photographs.items()},
        "codec": "JPEG quality 30 at size x size pixels, Lanczos there, bilinear back",
    }


def decoded(picture: Picture, size: int) -> Array:
    """(3, size, size) in [-1, 1]: what a lossy autoencoder leaves of a picture."""
    buffer = io.BytesIO()
    Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=30)
    pixels = np.asarray(Image.open(buffer), dtype=np.float32).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels / np.float32(127.5) - 1)


def bilinear_to(photograph: Picture) -> Upsample:
    def upsample(maps: Array, rows: slice = slice(None)) -> Array:
        planes = torch.from_numpy(np.ascontiguousarray(maps))[None]
        upsampled: Array = torch.nn.functional.interpolate(planes, photograph.shape[:2], mode="bilinear")[0].numpy()
        return upsampled[:, rows]

    return upsample


def levels(picture: Pixels) -> Picture:
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def psnr(left: Picture, right: Picture) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((left.astype(np.float32) - right) ** 2))))


def gradient_energy(picture: Picture) -> float:
    luma = picture.astype(np.float32) @ LUMA
    return float(np.mean(np.diff(luma, axis=0) ** 2) + np.mean(np.diff(luma, axis=1) ** 2))


if __name__ == "__main__":
    main()

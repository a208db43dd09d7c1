"""Writes the model card of the embedded model from benchmarks/results/embedded*.json. Run from the repository's root.

python benchmarks/write_model_card.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path("benchmarks/results")
CARD = Path("src/varedit/weights/mini/README.md")
WORDS = {"slight": "slightly", "plain": "plain", "strong": "a lot"}

HEAD = """---
library_name: varedit
pipeline_tag: image-to-image
license: mit
language: en
tags: [image-editing, visual-autoregressive, photo-adjustment]
---

# mini: the embedded model

A small VAREdit editor (arXiv 2508.15772) that ships inside the package: pictures of 64 x 64 pixels (or eight other
shapes of about as many), six scales, 32 bits a token, scale-aligned reference, and the copy path of small models
(`source_residual`). Transformer 2.6 million weights, autoencoder 2.6, text encoder 0.3; 11 MB as float16. It is made to
be used with restoring on, which carries its change to the photograph's own pixels.

## What it can do
Adjust whole photographs: black and white, sepia, negative, brighter, darker, more and less contrast, more and less
saturation, warmer, cooler, the last eight kinds also "slightly" and "a lot". It knows about a hundred English words and
says which words of an instruction it does not know.

## What it cannot do
Anything else: it adds, removes, recolours and moves nothing, knows no places ("the left half") and no pairs of
adjustments in one sentence. Its own output without restoring is a soft picture of 64 pixels. Black and white can keep a
faint tint, and "a lot more contrast" is the weakest kind.
"""

TAIL = """

## How it was made
`configs/mini.toml` and the commands of docs/training.md, on a CPU with two cores: the autoencoder saw 128,000 pictures
({autoencoder}), the editor 104,000 pairs in 74 minutes on one core
(benchmarks/results/mini-*-training.jsonl). Guidance {guidance} and temperature {temperature}
were chosen on validation photographs. Random numbers follow from the seed in the recipe.

## Training material
222 photographs for training, 16 for validation and 36 for testing, split by name, from these packages; each picture's
own licence stands in the LICENCES.md that `varedit data fetch` writes beside them. None of them is shipped here.

| package | version | licences of the pictures used |
| --- | --- | --- |
| gcompris-qt-data | 3.1-2 | GPL-3, GPL-3+, CC-BY, CC-BY-SA, CC0, GFDL, public domain |
| lomiri-wallpapers-16.04, -20.04 | 20.04.0-2 | CC-BY-4.0, CC-BY-SA, CC0 |
| lxqt-themes | 1.2.0-1 | CC-BY-SA-3.0 |
| mate-backgrounds | 1.26.0-1 | GPL-2+ |
| palapeli-data | 4:22.12.3-1 | GPL-2+ |
| plasma-workspace-wallpapers | 4:5.27.5-2 | LGPL-3 by the pictures' metadata, GPL-2+ by the package |
| libjxl-testdata | 0.0~git20230110 | CC0, BSD-3-Clause |
| scikit-image (wheel) | 0.26.0 | CC0, public domain (test only) |
| scikit-learn (wheel) | 1.9.1 | CC-BY-2.0 |

`varedit data fetch --permissive` fetches the CC0, public-domain and CC-BY pictures only, for those who want to train on
a stricter choice.
"""


def main() -> None:
    trained, held_out = (_read(name) for name in ("embedded-cpu", "embedded-held-out-wordings-cpu"))
    config = json.loads((CARD.parent / "config.json").read_text(encoding="utf-8"))["generation"]
    lines = [HEAD, "## How good it is", *_measured(trained, held_out)]
    tail = TAIL.format(
        autoencoder=f"{_autoencoder_psnr():.1f} dB on validation photographs",
        guidance=config["guidance_scale"],
        temperature=config["temperature"],
    )
    CARD.write_text("\n".join(lines) + tail, encoding="utf-8")


def _measured(trained: dict[str, Any], held_out: dict[str, Any]) -> list[str]:
    mean, other = trained["mean"], held_out["mean"]
    lines = [
        f"{trained['edits']} edits of {trained['photographs']} photographs that it has never seen "
        f"(`{trained['command']}`, {trained['device']}, {trained['date']}). **Success**: the result is nearer, in L1, "
        "to the true target than to the photograph itself and to the target of each of the 26 other adjustments, other "
        "strengths included. PSNR in dB is against the true target. The photographs have 256 pixels on the short side.",
        "",
        "| adjustment | success, restored | success, raw | PSNR, restored | PSNR, doing nothing |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in trained["by_adjustment"].items():
        kind, strength = name.split(", ")
        lines.append(f"| {kind.replace('_', ' ')}, {WORDS[strength]} | {_cells(row)} |")
    lines += [
        f"| **all** | {_cells(mean)} |",
        f"| **all, in wordings that training never used** | {_cells(other)} |",
    ]
    return lines


def _cells(row: dict[str, float]) -> str:
    shares = (row["restored_success"], row["raw_success"])
    decibels = (row["restored_psnr"], row["do_nothing_psnr"])
    return " | ".join([*(f"{share:.2f}" for share in shares), *(f"{value:.1f}" for value in decibels)])


def _autoencoder_psnr() -> float:
    curve = (RESULTS / "mini-autoencoder-training.jsonl").read_text(encoding="utf-8").splitlines()
    return float(json.loads(curve[-1])["validation_psnr"])


def _read(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return read


if __name__ == "__main__":
    main()

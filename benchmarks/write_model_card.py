"""Writes the model card of the embedded model from its measured results. Run from the repository's root.

    python benchmarks/write_model_card.py

Reads benchmarks/results/scenes-mini-{test,generalisation}-cpu.json, mini-{autoencoder,whole-picture}.json, the two
mini-*-training.jsonl, the weights' config.json, the recipe and, for the licences, the manifest of the material.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

RESULTS = Path("benchmarks/results")
RECIPE = Path("configs/mini.toml")
CARD = Path("src/varedit/weights/mini/README.md")
SUPPORTED = 0.5  # success below which a kind of edit is listed as not supported
FAMILIES = {
    "adjustment": "photo adjustments",
    "colour": "colours by name",
    "object": "objects",
}

HEAD = """---
library_name: varedit
pipeline_tag: image-to-image
license: mit
language: en
tags: [image-editing, visual-autoregressive]
---

# mini: the embedded model

A small VAREdit editor (arXiv 2508.15772) that ships inside the package: pictures of 64 x 64 pixels (or eight other
shapes of about as many), {num_scales} scales of which the last four share one grid with halved steps, {bits} bits a
token, {reference} reference, and the copy path of small models (`source_residual`). {weights} million weights,
{megabytes:.0f} MB as float16. It is made to be used with restoring on, which carries its change to the photograph's own
pixels.

It knows some three hundred English words and says which words of an instruction it does not know.
"""

TAIL = """
## How it was made
`configs/mini.toml` and the commands of docs/training.md; training/README.md tells which part of it ran where. The
autoencoder has {scene_psnr:.1f} dB on pictures of test scenes and {photograph_psnr:.1f} dB on test photographs at its
own size (`{autoencoder_command}`). The editor saw {pairs:,} pairs, {hours:.1f} hours in all: minutes on one GPU, then
hours on a processor (benchmarks/results/mini-*-training.jsonl). Its pixel network, and parts of its collage, which cuts
things out of the source and draws new ones, learned by themselves (training/README.md). Its change detector, which
sees the photograph, reads the instruction and keeps restoring from what the editor redrew without being told to,
learned from {edits:,} other training scenes as this editor, and those before it, edited them. Guidance {guidance},
temperature {temperature}, reuse and the detector's certainty were chosen on validation scenes.

## Training material
{photographs}, split by a hash of their names, and {cutouts} cut-outs of {nouns} objects, from these packages; each
picture's own licence stands in the LICENCES.md that `varedit data fetch` writes beside them. None of them is shipped
here. `--permissive` fetches CC0, public-domain, CC-BY and OFL material only, for those who want to train on a stricter
choice.

| package | version | pictures | licences |
| --- | --- | --- | --- |
{packages}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", type=Path, default=Path("material"))
    material = parser.parse_args().material
    CARD.write_text("\n".join([_head(), *_measured(), _tail(material)]), encoding="utf-8")


def _head() -> str:
    config = _config()
    tensors = sum(file.stat().st_size for file in CARD.parent.rglob("*.safetensors"))
    return HEAD.format(
        num_scales=len(config["schedule"]["templates"]["1.000"]),
        bits=config["transformer"]["token_bits"],
        reference=config["transformer"]["reference"],
        weights=round(tensors / 2e6, 1),
        megabytes=tensors / 1e6,
    )


def _measured() -> list[str]:
    test, other, whole = map(_read, ("scenes-mini-test-cpu", "scenes-mini-generalisation-cpu", "mini-whole-picture"))
    rows = test["results"]["model"]
    kinds = [row for row in rows if row["level"] == "category"]
    weak = [row for row in kinds if row["success"]["share"] < SUPPORTED]
    fine = [row for row in kinds if row not in weak]
    lines = [
        "## What it can do, and what it cannot",
        f"Supported, which means a success of at least {SUPPORTED:g} below: {_listed(fine)}.",
        "",
        f"**Not supported**, though it was trained on them: {_listed(weak)}. Everything else it has never seen.",
        "",
        "## How good it is",
        f"{test['count']} scenes on photographs that it has never seen (`{test['command']}`, {test['device']}, "
        f"{test['date']}). {test['definition']} In the column *new*: scenes whose objects, pairs of shape and colour, "
        f"and wordings training never shows ({other['count']} scenes). *Ceiling*: the true target through the "
        "autoencoder. Doing nothing never succeeds.",
        "",
        "| | scenes | success | 95% interval | before restoring | new | ceiling |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    ceiling = _by_name(test["results"]["target through the autoencoder"])
    new = _by_name(other["results"]["model"])
    for row in rows:
        key = (row["family"], row["name"])
        low, high = row["success"]["interval"]
        title = FAMILIES.get(row["name"], row["name"].replace("_", " "))
        cells = [
            title if row["level"] == "category" else f"**{title}**",
            str(row["scenes"]),
            f"{row['success']['share']:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{row['raw_success']['share']:.2f}",
            f"{new[key]['success']['share']:.2f}" if key in new else "",
            f"{ceiling[key]['success']['share']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    restored = whole["mean"]["restored_success"]
    return [
        *lines,
        "",
        f"Whole pictures at their own size: {whole['edits']} edits of {whole['photographs']} test photographs "
        f"(`{whole['command']}`, {whole['date']}); {restored:.0%} of the restored results are nearer to their true "
        "target than to the photograph and to the target of every other adjustment, other strengths included.",
    ]


def _tail(material: Path) -> str:
    autoencoder = _read("mini-autoencoder")
    generation = _config()["generation"]
    curve = [json.loads(line) for line in (RESULTS / "mini-editor-training.jsonl").read_text("utf-8").splitlines()]
    manifest = json.loads((material / "manifest.json").read_text(encoding="utf-8"))
    cutouts = [entry for entry in manifest if entry["kind"] == "cutout"]
    return TAIL.format(
        scene_psnr=autoencoder["scenes"]["psnr"],
        photograph_psnr=autoencoder["photographs"]["psnr"],
        autoencoder_command=autoencoder["command"],
        edits=tomllib.loads(RECIPE.read_text("utf-8"))["training"]["change_detector"]["edits"],
        pairs=curve[-1]["pairs"],
        hours=curve[-1]["hours"],
        guidance=generation["guidance_scale"],
        temperature=generation["temperature"],
        photographs=_photographs(manifest),
        cutouts=len(cutouts),
        nouns=len({entry["noun"] for entry in cutouts}),
        packages="\n".join(_packages(manifest)),
    )


def _photographs(manifest: list[dict[str, Any]]) -> str:
    splits = [entry["split"] for entry in manifest if entry["kind"] == "photograph"]
    counts = ((splits.count("train"), "training"), (splits.count("validation"), "validation"))
    told = ", ".join(f"{count} photographs for {purpose}" for count, purpose in counts)
    return f"{told} and {splits.count('test')} for testing"


def _packages(manifest: list[dict[str, Any]]) -> list[str]:
    licences: dict[tuple[str, str], set[str]] = defaultdict(set)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for entry in manifest:
        licences[entry["package"], entry["version"]].add(entry["licence"])
        counts[entry["package"], entry["version"]] += 1
    return [f"| {' | '.join((*key, str(counts[key]), ', '.join(sorted(licences[key]))))} |" for key in sorted(licences)]


def _listed(rows: list[dict[str, Any]]) -> str:
    return ", ".join(row["name"].replace("_", " ") for row in rows) or "none"


def _by_name(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["family"], row["name"]): row for row in rows}


def _config() -> dict[str, Any]:
    config: dict[str, Any] = json.loads((CARD.parent / "config.json").read_text(encoding="utf-8"))
    return config


def _read(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return read


if __name__ == "__main__":
    main()

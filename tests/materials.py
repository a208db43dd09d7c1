"""A small folder of material, as `varedit data fetch` would leave it: photographs, textures and cut-outs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from varedit.data.splits import noun_split

# Four nouns of training, two that are held out, as `sha256sum` of "noun:" and the noun decides.
TRAINING_NOUNS = ("apple", "banana", "cat", "umbrella")
HELD_OUT_NOUNS = ("ice cream", "pear")


def write_material(folder: Path) -> Path:
    """Forty photographs of grainy blobs of colour, 48 x 36 pixels, ten textures, six cut-outs. Returns the folder."""
    random = np.random.default_rng(0)
    write_blobs(folder / "photographs", "photo", 40, random)
    write_blobs(folder / "textures", "texture", 10, random)
    write_cutouts(folder, (*TRAINING_NOUNS, *HELD_OUT_NOUNS), random)
    return folder


def write_blobs(folder: Path, name: str, count: int, random: np.random.Generator) -> None:
    """Soft blobs of random colours, with grain that a blur takes away."""
    folder.mkdir(parents=True)
    for number in range(count):
        blobs = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        pixels = np.asarray(blobs.resize((48, 36), Image.Resampling.BICUBIC)) + random.normal(0, 25, (36, 48, 1))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{name}-{number:02}.jpg", quality=95)
    (folder / "notes.txt").write_text("not a picture")


def write_flat(folder: Path, colour: tuple[int, int, int], count: int = 1) -> Path:
    """Photographs of one colour all over, and an empty folder of textures. Returns the folder of the material."""
    (folder / "photographs").mkdir(parents=True)
    (folder / "textures").mkdir()
    for number in range(count):
        Image.new("RGB", (48, 36), colour).save(folder / "photographs" / f"photo-{number:02}.png")
    return folder


def write_cutouts(folder: Path, nouns: tuple[str, ...], random: np.random.Generator) -> None:
    """Discs of two random colours with a soft edge, one for each noun, and the manifest that lists them."""
    (folder / "cutouts").mkdir()
    entries = []
    for noun in nouns:
        y, x = np.mgrid[-1:1:24j, -1:1:30j]
        rgba = np.empty((24, 30, 4), np.uint8)
        rgba[:, :15, :3], rgba[:, 15:, :3] = random.integers(0, 256, (2, 3))
        rgba[..., 3] = np.clip((1 - np.hypot(x, y)) * 8, 0, 1) * 255
        file = f"cutouts/{noun.replace(' ', '_')}--drawn.png"
        Image.fromarray(rgba).save(folder / file)
        entries.append({"file": file, "kind": "cutout", "split": noun_split(noun), "noun": noun})
    (folder / "manifest.json").write_text(json.dumps(entries))

"""Makes the pictures of README.md and docs/ with the embedded model. Run from the repository's root.

python examples/make_pictures.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from varedit import VAREditPipeline
from varedit.cli.compare import side_by_side

EXAMPLES = Path(__file__).parent
PICTURES = EXAMPLES.parent / "docs" / "pictures"
SEED = 1
WIDTH = 1600  # pixels of the widest picture
GAP = 8

GRID = {
    "coffee.jpg": ["make it black and white", "make the red parts green", "keep only the red"],
    "chelsea.jpg": ["make it a lot warmer", "blur the top", "add a vignette"],
    "rocket.jpg": ["invert the colours", "give it a sepia tone", "darken the left half"],
    "blossom.jpg": ["make it slightly darker", "a lot more saturation", "add a red circle in the centre"],
}


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    pipeline = VAREditPipeline.from_pretrained(device="cpu")
    before_and_after(pipeline)
    adjustments(pipeline)
    restoring(pipeline)
    scales(pipeline)


def before_and_after(pipeline: VAREditPipeline) -> None:
    photograph = Image.open(EXAMPLES / "coffee.jpg").convert("RGB")
    edited = edit(pipeline, photograph, "make it black and white").images[0]
    save(Image.fromarray(side_by_side(np.asarray(photograph), np.asarray(edited))), "before-after.jpg")


def adjustments(pipeline: VAREditPipeline) -> None:
    rows = []
    for name, instructions in GRID.items():
        photograph = Image.open(EXAMPLES / name).convert("RGB")
        results = [edit(pipeline, photograph, instruction).images[0] for instruction in instructions]
        titles = ["the photograph", *instructions]
        rows.append(row([captioned(p, t) for p, t in zip([photograph, *results], titles, strict=True)]))
    save(column(rows), "adjustments.jpg")


def restoring(pipeline: VAREditPipeline) -> None:
    photograph = Image.open(EXAMPLES / "coffee.jpg").convert("RGB")
    instruction = "invert the colours"
    mask = Image.new("L", photograph.size)
    ImageDraw.Draw(mask).ellipse((70, 20, 485, 395), fill=255)
    parts = [
        (photograph, "the photograph"),
        (edit(pipeline, photograph, instruction, restore=False).images[0], "what the model draws"),
        (edit(pipeline, photograph, instruction).images[0], "what you get"),
        (edit(pipeline, photograph, instruction, mask=mask).images[0], "with a mask around the cup"),
    ]
    save(row([captioned(picture, title) for picture, title in parts]), "restoring.jpg")


def scales(pipeline: VAREditPipeline) -> None:
    photograph = Image.open(EXAMPLES / "chelsea.jpg").convert("RGB")
    tiles = [captioned(photograph, "the photograph")]
    for event in pipeline.stream(photograph, "make it a lot cooler", seed=SEED):
        if event.index % 2 == 0 or event.output is not None:
            title = f"scale {event.index + 1}: {event.grid[0]} x {event.grid[1]} tokens"
            tiles.append(captioned(event.preview(), title))
        if event.output is not None:
            tiles.append(captioned(event.output.images[0], "what you get"))
    half = (len(tiles) + 1) // 2
    save(column([row(tiles[:half]), row(tiles[half:])]), "scales.jpg")


def edit(pipeline: VAREditPipeline, photograph: Image.Image, instruction: str, **settings: Any) -> Any:
    return pipeline(photograph, instruction, seed=SEED, **settings)


def captioned(picture: Image.Image, title: str) -> Image.Image:
    """A tile of 400 pixels width with its title below."""
    tile = ImageOps.fit(picture, (400, 270), Image.Resampling.LANCZOS)
    out = Image.new("RGB", (400, 300), "white")
    out.paste(tile)
    ImageDraw.Draw(out).text((200, 285), title, fill="black", anchor="mm", font=ImageFont.load_default(18))
    return out


def row(tiles: list[Image.Image]) -> Image.Image:
    return stacked(tiles, axis=1)


def column(rows: list[Image.Image]) -> Image.Image:
    return stacked(rows, axis=0)


def stacked(parts: list[Image.Image], axis: int) -> Image.Image:
    arrays: list[NDArray[np.uint8]] = []
    for part in parts:
        array = np.asarray(part)
        gap_shape = list(array.shape)
        gap_shape[axis] = GAP
        arrays += [array, np.full(gap_shape, 255, np.uint8)]
    return Image.fromarray(np.concatenate(arrays[:-1], axis=axis))


def save(picture: Image.Image, name: str) -> None:
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    picture.save(PICTURES / name, quality=88)
    print(PICTURES / name)


if __name__ == "__main__":
    main()

"""The grid of the README: one good and one failed example a category, on photographs that the model has never seen.

Good and failed are as the evaluation counts the restored result: nearest to the true target or not, and the outside
kept or not. The best by margin is the good one, the median failure the failed one; a category without either leaves
its place empty and says so. Scenes are shown at a size above the model's own, as users see their photographs.

    python benchmarks/example_grid.py --material material -o docs/pictures/mini-grid.jpg
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.progress import Progress

from varedit.data.scenes import Scenes, held_out_scenes
from varedit.evaluation.contestants import MODEL, GenerationChoice, ModelEdits
from varedit.evaluation.scene_run import loaded_model
from varedit.evaluation.scenes import JudgedScene, evaluate_scenes
from varedit.evaluation.success import Score
from varedit.output import save_image

SPLIT: Final = "test"
GAP = 8  # pixels
LINE = 16  # pixels, of a line of text
CAPTION_LINES = 2
HEADINGS = ("source", "result", "target")


def main() -> None:
    arguments = _arguments()
    _, pipeline = loaded_model(arguments.model, "auto")
    source = held_out_scenes(arguments.material, SPLIT, (arguments.size, arguments.size))
    indices = [index for index in range(arguments.count) if source.scene(index).photograph]
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("editing test scenes")
        scenes = evaluate_scenes(
            source,
            {MODEL: ModelEdits(pipeline, GenerationChoice())},
            indices,
            batch_size=16,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    grid = _grid(source, scenes, arguments.size)
    save_image(np.asarray(grid), arguments.output, provenance=None, quality=88, force=True)


def chosen(scenes: Sequence[JudgedScene]) -> tuple[JudgedScene | None, JudgedScene | None]:
    """The best success and the median failure of one category; None where there is none."""
    ranked = sorted(scenes, key=lambda scene: scene.scores[MODEL].restored.margin, reverse=True)
    good = [scene for scene in ranked if is_good(scene.scores[MODEL])]
    failed = [scene for scene in ranked if not is_good(scene.scores[MODEL])]
    return good[0] if good else None, failed[len(failed) // 2] if failed else None


def is_good(score: Score) -> bool:
    """Success of the restored result; the limits before restoring hold at the model's own size, not at this one."""
    return score.restored.is_target and score.is_preserved_restored


def _grid(source: Scenes, scenes: Sequence[JudgedScene], size: int) -> Image.Image:
    """A row a category: the good example at the left, the failed one at the right."""
    categories = sorted({(scene.family, scene.category) for scene in scenes})
    cell_width, cell_height = 3 * size + 4 * GAP, size + CAPTION_LINES * LINE + 2 * GAP
    grid = Image.new(
        "RGB", (2 * cell_width + 3 * GAP, len(categories) * (cell_height + LINE) + 2 * GAP + LINE), "white"
    )
    draw = ImageDraw.Draw(grid)
    for column, heading in enumerate(("good", "failed")):
        draw.text((GAP + column * (cell_width + GAP), GAP), f"{heading}: {', '.join(HEADINGS)}", "black", _font())
    for row, (family, category) in enumerate(categories):
        top = 2 * GAP + LINE + row * (cell_height + LINE)
        draw.text((GAP, top), f"{family}: {category}".replace("_", " "), "black", _font())
        members = [scene for scene in scenes if (scene.family, scene.category) == (family, category)]
        for column, scene in enumerate(chosen(members)):
            place = (GAP + column * (cell_width + GAP), top + LINE)
            if scene is None:
                draw.text(place, f"none of {len(members)}", "grey", _font())
            else:
                _paste(grid, source, scene, place, size)
    return grid


def _paste(grid: Image.Image, source: Scenes, scene: JudgedScene, place: tuple[int, int], size: int) -> None:
    """Source, result and target side by side, the instruction and what failed below."""
    truth = source.scene(scene.index)
    with Image.open(io.BytesIO(scene.restored_jpeg)) as result:
        pictures = [Image.fromarray(truth.source), result.copy(), Image.fromarray(truth.target)]
    for number, picture in enumerate(pictures):
        grid.paste(picture, (place[0] + number * (size + GAP), place[1]))
    score = scene.scores[MODEL]
    reason = "" if is_good(score) else _reason(score)
    draw = ImageDraw.Draw(grid)
    letters = int((3 * size + 2 * GAP) / draw.textlength("n", _font()))
    lines = [*wrap(scene.instruction, letters)[:1], *wrap(reason, letters)[:1]]
    for number, line in enumerate(lines):
        colour = "black" if number == 0 else "firebrick"
        draw.text((place[0], place[1] + size + 2 + number * LINE), line, colour, _font())


def _reason(score: Score) -> str:
    if score.restored.is_target:
        return score.failures()[-1]  # the limit after restoring stands last
    return "nearer to the source" if score.restored.rival == "the source" else "nearer to a wrong result"


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(12)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--material", type=Path, default=Path("material"))
    parser.add_argument("--count", type=int, default=300, help="scenes to choose from")
    parser.add_argument("--size", type=int, default=128, help="pixels of a picture's side")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/pictures/mini-grid.jpg"))
    return parser.parse_args()


if __name__ == "__main__":
    main()

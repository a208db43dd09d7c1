"""One self-contained page of pictures: what the model made of the scenes, by category, with the verdict on each."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from PIL import Image

from varedit.evaluation.contestants import CEILING, FLOOR, MODEL
from varedit.evaluation.page_parts import facts_list, figure, page, table, words
from varedit.evaluation.page_parts import row as table_row
from varedit.evaluation.scene_report import DEFINITION
from varedit.evaluation.scenes import JudgedScene, SceneSource, jpeg
from varedit.evaluation.success import Bytes
from varedit.evaluation.summary import Summary, summaries

SHOWN_FAILED, SHOWN_BEST, SHOWN_WORST = 6, 3, 2  # pictures a category: failed ones, best and worst of the rest


def scene_page(source: SceneSource, scenes: Sequence[JudgedScene], facts: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        source: the scenes, for the pictures that were not kept.
        scenes: judged for the model, the floor and the ceiling.
        facts: as in the JSON report.
    """
    rows = summaries(scenes, MODEL)
    categories = [row for row in rows if row.level == "category"]
    title = f"Edits of scenes by {facts['model']['name']}"
    sections = [_section(source, row, _of_category(scenes, row)) for row in categories]
    main = "\n".join(
        [
            f"<h2>Results</h2>\n<p>{escape(DEFINITION)}</p>",
            _table(scenes),
            f'<h2 id="pictures">Pictures</h2>\n{_FILTER}',
            *sections,
        ]
    )
    return page(title, facts_list(facts), main, skip=("pictures", "To the pictures"))


def shown_scenes(scenes: Sequence[JudgedScene]) -> list[JudgedScene]:
    """Of one category: the best successes, the worst ones, and failures from the nearest miss to the farthest."""
    ranked = sorted(scenes, key=lambda scene: scene.scores[MODEL].restored.margin, reverse=True)
    passed = [scene for scene in ranked if scene.scores[MODEL].is_success]
    failed = [scene for scene in ranked if not scene.scores[MODEL].is_success]
    best, rest = passed[:SHOWN_BEST], passed[SHOWN_BEST:]
    count = min(SHOWN_FAILED, len(failed))
    spread = [failed[place * (len(failed) - 1) // max(1, count - 1)] for place in range(count)]
    return [*best, *rest[-SHOWN_WORST:], *spread]


def _of_category(scenes: Sequence[JudgedScene], row: Summary) -> list[JudgedScene]:
    return [scene for scene in scenes if (scene.family, scene.category) == (row.family, row.name)]


def _section(source: SceneSource, row: Summary, members: Sequence[JudgedScene]) -> str:
    heading = f"{words(row.family)}: {words(row.name)}"
    cards = "\n".join(_card(source, scene) for scene in shown_scenes(members))
    told = f"{row.success.successes} of {row.count} succeed"
    return (
        f'<details open id="{_anchor(row)}"><summary><h3>{escape(heading)}</h3> <span>{told}</span></summary>\n'
        f'<div class="cards">{cards}</div></details>'
    )


def _card(source: SceneSource, scene: JudgedScene) -> str:
    truth, score = source.scene(scene.index), scene.scores[MODEL]
    wanted = escape(scene.instruction)
    pictures = [
        (jpeg(truth.source), "source", "the source"),
        (scene.restored_jpeg, "result", f"the result of: {scene.instruction}"),
        (jpeg(truth.target), "target", f"the true target of: {scene.instruction}"),
        (scene.raw_jpeg, "before restoring", f"the result before restoring of: {scene.instruction}"),
        (_mask_png(truth.mask), "may change", "mask: white may change, black must stay"),
    ]
    figures = "".join(figure(*each) for each in pictures)
    kind, mark = ("passed", "✓") if score.is_success else ("failed", "✗")
    verdict = "success" if score.is_success else "; ".join(score.failures())
    return (
        f'<article class="{kind}"><h4>{wanted}</h4>\n<div class="strip">{figures}</div>\n'
        f"<p><strong>{mark}</strong> {escape(verdict)}. Margin {score.restored.margin:.2f}, "
        f"nearest rival {escape(score.restored.rival)}; scene {scene.index}{_shows(scene.photograph)}.</p></article>"
    )


def _mask_png(mask: Bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


def _table(scenes: Sequence[JudgedScene]) -> str:
    headings = ("n", "success", "95% interval", "nearest", "preserved", "raw success", FLOOR, CEILING)
    columns = (summaries(scenes, contestant) for contestant in (MODEL, FLOOR, CEILING))
    rows = (_table_row(*rows) for rows in zip(*columns, strict=True))
    return table(("scenes", *headings), rows, "Results")


def _table_row(row: Summary, floor: Summary, ceiling: Summary) -> str:
    name = escape(words(row.name))
    link = f'<a href="#{_anchor(row)}">{name}</a>' if row.level == "category" else name
    rates = (row.nearest, row.preserved, row.raw_success, floor.success, ceiling.success)
    numbers = [
        str(row.count),
        f"{row.success.share:.2f}",
        "{:.2f} to {:.2f}".format(*row.success.interval),
        *(f"{rate.share:.2f}" for rate in rates),
    ]
    return table_row(link, numbers, row.level)


def _anchor(row: Summary) -> str:
    return escape(f"{row.family}-{row.name}".replace(" ", "-"))


def _shows(photograph: str) -> str:
    return f", {escape(photograph)}" if photograph else ""


_FILTER = """<fieldset><legend>Show</legend>
<label><input type="radio" name="show" id="show-all" checked> all</label>
<label><input type="radio" name="show" id="show-passed"> successes</label>
<label><input type="radio" name="show" id="show-failed"> failures</label>
</fieldset>"""

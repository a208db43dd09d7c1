"""One self-contained page of pictures: what the model made of the scenes, by category, with the verdict on each.

Plain HTML and CSS without scripts and without any outside address; light and dark follow the reader's system.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from PIL import Image

from varedit.evaluation.contestants import CEILING, FLOOR, MODEL
from varedit.evaluation.page_style import STYLE
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
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            '<a class="skip" href="#pictures">To the pictures</a>',
            f"<header><h1>{escape(title)}</h1>\n{_facts(facts)}</header>\n<main>",
            f"<h2>Results</h2>\n<p>{escape(DEFINITION)}</p>",
            _table(scenes),
            f'<h2 id="pictures">Pictures</h2>\n{_FILTER}',
            *sections,
            "</main>\n</body>\n</html>\n",
        ]
    )


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
    heading = f"{_words(row.family)}: {_words(row.name)}"
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
        ("source", jpeg(truth.source), "the source"),
        ("result", scene.restored_jpeg, f"the result of: {wanted}"),
        ("target", jpeg(truth.target), f"the true target of: {wanted}"),
        ("before restoring", scene.raw_jpeg, f"the result before restoring of: {wanted}"),
        ("may change", _mask_png(truth.mask), "mask: white may change, black must stay"),
    ]
    figures = "".join(_figure(caption, data, alt) for caption, data, alt in pictures)
    kind, mark = ("passed", "✓") if score.is_success else ("failed", "✗")
    verdict = "success" if score.is_success else "; ".join(score.failures())
    return (
        f'<article class="{kind}"><h4>{wanted}</h4>\n<div class="strip">{figures}</div>\n'
        f"<p><strong>{mark}</strong> {escape(verdict)}. Margin {score.restored.margin:.2f}, "
        f"nearest rival {escape(score.restored.rival)}; scene {scene.index}{_shows(scene.photograph)}.</p></article>"
    )


def _figure(caption: str, data: bytes, alt: str) -> str:
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    encoded = base64.b64encode(data).decode("ascii")
    return (
        f'<figure><img src="data:image/{kind};base64,{encoded}" alt="{alt}" loading="lazy">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _mask_png(mask: Bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


def _table(scenes: Sequence[JudgedScene]) -> str:
    headings = ("n", "success", "95% interval", "nearest", "preserved", "raw success", FLOOR, CEILING)
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in ("scenes", *headings))
    columns = (summaries(scenes, contestant) for contestant in (MODEL, FLOOR, CEILING))
    body = "\n".join(_table_row(*rows) for rows in zip(*columns, strict=True))
    return (
        '<div class="wide" role="region" aria-label="Results" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _table_row(row: Summary, floor: Summary, ceiling: Summary) -> str:
    name = escape(_words(row.name))
    link = f'<a href="#{_anchor(row)}">{name}</a>' if row.level == "category" else name
    rates = (row.nearest, row.preserved, row.raw_success, floor.success, ceiling.success)
    numbers = [
        str(row.count),
        f"{row.success.share:.2f}",
        "{:.2f} to {:.2f}".format(*row.success.interval),
        *(f"{rate.share:.2f}" for rate in rates),
    ]
    cells = "".join(f"<td>{number}</td>" for number in numbers)
    return f'<tr class="{row.level}"><th scope="row">{link}</th>{cells}</tr>'


def _facts(facts: Mapping[str, Any]) -> str:
    told = {name: _value(value) for name, value in facts.items()}
    items = "".join(f"<dt>{escape(_words(name))}</dt><dd>{escape(value)}</dd>" for name, value in told.items())
    return f"<details><summary>How this was measured</summary><dl>{items}</dl></details>"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(str(name))} {_value(each)}" for name, each in value.items())
    return str(value)


def _anchor(row: Summary) -> str:
    return escape(f"{row.family}-{row.name}".replace(" ", "-"))


def _shows(photograph: str) -> str:
    return f", {escape(photograph)}" if photograph else ""


def _words(name: str) -> str:
    return name.replace("_", " ")


_FILTER = """<fieldset><legend>Show</legend>
<label><input type="radio" name="show" id="show-all" checked> all</label>
<label><input type="radio" name="show" id="show-passed"> successes</label>
<label><input type="radio" name="show" id="show-failed"> failures</label>
</fieldset>"""

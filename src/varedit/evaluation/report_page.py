"""The page of one run: numbers with intervals, drawn too, and pictures, the best and the worst of each category."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape

from varedit.evaluation.metric_names import INSIDE, OUTSIDE
from varedit.evaluation.page_parts import facts_list, page, row, table, words
from varedit.evaluation.report_charts import Panel, interval_charts
from varedit.evaluation.report_numbers import Measure, MeasuredRun
from varedit.evaluation.report_pictures import best_and_worst, given_pictures, shown
from varedit.evaluation.run_folder import RunItem
from varedit.evaluation.statistics import CONFIDENCE

STYLE = """
section > p { max-width: 60rem; } .panels { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0; }
table th:first-child { position: sticky; left: 0; background: var(--paper); white-space: normal; min-width: 7rem; }
.none { min-height: 5rem; display: grid; place-items: center; border: 1px dashed var(--line); }
.note { border-left: .4rem solid var(--bad); padding-left: .75rem; }
"""
OnProgress = Callable[[int, int], None]  # pictures of items drawn, items in all
EXPLAINED = (
    f"Means over items with {CONFIDENCE:.0%} intervals by bootstrap; items of one source picture, session or "
    "photograph are drawn together. An arrow points to where a number is better."
)


def run_page(run: MeasuredRun, by: Measure, pictures: int, on_progress: OnProgress) -> str:
    """The whole page.

    Args:
        by: what orders the pictures.
        pictures: items of each category that are shown.
    """
    benchmark = run.facts["benchmark"]
    title = f"{benchmark.get('name', 'Edits')} by {run.editor}"
    main = [
        f"<section><h2>Numbers</h2>\n<p>{escape(EXPLAINED)}</p>",
        *(f'<p class="note">{escape(warning)}</p>' for warning in run.warnings),
        numbers_table(run),
        "</section>\n<section><h2>By category</h2>",
        category_table(run),
        interval_charts(list(panels([run], run.measures)), [run.label]),
        f'</section>\n<section><h2 id="pictures">Pictures</h2>\n<p>{escape(_order_words(by, pictures))}</p>',
        *_sections(run, by, pictures, on_progress),
        f"</section>\n{_missing(run)}",
    ]
    return page(title, facts_list(run.facts), "\n".join(main), style=STYLE, skip=("pictures", "To the pictures"))


def numbers_table(run: MeasuredRun) -> str:
    """A measure a line: of the whole picture, inside the mask and outside of it."""
    rows = []
    for measure in run.measures.values():
        if not measure.is_part:
            n = 0 if measure.overall is None else measure.overall.n
            parts = [run.measures.get(f"{measure.name}{suffix}") for suffix in (INSIDE, OUTSIDE)]
            cells = ["" if part is None or measure.judge else part.words(part.overall) for part in parts]
            rows.append(row(escape(measure.heading), [str(n), measure.words(measure.overall), *cells]))
    return table(("measure", "n", "whole", "inside", "outside"), rows, "Numbers")


def category_table(run: MeasuredRun) -> str:
    """A category a line, a measure a column."""
    measures = [measure for measure in run.measures.values() if not measure.is_part]
    rows = []
    for category in run.categories:
        count = sum(item.category == category for item in run.items)
        cells = [str(count), *(measure.words(measure.categories.get(category)) for measure in measures)]
        rows.append(row(f'<a href="#{anchor(category)}">{escape(words(category))}</a>', cells))
    every = [str(len(run.items)), *(measure.words(measure.overall) for measure in measures)]
    rows.append(row("all", every, "overall"))
    return table(("category", "items", *(measure.heading for measure in measures)), rows, "Numbers by category")


def panels(runs: Sequence[MeasuredRun], keys: Iterable[str]) -> Iterator[Panel]:
    """A panel for each of the measures, which all runs have, that is of the whole picture."""
    for key in keys:
        measure = runs[0].measures[key]
        if not measure.is_part:
            found = [run.measures[key] for run in runs]
            rows = {
                words(category): [each.categories.get(category) for each in found] for category in runs[0].categories
            }
            rows["all"] = [each.overall for each in found]
            yield Panel(measure.heading, rows, measure.digits)


def anchor(category: str) -> str:
    """The address of a category within the page."""
    return "category-" + "".join(letter if letter.isalnum() else "-" for letter in category)


def _sections(run: MeasuredRun, by: Measure, pictures: int, on_progress: OnProgress) -> Iterator[str]:
    categories = run.categories
    for done, category in enumerate(categories, start=1):
        members = [item for item in run.items if item.category == category]
        best, worst = best_and_worst(by, members, pictures)
        cards = [
            *(_card(run, item, by, "passed") for item in best),
            *(_card(run, item, by, "failed") for item in worst),
        ]
        on_progress(done, len(categories))
        told = f"{by.key} {by.words(by.categories.get(category))}"
        yield (
            f'<details open id="{anchor(category)}"><summary><h3>{escape(words(category))}</h3> '
            f'<span>{escape(told)}</span></summary>\n<div class="cards">{"".join(cards)}</div></details>'
        )


def _card(run: MeasuredRun, item: RunItem, by: Measure, kind: str) -> str:
    source, rest = given_pictures(run, item)
    result = shown(run.folder.result(item), "result", f"the result of: {item.instruction}")
    value = escape(f"{by.key} {by.number(by.values[item.id])}")
    said = run.reasons.get(item.id, "")
    return (
        f'<article class="{kind}"><h4>{escape(item.instruction)}</h4>\n'
        f'<div class="strip">{source}{result}{rest}</div>\n'
        f"<p><strong>{'best' if kind == 'passed' else 'worst'}</strong>: {value}; {escape(item.id)}</p>"
        + (f"<p>{escape(said)}</p>" if said else "")
        + "</article>\n"
    )


def _order_words(by: Measure, pictures: int) -> str:
    return f"Of each category the best and the worst items by {by.key}, {pictures} at most."


def _missing(run: MeasuredRun) -> str:
    if not run.missing:
        return ""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(reason)}</dd>" for name, reason in run.missing.items())
    return f"<section><h2>Left out</h2>\n<p>{len(run.missing)} items have no number.</p><dl>{items}</dl></section>"

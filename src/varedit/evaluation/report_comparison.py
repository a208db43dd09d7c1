"""Several runs of one benchmark beside each other: numbers, paired differences, and pictures of the same items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from varedit.errors import UsageError
from varedit.evaluation.files import make_report_folder
from varedit.evaluation.page_parts import facts_list, page, row, table, words
from varedit.evaluation.report_charts import interval_charts
from varedit.evaluation.report_files import markdown_table, measure_values, write_report_files
from varedit.evaluation.report_numbers import Measure, MeasuredRun
from varedit.evaluation.report_page import EXPLAINED, STYLE, anchor, panels
from varedit.evaluation.report_pictures import given_pictures, shown
from varedit.evaluation.run_folder import RunItem
from varedit.evaluation.statistics import Comparison, compare, holm

OnProgress = Callable[[int, int], None]  # steps done, steps in all


@dataclass(frozen=True)
class Difference:
    """The first run against another one, by one measure, on the items that both have.

    Attributes:
        other: the label of the other run.
        adjusted_p: the p value after Holm's correction over all differences of the comparison.
    """

    first: str
    other: str
    measure: Measure
    comparison: Comparison
    adjusted_p: float

    @property
    def words(self) -> str:
        """What may be said of it."""
        if not self.comparison.difference.excludes_zero:
            return "no difference shown"
        is_first = (self.comparison.difference.value > 0) != self.measure.is_better_low
        return f"{self.first if is_first else self.other} is better"

    @property
    def cells(self) -> list[str]:
        """As text: against whom, on how many items, the difference, p, items better / equal / worse, the words."""
        found = self.comparison
        better, worse = (found.losses, found.wins) if self.measure.is_better_low else (found.wins, found.losses)
        return [
            self.other,
            str(found.difference.n),
            self.measure.words(found.difference),
            f"{self.adjusted_p:.4f}",
            f"{better}/{found.ties}/{worse}",
            self.words,
        ]


@dataclass(frozen=True)
class RunComparison:
    """Runs, and what can be compared of them.

    Attributes:
        runs: at least two; the first is compared with each other one.
        keys: measures that all runs have, made in the same way.
        left_out: measures that not all have, or that were made in unlike ways.
        differences: by measure, then by run.
    """

    runs: Sequence[MeasuredRun]
    keys: Sequence[str]
    left_out: Sequence[str]
    differences: Sequence[Difference]


DIFFERENCES = ("measure", "against", "n", "difference", "p", "+/=/-", "")


def write_comparison(
    runs: Sequence[MeasuredRun],
    folder: Path,
    *,
    by: str | None,
    pictures: int,
    on_progress: OnProgress = lambda done, total: None,
) -> Path:
    """Write report.html, report.json and report.md, in place of older ones.

    Args:
        by: the measure whose differences order the pictures; None for the one that says most.
        pictures: items of each category that are shown.

    Returns: the path of the page.

    Raises: UsageError where the runs are of different benchmarks or share no measure; OutputError.
    """
    make_report_folder(folder)
    found = compare_runs(runs, on_progress)
    measure = _ordering(found, by)
    return write_report_files(
        folder,
        comparison_page(found, measure, pictures, on_progress),
        comparison_numbers(found, measure, pictures),
        comparison_markdown(found),
    )


def compare_runs(runs: Sequence[MeasuredRun], on_progress: OnProgress = lambda done, total: None) -> RunComparison:
    """Compare the first run with each other one. Raises UsageError as `write_comparison` does."""
    first = runs[0]
    for other in runs[1:]:
        names = [{name: run.facts["benchmark"].get(name) for name in ("name", "split")} for run in (first, other)]
        if names[0] != names[1]:
            raise UsageError(f"{first.label} and {other.label} are of different benchmarks; compare runs of one.")
    every = dict.fromkeys(key for run in runs for key in run.measures)
    keys = [key for key in every if _is_shared(key, runs)]
    if not keys:
        raise UsageError("these runs have no measure in common. Score them with the same options, or the same judge.")
    pairs = [(key, other) for key in keys for other in runs[1:]]
    found = []
    for done, (key, other) in enumerate(pairs, start=1):
        mine = first.measures[key]
        comparison = compare(mine.values, other.measures[key].values, first.origins)
        if comparison is not None:
            found.append((other.label, mine, comparison))
        on_progress(done, len(pairs))
    adjusted = holm([comparison.p_value for _, _, comparison in found])
    return RunComparison(
        runs=runs,
        keys=keys,
        left_out=[key for key in every if key not in keys],
        differences=[Difference(first.label, *each, p) for each, p in zip(found, adjusted, strict=True)],
    )


def most_unlike(
    runs: Sequence[MeasuredRun], by: str, items: Sequence[RunItem], count: int
) -> list[tuple[RunItem, float]]:
    """So many items in all on which the first run is farthest from the mean of the others: half of them those on which
    it is better, best first, then those on which it is worse, worst first. With each, by how much it is better.
    """
    leads = [(item, lead) for item in items if (lead := _lead(runs, by, item.id)) is not None]
    leads.sort(key=lambda pair: pair[1], reverse=True)
    best = leads[: (count + 1) // 2]
    return [*best, *leads[len(best) :][::-1][: count // 2]]


def comparison_page(found: RunComparison, by: Measure, pictures: int, on_progress: OnProgress) -> str:
    """The whole page."""
    runs = found.runs
    title = f"{runs[0].facts['benchmark'].get('name', 'Edits')}: {' and '.join(run.label for run in runs)}"
    facts = {run.label: {"editor": run.editor, **run.facts} for run in runs}
    left_out = f"<p>Left out, as not all runs have it, made in the same way: {escape(', '.join(found.left_out))}.</p>"
    warnings = [f"{run.label}: {warning}" for run in runs for warning in run.warnings]
    charts = interval_charts(list(panels(runs, found.keys)), [run.label for run in runs])
    differences = [row(escape(each.measure.heading), each.cells) for each in found.differences]
    told = (
        f"Mean of {runs[0].label} minus the other run, over the items that both have, with its interval; p of the "
        "sign-flip test, adjusted for the number of rows (Holm); items on which the first is better, as good, worse. "
        "The words follow the interval; of few source pictures it is too narrow, and p is the better guide."
    )
    main = [
        f"<section><h2>Numbers</h2>\n<p>{escape(EXPLAINED)}</p>",
        *(f'<p class="note">{escape(warning)}</p>' for warning in warnings),
        table(("measure", *(run.label for run in runs)), (_numbers_row(key, runs) for key in found.keys), "Numbers"),
        left_out if found.left_out else "",
        f"<h2>Differences</h2>\n<p>{escape(told)}</p>",
        table(DIFFERENCES, differences, "Differences"),
        f"</section>\n<section><h2>By category</h2>{charts}</section>",
        '<section><h2 id="pictures">Pictures</h2>',
        f"<p>Of each category the items on which {escape(runs[0].label)} is farthest from the others by "
        f"{escape(by.key)}, {pictures} at most.</p>",
        *_sections(runs, by, pictures, on_progress),
        "</section>",
    ]
    return page(title, facts_list(facts), "\n".join(main), style=STYLE, skip=("pictures", "To the pictures"))


def comparison_numbers(found: RunComparison, by: Measure, pictures: int) -> dict[str, Any]:
    """Everything but the pictures, ready for JSON."""
    return {
        "runs": {run.label: {"run": str(run.folder.path), **run.facts} for run in found.runs},
        "measures": {key: {run.label: measure_values(run.measures[key]) for run in found.runs} for key in found.keys},
        "left_out": list(found.left_out),
        "differences": [
            {
                "measure": each.measure.key,
                "first": each.first,
                "other": each.other,
                **asdict(each.comparison),
                "adjusted_p": each.adjusted_p,
                "words": each.words,
            }
            for each in found.differences
        ],
        "shown": {
            "by": by.key,
            "categories": {
                category: [item.id for item, _ in most_unlike(found.runs, by.key, items, pictures)]
                for category, items in _by_category(found.runs[0]).items()
            },
        },
    }


def comparison_markdown(found: RunComparison) -> str:
    """The means, a measure a line and a run a column; then the differences."""
    rows = [
        [
            found.runs[0].measures[key].heading,
            *(run.measures[key].words(run.measures[key].overall) for run in found.runs),
        ]
        for key in found.keys
    ]
    means = markdown_table(("measure", *(run.label for run in found.runs)), rows)
    differences = [[each.measure.heading, *each.cells] for each in found.differences]
    return f"{means}\n{markdown_table(DIFFERENCES, differences)}"


def _ordering(found: RunComparison, by: str | None) -> Measure:
    measure = found.runs[0].measure(by)
    if measure.key in found.keys:
        return measure
    if by is None:
        return found.runs[0].measures[found.keys[0]]
    raise UsageError(f"not all runs have {by!r}, made in the same way; they share {', '.join(found.keys)}.")


def _is_shared(key: str, runs: Sequence[MeasuredRun]) -> bool:
    measures = [run.measures[key] for run in runs if key in run.measures]
    return len(measures) == len(runs) and all(measure.is_comparable(measures[0]) for measure in measures)


def _lead(runs: Sequence[MeasuredRun], key: str, item: str) -> float | None:
    """By how much the first run is better than the mean of the others; None where one has no number."""
    values = [run.measures[key].values.get(item) for run in runs]
    there = [value for value in values if value is not None]
    if len(there) < len(runs):
        return None
    lead = there[0] - sum(there[1:]) / (len(there) - 1)
    return -lead if runs[0].measures[key].is_better_low else lead


def _by_category(run: MeasuredRun) -> dict[str, list[RunItem]]:
    return {category: [item for item in run.items if item.category == category] for category in run.categories}


def _numbers_row(key: str, runs: Sequence[MeasuredRun]) -> str:
    measures = [run.measures[key] for run in runs]
    return row(escape(measures[0].heading), [measure.words(measure.overall) for measure in measures])


def _sections(runs: Sequence[MeasuredRun], by: Measure, pictures: int, on_progress: OnProgress) -> Iterator[str]:
    members = _by_category(runs[0])
    for done, (category, items) in enumerate(members.items(), start=1):
        cards = "".join(_card(runs, item, by, lead) for item, lead in most_unlike(runs, by.key, items, pictures))
        on_progress(done, len(members))
        yield (
            f'<details open id="{anchor(category)}"><summary><h3>{escape(words(category))}</h3></summary>\n'
            f'<div class="cards">{cards}</div></details>'
        )


def _card(runs: Sequence[MeasuredRun], item: RunItem, by: Measure, lead: float) -> str:
    source, rest = given_pictures(runs[0], item)
    results = [
        shown(run.folder.result(item), _caption(run, by, item.id), f"the result of {run.label} of: {item.instruction}")
        for run in runs
    ]
    kind = "passed" if lead > 0 else "failed" if lead < 0 else ""
    verdict = "better" if lead > 0 else "worse" if lead < 0 else "equal"
    return (
        f'<article class="{kind}"><h4>{escape(item.instruction)}</h4>\n'
        f'<div class="strip">{source}{"".join(results)}{rest}</div>\n'
        f"<p><strong>{escape(runs[0].label)} {verdict}</strong>, {escape(by.key)}; {escape(item.id)}</p></article>\n"
    )


def _caption(run: MeasuredRun, by: Measure, item: str) -> str:
    return f"{run.label}: {by.number(run.measures[by.key].values[item])}"

"""Runs beside the numbers that the paper states, with who judged what: as text for a terminal, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from varedit.errors import UsageError
from varedit.evaluation.judges.controls import Trial
from varedit.evaluation.published import Column, PublishedTable, published_source, published_table
from varedit.evaluation.report_files import markdown_table
from varedit.evaluation.report_numbers import Measure, MeasuredRun
from varedit.evaluation.statistics import Interval

if TYPE_CHECKING:
    from rich.table import Table

ONE_JUDGE = (
    "Judged columns compare only between rows of one judge, asked the same questions. The paper does not name the "
    "version of its judge, and its questions are worded otherwise than ours (docs/judges.md): beside its rows, scores "
    "of varedit eval judge stand for orientation."
)
PARTLY = "*"  # marks a CLIP number through another network than the paper's


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One line.

    Attributes:
        judge: who made the judged numbers; None if there are none.
        is_published: whether it is the paper's.
        numbers: a column each; None where there is no number.
        marked: columns whose number looks through another network than the paper's.
    """

    method: str
    judge: str | None
    is_published: bool
    numbers: Sequence[Interval | None]
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True)
class RunTable:
    """Published rows, then runs, and what a reader must know of them."""

    published: PublishedTable
    rows: Sequence[TableRow]
    notes: Sequence[str]

    @property
    def headings(self) -> list[str]:
        """Of all columns."""
        return ["method", *(column.heading for column in self.published.columns), "judge"]

    def cells(self, row: TableRow) -> list[str]:
        """A row as text."""
        numbers = [
            ("-" if number is None else f"{number.value:.3f}") + (PARTLY if place in row.marked else "")
            for place, number in enumerate(row.numbers)
        ]
        return [row.method, *numbers, row.judge or "-"]

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "benchmark": self.published.benchmark,
            "table": self.published.name,
            "source": published_source(),
            "columns": [asdict(column) for column in self.published.columns],
            "rows": [
                {
                    "method": row.method,
                    "judge": row.judge,
                    "published": row.is_published,
                    "numbers": [None if number is None else asdict(number) for number in row.numbers],
                    "other_network": sorted(row.marked),
                }
                for row in self.rows
            ],
            "notes": list(self.notes),
        }

    def to_markdown(self) -> str:
        """The table, and its notes below."""
        table = markdown_table(self.headings, map(self.cells, self.rows))
        return table + "".join(f"\n{note}\n" for note in self.notes)

    def to_terminal(self) -> Table:
        """The table with its notes as its caption; runs stand out."""
        from rich.table import Table

        table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", caption_justify="left")
        for place, heading in enumerate(self.headings):
            is_words = place in (0, len(self.headings) - 1)
            table.add_column(heading, justify="left" if is_words else "right", no_wrap=not is_words)
        for row in self.rows:
            table.add_row(*self.cells(row), style="" if row.is_published else "bold")
        table.caption = "\n".join(self.notes)
        return table


def run_table(runs: Sequence[MeasuredRun], name: str = "overall", *, trial: Trial | None = None) -> RunTable:
    """Set runs beside the paper's rows.

    Args:
        runs: of one benchmark, a row for each of their judges.
        name: "overall", or "success" or "balance" by category.
        trial: what a judge made of controls; None if it was not tried.

    Raises: UsageError where the paper has no such table, the runs are of different benchmarks, or the judge failed.
    """
    if trial is not None and trial.failure is not None:
        raise UsageError(trial.failure)
    named = [(run.facts["benchmark"].get("name"), run.facts["benchmark"].get("split")) for run in runs]
    if len(set(named)) > 1:
        raise UsageError("these runs are of different benchmarks or splits; name runs of one.")
    benchmark, split = named[0]
    published = published_table(str(benchmark), split, name)
    if published is None:
        what = "" if name == "overall" else f" of {name} by category"
        raise UsageError(
            f"the paper states no numbers{what} for {benchmark}, split {split}; set runs beside each other with: "
            "varedit eval report"
        )
    rows = [
        TableRow(
            method=method,
            judge=published.judge,
            is_published=True,
            numbers=[None if number is None else Interval(number, None, None, 0) for number in numbers],
        )
        for method, numbers in published.rows.items()
    ]
    ours = [row for run in runs for row in _run_rows(run, published)]
    return RunTable(published, [*rows, *ours], [*_notes(runs, published, ours), *_trial_notes(ours, trial)])


def _trial_notes(ours: Sequence[TableRow], trial: Trial | None) -> Iterator[str]:
    if trial is not None:
        yield f"{trial.model}, {trial.words}."
    tried = None if trial is None else trial.model
    untried = list(dict.fromkeys(row.judge for row in ours if row.judge is not None and row.judge != tried))
    if untried:
        yield f"Not tried on controls here (--controls): {', '.join(untried)}."


def _run_rows(run: MeasuredRun, published: PublishedTable) -> Iterator[TableRow]:
    """A row a judge; one without any if nobody judged by the table's scheme."""
    judges = dict.fromkeys(
        measure.judge for measure in run.measures.values() if measure.scheme == published.scheme and measure.judge
    )
    for judge in judges or (None,):
        measures = [_measure(run, column, judge) for column in published.columns]
        yield TableRow(
            method=run.label,
            judge=judge,
            is_published=False,
            numbers=[_value(measure, column) for measure, column in zip(measures, published.columns, strict=True)],
            marked=frozenset(
                place for place, measure in enumerate(measures) if measure and _is_other_network(measure, published)
            ),
        )


def _measure(run: MeasuredRun, column: Column, judge: str | None) -> Measure | None:
    return next(
        (
            measure
            for measure in run.measures.values()
            if measure.name == column.measure and measure.judge in (None, judge)
        ),
        None,
    )


def _value(measure: Measure | None, column: Column) -> Interval | None:
    if measure is None:
        return None
    return measure.overall if column.category is None else measure.categories.get(column.category)


def _is_other_network(measure: Measure, published: PublishedTable) -> bool:
    """By the last part of the name, as a folder may hold the published weights."""
    if measure.through is None or published.clip is None:
        return False
    return published.clip.rpartition("/")[2] not in measure.through


def _notes(runs: Sequence[MeasuredRun], published: PublishedTable, ours: Sequence[TableRow]) -> Iterator[str]:
    judged = [column.heading for column in published.columns if not column.measure.startswith("clip")]
    yield (
        f"Published rows: {published_source()}. {', '.join(judged)}: judged; by {published.judge} in published rows, "
        "else by the judge that the row names."
    )
    yield ONE_JUDGE
    if any(row.marked for row in ours):
        yield f"{PARTLY} not through {published.clip}, as in the published rows: not comparable with them."
    if any(row.judge is None for row in ours):
        yield f"A row without a judge has none yet: varedit eval judge DIR --scheme {published.scheme}."
    for run in runs:
        facts = run.facts["benchmark"]
        if facts.get("items", 0) < facts.get("published", 0) - facts.get("repeated", 0):
            yield f"{run.label} is of {facts['items']} items; {facts['published']} are published."
        yield from (f"{run.label}: {warning}" for warning in run.warnings)

"""Reports as files: a page, all numbers as JSON, and a table in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from varedit.evaluation.files import make_report_folder, write_report
from varedit.evaluation.report_numbers import Measure, MeasuredRun
from varedit.evaluation.report_page import OnProgress, run_page
from varedit.evaluation.report_pictures import best_and_worst

PAGE, NUMBERS, TABLE = "report.html", "report.json", "report.md"
PICTURES = 6  # items of a category that a page shows


def write_run_report(
    run: MeasuredRun,
    folder: Path,
    *,
    by: str | None = None,
    pictures: int = PICTURES,
    on_progress: OnProgress = lambda done, total: None,
) -> Path:
    """Write report.html, report.json and report.md, in place of older ones.

    Args:
        by: the measure that orders the pictures; None for the one that says most.
        pictures: items of each category that are shown.

    Returns: the path of the page. Raises UsageError for an unknown measure, OutputError.
    """
    measure = run.measure(by)
    make_report_folder(folder)
    page = run_page(run, measure, pictures, on_progress)
    return write_report_files(folder, page, run_numbers(run, measure, pictures), run_markdown(run))


def write_report_files(folder: Path, page: str, numbers: Mapping[str, Any], markdown: str) -> Path:
    """Write the three files; returns the path of the page. Raises OutputError."""
    write_report(folder / NUMBERS, json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    write_report(folder / TABLE, markdown)
    write_report(folder / PAGE, page)
    return folder / PAGE


def run_numbers(run: MeasuredRun, by: Measure, pictures: int) -> dict[str, Any]:
    """Everything but the pictures, ready for JSON."""
    members = {category: [item for item in run.items if item.category == category] for category in run.categories}
    chosen = {category: best_and_worst(by, items, pictures) for category, items in members.items()}
    return {
        "run": str(run.folder.path),
        **run.facts,
        "warnings": list(run.warnings),
        "missing": dict(run.missing),
        "measures": {key: measure_values(measure) for key, measure in run.measures.items()},
        "shown": {
            "by": by.key,
            "categories": {
                category: {"best": [item.id for item in best], "worst": [item.id for item in worst]}
                for category, (best, worst) in chosen.items()
            },
        },
    }


def measure_values(measure: Measure) -> dict[str, Any]:
    """A measure's means, ready for JSON."""
    return {
        "name": measure.name,
        "judge": measure.judge,
        "scheme": measure.scheme,
        "better": "low" if measure.is_better_low else "high",
        "overall": None if measure.overall is None else asdict(measure.overall),
        "categories": {category: asdict(interval) for category, interval in measure.categories.items()},
    }


def run_markdown(run: MeasuredRun) -> str:
    """The means of a run as a table, a measure a line and a category a column."""
    rows = [
        [measure.heading, measure.words(measure.overall)]
        + [measure.words(measure.categories.get(category)) for category in run.categories]
        for measure in run.measures.values()
    ]
    return markdown_table(("measure", "all", *run.categories), rows)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; the first column is of words, the others of numbers."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)

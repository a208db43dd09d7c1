"""`varedit data check`: what a training would meet in a set of editing records, and a sheet of some of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from varedit.cli.terminal import Terminal, talking

if TYPE_CHECKING:
    from varedit.data.check import Report


@click.command()
@click.argument("kind")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1), help="So many records from all over the set, instead of all.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Folder of the pictures, if not beside the rows.")
@click.option("--split", help="Files of this split, instead of those to train on.")
@click.option("--deny", type=click.Path(path_type=Path), help="Picture hashes or COCO numbers that must not occur.")
@click.option("--any-aspect", is_flag=True, help="Accept targets of another shape than their source.")
@click.option("--sheet", type=click.Path(path_type=Path), help="PNG file to write with some of the records.")
@click.option("--force", is_flag=True, help="Overwrite the sheet.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object.")
@talking
@click.pass_obj
def check(
    terminal: Terminal,
    /,
    kind: str,
    path: Path,
    count: int | None,
    pictures: Path | None,
    split: str | None,
    deny: Path | None,
    any_aspect: bool,
    sheet: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Verify the editing records of KIND in PATH, a folder or a file.

    KIND is a container (webdataset, jsonl, parquet) or a known set, such as magicbrush; a wrong one lists them all.
    Damaged records are counted and named; a record on the deny list makes the exit code 1.

    \b
    varedit data check webdataset shards
    varedit data check magicbrush MagicBrush --count 200 --sheet sheet.png
    varedit data check anyedit AnyEdit --deny benchmarks.txt --json
    """
    from varedit.data.check import DenyList, check_source, refuse_changed_shards, refuse_denied
    from varedit.data.readers.known_sets import open_dataset
    from varedit.data.records import ASPECT_TOLERANCE
    from varedit.output import check_output_path

    if sheet is not None:
        check_output_path(sheet, force=force)
    denied = None if deny is None else DenyList.read(deny)
    source = open_dataset(kind, path, pictures=pictures, split=split)
    with terminal.progress("checking") as show:
        report = check_source(
            source,
            count=count,
            deny=denied,
            aspect_tolerance=None if any_aspect else ASPECT_TOLERANCE,
            on_progress=show,
        )
    click.echo(json.dumps(report.as_dict(), ensure_ascii=False) if as_json else in_words(report))
    if sheet is not None:
        write_sheet(report, sheet, force=force)
        terminal.say(f"{len(report.thumbnails)} records are shown in {sheet}")
    if kind == "webdataset" and count is None:
        refuse_changed_shards(path)
    refuse_denied(report)


def in_words(report: Report) -> str:
    """The report for a person, a line for each matter."""
    facts = report.as_dict()
    skipped = [
        f"skipped: {reason}: {told['count']} ({', '.join(told['examples'])})"
        for reason, told in facts["skipped"].items()
    ]
    ranges = [
        f"{label}: {told['least']} to {told['most']}, half up to {told['median']}"
        for label, told in (
            ("short side in pixels", facts["short_side"]),
            ("words of an instruction", facts["instruction_words"]),
        )
        if told
    ]
    categories = ", ".join(f"{category} {count}" for category, count in report.categories.most_common(20))
    lines = [
        f"{report.name}: {report.num_records} usable records, {report.damage.total} skipped",
        *skipped,
        *ranges,
        *([f"categories: {categories}"] if categories else []),
        f"different sources: {report.num_sources}; pairs that occurred before: {report.num_repeated_pairs}",
    ]
    return "\n".join(lines)


def write_sheet(report: Report, path: Path, *, force: bool) -> None:
    """Write the report's pictures, if it has any."""
    import numpy as np

    from varedit.data.contact_sheet import contact_sheet
    from varedit.output import save_image

    if report.thumbnails:
        picture = contact_sheet(report.thumbnails, columns=3)
        save_image(np.asarray(picture), path, provenance=None, force=force)

"""`varedit edit` on a folder or a list of edits: parse, run the job, show how it goes and what it came to."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from varedit.cli.jobs import is_list, names_picture
from varedit.cli.request import Request
from varedit.cli.terminal import Terminal, printable, write_result
from varedit.errors import ImageError, UsageError

if TYPE_CHECKING:
    from varedit.batch.edits import Edit
    from varedit.batch.job import Workforce
    from varedit.batch.journal import Outcome


def edit_many(terminal: Terminal, request: Request) -> int:
    """Run the job that a call names; returns the exit code. Raises what `run_job` does."""
    from varedit.batch import journal
    from varedit.batch.job import run_job
    from varedit.batch.stream import EditSettings

    check_request(request)
    out = Path(request.output)
    edits = edits_of(request, out)
    settings = EditSettings(model=request.model, loading=request.loading, call=request.call, metadata=request.metadata)
    with terminal.progress("editing", unit="images") as show:
        report = Report(terminal, request, out, show)
        summary = run_job(
            edits,
            out,
            settings,
            workforce(ray=request.ray, workers=request.workers, batch_size=request.batch_size),
            seed=request.seed,
            force=request.force,
            on_start=report.start,
            on_outcome=report.add,
        )
    terminal.say(
        f"{summary.done} edited, {summary.skipped} done before, {summary.failed} failed; "
        f"{summary.seconds:.1f} s, {summary.rate:.2f} images/s"
    )
    terminal.say(f"seed {summary.seed}, journal {out / journal.NAME}")
    return ImageError.exit_code if summary.failed else 0


def check_request(request: Request) -> None:
    """Raise UsageError for what does not go together."""
    from varedit.sampling import SamplingSettings

    first, *more = request.arguments
    if is_list(first) and more:
        raise UsageError(f"the instructions stand in {first}; leave out the one on the command line")
    if not request.output or names_picture(request.output) or "{" in request.output:
        raise UsageError(f"many edits need a folder for their results, not {request.output!r}; such as -o out/")
    for name, value in (
        ("--compare", request.compare),
        ("--show-region", request.show_region),
        ("--previews", request.previews),
    ):
        if value is not None:
            raise UsageError(f"{name} goes with single images; name one instead of {first}")
    numbers: dict[str, Any] = {"guidance": request.guidance, "temperature": request.temperature}
    SamplingSettings(**{name: number for name, number in numbers.items() if number is not None})


def edits_of(request: Request, out: Path) -> list[Edit]:
    """The edits that a call names."""
    from varedit.batch.edits import edits_of_file, edits_of_folder

    source = Path(request.arguments[0])
    if is_list(request.arguments[0]):
        return edits_of_file(source, out, mask=request.mask)
    return edits_of_folder(source, request.arguments[1], out, mask=request.mask)


def workforce(*, ray: bool, workers: int | None, batch_size: int | None) -> Workforce:
    """Who makes the edits. Raises UsageError for workers of no cluster."""
    from varedit.batch.job import ThisProcess

    if not ray:
        if workers is not None:
            raise UsageError("--workers are those of --ray; on one machine there is one model, see --batch-size")
        return ThisProcess(batch_size)
    from varedit.batch.machines import RayWorkers

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told who edits what
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the rest is about Ray's own matters
    return RayWorkers(workers, batch_size)


@dataclass
class Report:
    """Tells how a job goes on: results on stdout, what failed and what to know on stderr, each note once."""

    terminal: Terminal
    request: Request
    out: Path
    show: Callable[[int, int], None]
    todo: int = 0
    ended: int = 0
    told: set[str] = field(default_factory=set)

    def start(self, todo: int, skipped: int) -> None:
        """Say what lies ahead."""
        self.todo = todo
        if skipped:
            self.terminal.say(f"{skipped} edits are done already, {todo} are left")
        self.show(0, todo)

    def add(self, outcome: Outcome) -> None:
        """Tell of one edit."""
        self.ended += 1
        self.show(self.ended, self.todo)
        for note in outcome.notes:
            if note not in self.told:
                self.told.add(note)
                self.terminal.say(f"note: {outcome.output}: {note}")
        path = os.fspath(self.out / outcome.output)
        if outcome.error is not None:
            click.echo(f"error: {printable(outcome.error)}", err=True)
        if self.request.as_json:
            write_line(json.dumps({"output": path, **outcome.facts()}))
        elif outcome.error is None:
            write_line(path)


def write_line(line: str) -> None:
    """A line on stdout; on a terminal through the progress bar, which would overwrite it otherwise."""
    if sys.stdout.isatty():
        click.echo(printable(line))
    else:
        write_result(os.fsencode(line) + b"\n")

"""`varedit eval run`: edit a benchmark."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from varedit.cli.edit_many import workforce
from varedit.cli.request import device_option, drawing_options, measured_model_option
from varedit.cli.terminal import Terminal, printable, talking, write_result
from varedit.errors import ImageError

if TYPE_CHECKING:
    from varedit.batch.job import Workforce
    from varedit.batch.journal import Outcome
    from varedit.batch.stream import EditSettings
    from varedit.evaluation.run_folder import RunFolder

NAMES = ("emu-edit", "pie-bench", "magicbrush", "imgedit", "gedit", "scenes")


@click.command()
@click.argument("benchmark", type=click.Choice(NAMES), metavar="BENCH")
@click.argument("path")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of the run.")
@measured_model_option
@click.option("--split", metavar="NAME", help="Which part of the benchmark.  [default: the one that papers report]")
@click.option("--count", type=click.IntRange(1), metavar="N", help="Only the first N items.")
@click.option("--prepare", is_flag=True, help="Make the folder and edit nothing: another editor fills results/.")
@drawing_options
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=20261124, show_default=True, metavar="N")
@click.option(
    "--batch-size", type=click.IntRange(1, 1024), metavar="N", help="Items at a time.  [default: what fits the device]"
)
@click.option("--ray", is_flag=True, help="On the Ray cluster of RAY_ADDRESS, or on a local one.")
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="With --ray: so many models.  [default: one a GPU]"
)
@device_option
@talking
@click.pass_obj
def run(
    terminal: Terminal,
    /,
    benchmark: str,
    path: str,
    out: Path,
    split: str | None,
    count: int | None,
    prepare: bool,
    **options: Any,
) -> int:
    """Edit the items of BENCH, which lies in the folder PATH, or on the hub under that name.

    BENCH is one of emu-edit, pie-bench, magicbrush, imgedit, gedit and scenes. The same command again goes on where it
    was stopped. Scores come from `varedit eval score DIR`.

    \b
    varedit eval run pie-bench PIE-Bench_v1 -o runs/pie
    varedit eval run emu-edit facebook/emu_edit_test_set -o runs/emu --model models/2b-512
    varedit eval run scenes material -o runs/scenes --split generalisation --count 60
    """
    from varedit.evaluation.benchmarks.catalogue import BENCHMARKS
    from varedit.evaluation.runner import Choice
    from varedit.evaluation.runner import prepare as prepare_run

    chosen = BENCHMARKS[benchmark]
    choice = Choice(chosen, chosen.split(split), count)
    editor = None if prepare else _Editor(settings_of(options), workforce_of(options), options["seed"])
    with terminal.progress("reading the benchmark", unit="items") as show:
        folder = prepare_run(choice, path, out, show)
    facts = folder.benchmark()
    terminal.say(f"{facts['items']} items of {benchmark}, split {choice.split}; {facts['published']} are published")
    code = 0 if editor is None else editor.edit(terminal, folder)
    write_result(f"{out}\n".encode())
    return code


def settings_of(options: dict[str, Any]) -> EditSettings:
    """How a model is to edit. Raises ModelError, UsageError for what does not exist, before anything is read."""
    from varedit.batch.stream import EditSettings
    from varedit.hub import find_model
    from varedit.sampling import SamplingSettings

    numbers = {name: options[name] for name in ("guidance", "temperature") if options[name] is not None}
    SamplingSettings(**numbers)
    find_model(options["model"])
    call = {name: options[name] for name in ("temperature", "greedy", "reuse", "candidates")}
    return EditSettings(
        model=options["model"],
        loading={"device": options["device"]},
        call={"guidance_scale": options["guidance"], **call},
        metadata="none",
    )


def workforce_of(options: dict[str, Any]) -> Workforce:
    """Who makes the edits. Raises UsageError."""
    return workforce(ray=options["ray"], workers=options["workers"], batch_size=options["batch_size"])


@dataclass(frozen=True)
class _Editor:
    """A model that is to make the results of a run."""

    settings: EditSettings
    workforce: Workforce
    seed: int

    def edit(self, terminal: Terminal, folder: RunFolder) -> int:
        """Make the results and tell how it goes; returns the exit code."""
        from varedit.evaluation.runner import edit_run

        command = shlex.join(["varedit", *sys.argv[1:]])
        with terminal.progress("editing", unit="images") as show:
            told = _Told(show)
            summary = edit_run(
                folder,
                self.settings,
                self.workforce,
                command,
                seed=self.seed,
                on_start=told.start,
                on_outcome=told.add,
            )
        terminal.say(
            f"{summary.done} edited, {summary.skipped} done before, {summary.failed} failed; {summary.seconds:.1f} s"
        )
        return ImageError.exit_code if summary.failed else 0


@dataclass
class _Told:
    """Shows how a run goes on, and what failed."""

    show: Callable[[int, int], None]
    todo: int = 0
    ended: int = 0

    def start(self, todo: int, skipped: int) -> None:
        """Say what lies ahead, of one job more."""
        self.todo += todo
        self.show(self.ended, self.todo)

    def add(self, outcome: Outcome) -> None:
        """Tell of one edit."""
        self.ended += 1
        self.show(self.ended, self.todo)
        if outcome.error is not None:
            click.echo(f"error: {printable(outcome.error)}", err=True)

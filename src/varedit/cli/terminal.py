"""What the command line says besides its results: notes, progress and errors, all on stderr."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from varedit.errors import OutputError, VAREditError

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Terminal:
    """How much a call wants to hear; the object that click passes to every command."""

    quiet: bool = False
    verbose: bool = False

    def say(self, text: str) -> None:
        """One line for a person, unless they asked for silence."""
        if not self.quiet:
            click.echo(printable(text), err=True)

    def report(self, error: Exception) -> int:
        """Tell what went wrong in one sentence; returns the exit code."""
        if isinstance(error, click.Abort):
            sentence, code = "stopped", 130
        elif isinstance(error, click.UsageError) and error.ctx is not None:
            sentence, code = f"{_one_sentence(error.format_message())} See: {error.ctx.command_path} --help", 2
        elif isinstance(error, click.ClickException):
            sentence, code = error.format_message(), error.exit_code
        elif isinstance(error, VAREditError):
            sentence, code = str(error), error.exit_code
        elif _is_out_of_memory(error):
            sentence, code = "there is not enough memory for this; try a smaller picture, or --precision bfloat16", 70
        else:
            sentence, code = _unexpected(error), 70
        if self.verbose or os.environ.get("VAREDIT_DEBUG") == "1":
            traceback.print_exception(error)
        click.echo(f"error: {_one_sentence(sentence)}", err=True)
        return code

    @contextmanager
    def progress(self, label: str, *, unit: str | None = None) -> Iterator[Callable[[int, int], None]]:
        """A bar; the caller calls what it gets with (steps done, steps in all).

        With a unit, such as "images", it also tells how many pass in a second and how long the rest will take.
        Only on a terminal: in a log a bar is noise, and the closing line says the same.
        """
        if self.quiet or not sys.stderr.isatty():
            yield lambda done, total: None
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        name = TextColumn("{task.description}", markup=False)
        columns: list[ProgressColumn] = [name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
        if unit is not None:
            columns += [TextColumn(f"{{task.fields[speed]}} {unit}/s"), TimeRemainingColumn()]
        is_shared = sys.stdout.isatty()  # with the bar; else stdout is a file or a pipe, and stays one
        with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=is_shared) as progress:
            task = progress.add_task(printable(label), total=None, speed="-")

            def show(done: int, total: int) -> None:
                speed = progress.tasks[0].speed
                progress.update(task, completed=done, total=total, speed="-" if speed is None else f"{speed:.2f}")

            yield show


def talking(command: Command) -> Command:
    """Add --quiet and -v/--verbose to a command, and connect the library's log with stderr."""
    verbose = click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, is_eager=True, callback=_set_verbose,
        help="Log what happens, and show where an error comes from.",
    )  # fmt: skip
    quiet = click.option(
        "-q", "--quiet", is_flag=True, expose_value=False, is_eager=True, callback=_set_quiet,
        help="Say nothing but results and errors.",
    )  # fmt: skip
    return verbose(quiet(command))


def write_result(data: bytes) -> None:
    """Write to stdout, past its encoding. Raises OutputError where that fails, such as on a full disk."""
    try:
        click.echo(data, nl=False)
    except BrokenPipeError:
        raise  # a reader that has gone away is no error
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the final flush would fail again
        raise OutputError(f"stdout cannot be written: {error.strerror or error}") from error


def printable(text: str) -> str:
    """The text on one line and without control characters: names of files must not steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in " ".join(text.split()))


def _one_sentence(message: str) -> str:
    message = printable(message).strip()
    return message if message.endswith((".", "!", "?")) else f"{message}."


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; torch has words of its own for it, and need not be imported to know them."""
    is_torchs = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    return isinstance(error, MemoryError) or is_torchs


def _unexpected(error: Exception) -> str:
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{_one_sentence(told)} This is a bug in varedit; please report what -v or VAREDIT_DEBUG=1 shows."


def _set_verbose(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Terminal).verbose = value
    log = logging.getLogger("varedit")
    log.setLevel(logging.DEBUG if value else logging.WARNING)
    if not any(isinstance(handler, _ToStderr) for handler in log.handlers):
        log.addHandler(_ToStderr())


def _set_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Terminal).quiet = value


class _ToStderr(logging.Handler):
    """Writes to what stderr is now, not to what it was when the handler was made."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"{record.levelname.lower()}: {printable(record.getMessage())}", err=True)

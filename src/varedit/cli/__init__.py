"""The command line: finds the command, runs it, and turns every error into one sentence and an exit code.

Knows no command by its content: each lives in a module of its own that is imported when it is called. Nothing heavy is
imported before a command's body (spec "Command line").
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from varedit import __version__
from varedit.cli.terminal import Terminal
from varedit.freed_memory import keep_freed_memory

COMMANDS = {
    "edit": "varedit.cli.edit",
    "replay": "varedit.cli.replay",
    "provenance": "varedit.cli.provenance",
    "sign": "varedit.cli.sign",
    "serve": "varedit.cli.serve",
    "info": "varedit.cli.info",
    "convert": "varedit.cli.convert",
    "data": "varedit.cli.data",
    "train": "varedit.cli.train",
    "eval": "varedit.cli.eval",
    "inspect": "varedit.cli.inspect",
    "bench": "varedit.cli.bench",
}

# Of Python's searches for cyclic garbage among younger objects, how many come before one among all objects. While torch
# is imported there would be three of these, through up to 280,000 objects that stay; an edit leaves no such garbage.
RARELY = 100


class CommandLine(click.Group):
    """The group of all commands, and the one place where errors end."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; it is the object in its module that bears its name. None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command), f"{COMMANDS[cmd_name]} does not define the command {cmd_name}"
        return command

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run one command. Leaves the process with an exit code, or returns the code if not in standalone mode."""
        terminal = Terminal()
        try:
            result = super().main(
                args,
                prog_name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                obj=terminal,
                **extra,
            )
            code = result if isinstance(result, int) else 0
        except Exception as error:
            code = terminal.report(error)
        return sys.exit(code) if standalone_mode else code

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that has gone away (`varedit ... | head`) ends it quietly."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the final flush would complain
            raise click.exceptions.Exit(141) from None


@click.group(
    cls=CommandLine,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each command explains itself with examples: varedit edit --help.",
)
@click.version_option(__version__, prog_name="varedit")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Edit photographs by saying what to change.

    \b
    varedit edit photo.jpg "make it black and white" -o result.png
    varedit edit photo.jpg "add a red hat" -m models/2b-512 -o result.png
    varedit info

    Results go to stdout (the path of what was written, or one JSON object a line with --json), everything else to
    stderr. Exit codes: 0 done, 1 the edit failed, 2 wrong usage, 65 bad image, 66 input missing, 69 model not
    available, 70 a bug, 73 cannot write, 130 stopped by Ctrl-C.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Entry point of the ``varedit`` script."""
    prepare_process()
    try:
        cli(prog_name="varedit")
    finally:
        gc.freeze()  # or Python would search all objects once more before it ends


def prepare_process() -> None:
    """Settings of a process that does nothing but run a command."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries; what a person should know comes as a note or through the log
    keep_freed_memory()
    gc.set_threshold(*gc.get_threshold()[:2], RARELY)

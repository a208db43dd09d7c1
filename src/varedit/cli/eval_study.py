"""`varedit eval study` and `varedit eval study-results`: people compare edits on a page, and what they said."""

from __future__ import annotations

from pathlib import Path

import click

from varedit.cli.terminal import Terminal, talking


@click.command()
@click.argument("folders", metavar="DIR DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--store",
    default="study.sqlite",
    show_default=True,
    metavar="FILE|URL",
    help="Where answers are kept: a file of SQLite, or postgresql://USER@HOST/DATABASE.",
)
@click.option("--pairs", type=click.IntRange(1, 1000), default=60, show_default=True, help="Comparisons a rater.")
@click.option("--items", type=click.IntRange(1), default=None, help="Use so many items, spread over the categories.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of items, order and sides.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines in.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 is any free one.")
@talking
@click.pass_obj
def study(
    terminal: Terminal, /, folders: tuple[Path, ...], store: str, pairs: int, items: int | None, seed: int, host: str,
    port: int,
) -> None:  # fmt: skip
    """Serve a page on which people say which of two edits is better, without knowing whose they are.

    Each DIR holds one editor's results of the same benchmark, as varedit eval run lays them out. Every answer is stored
    the moment it is given; the same command again goes on where it stopped, and so does a rater with the same code.

    \b
    varedit eval study runs/mini runs/other --store study.sqlite
    varedit eval study-results study.sqlite
    """
    from varedit.evaluation.study.database import Database
    from varedit.evaluation.study.server import listening_socket, serve
    from varedit.evaluation.study.store import StudyStore
    from varedit.evaluation.study.study import Study, StudyChoice

    if len(folders) < 2:
        raise click.UsageError("give at least two folders", click.get_current_context())
    with StudyStore(Database(store)) as opened:
        with terminal.progress("reading pictures", unit="items") as show:
            running = Study.open(folders, opened, StudyChoice(pairs=pairs, items=items, seed=seed), show)
        with listening_socket(host, port) as listening:
            address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/"
            total = len(running.plan.trials(0))
            terminal.say(f"{len(running.plan.items)} items, {len(folders)} editors, {total} trials a rater")
            terminal.say(f"raters open {address} (Ctrl-C ends; answers are in {opened.name})")
            serve(running, listening)

"""`varedit eval report`: a page of a run, or of several beside each other."""

from __future__ import annotations

from pathlib import Path

import click

from varedit.cli.terminal import Terminal, talking, write_result


@click.command()
@click.argument("folders", metavar="DIR [DIR...]", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the files; older ones are replaced.  [default: the run itself; comparison, for several]",
)
@click.option("--by", metavar="MEASURE", help="What orders the pictures, such as balance or l1.  [default: as it fits]")
@click.option(
    "--pictures", type=click.IntRange(0, 1000), default=6, show_default=True, help="Items of each category to show."
)
@talking
@click.pass_obj
def report(
    terminal: Terminal, /, folders: tuple[Path, ...], output: Path | None, by: str | None, pictures: int
) -> None:
    """Make a page of what was measured of the run in DIR, or of several runs of one benchmark beside each other.

    Takes the numbers of `varedit eval score` and `varedit eval judge`. Writes report.html, which needs no other file,
    report.json and report.md; prints the path of the page. Of several runs the first is compared with each other one,
    on the items that both have.

    \b
    varedit eval report runs/pie
    varedit eval report runs/ours runs/theirs -o comparison --by balance
    """
    from varedit.evaluation.report_comparison import write_comparison
    from varedit.evaluation.report_files import write_run_report
    from varedit.evaluation.report_numbers import read_runs

    runs = read_runs(folders)
    with terminal.progress("drawing") as show:
        if len(runs) == 1:
            page = write_run_report(runs[0], output or folders[0], by=by, pictures=pictures, on_progress=show)
        else:
            page = write_comparison(runs, output or Path("comparison"), by=by, pictures=pictures, on_progress=show)
    write_result(f"{page}\n".encode())

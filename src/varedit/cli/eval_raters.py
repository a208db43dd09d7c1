"""`varedit eval agreement` and `varedit eval compare`: what the files of judges say of each other, and of editors."""

from __future__ import annotations

import json
from pathlib import Path

import click

from varedit.cli.terminal import printable, write_result

files_argument = click.argument(
    "files", metavar="FILE FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
json_option = click.option("--json", "as_json", is_flag=True, help="All numbers as one JSON object.")


@click.command()
@files_argument
@json_option
def agreement(files: tuple[Path, ...], as_json: bool) -> None:
    """Say how far judges of the same results agree, with each other or with people.

    Each FILE is one of varedit eval judge, or people's scores in the same form: {"items": {"ID": {"scores":
    {"success": 8}}}}. Below an alpha of 0.667 nothing can be concluded from the scores, above 0.8 they are good.

    \b
    varedit eval agreement runs/mini/judge-paper-qwen.json runs/mini/judge-paper-gpt.json people.json
    """
    from rich.console import Console

    from varedit.evaluation.judges.agreement import Ratings, agreement
    from varedit.evaluation.judges.report import interval_words, plain_table

    check_count(files)
    found = agreement([Ratings.read(file) for file in files])
    if as_json:
        write_result(json.dumps(found.to_json()).encode() + b"\n")
        return
    pairs = plain_table("score", "raters", "n", "equal", "within 1", "differ", "rho", "tau", "kappa")
    for pair in found.pairs:
        numbers = (pair.equal, pair.near, pair.difference, pair.spearman, pair.kendall, pair.kappa)
        shown = ["-" if number is None else f"{number:.2f}" for number in numbers]
        pairs.add_row(pair.score, f"{pair.first + 1}, {pair.second + 1}", str(pair.n), *shown)
    alphas = plain_table("score", "n", "Krippendorff's alpha")
    for score, alpha in found.alphas.items():
        alphas.add_row(score, *(("0", "-") if alpha is None else (str(alpha.n), interval_words(alpha))))
    alphas.caption = f"{numbered(files)}\ndiffer: mean of first minus second; rho: Spearman; tau: Kendall"
    Console().print(pairs, alphas)


@click.command()
@files_argument
@json_option
def compare(files: tuple[Path, ...], as_json: bool) -> None:
    """Compare the first editor with each other one, on the edits that both made, by one judge.

    Each FILE is one of varedit eval judge. The difference is first minus other, with its interval; p is adjusted for
    the number of comparisons; +/=/- counts the edits on which the first is better, as good, worse.

    \b
    varedit eval compare runs/mini/judge-paper-qwen.json runs/other/judge-paper-qwen.json
    """
    from rich.console import Console

    from varedit.evaluation.judges.agreement import Ratings, compare_editors
    from varedit.evaluation.judges.report import interval_words, plain_table

    check_count(files)
    found = compare_editors([Ratings.read(file) for file in files])
    if as_json:
        write_result(json.dumps([row.to_json() for row in found]).encode() + b"\n")
        return
    table = plain_table("score", "against", "n", "difference", "p", "+/=/-", "")
    table.caption = numbered(files)
    for row in found:
        told = row.comparison
        counts = f"{told.wins}/{told.ties}/{told.losses}"
        n, difference = str(told.difference.n), interval_words(told.difference)
        table.add_row(row.score, str(row.second + 1), n, difference, f"{row.adjusted_p:.4f}", counts, told.words)
    Console().print(table)


def numbered(files: tuple[Path, ...]) -> str:
    """The files by the numbers that a table calls them."""
    return "\n".join(f"{number}: {printable(str(file))}" for number, file in enumerate(files, start=1))


def check_count(files: tuple[Path, ...]) -> None:
    """Raises a usage error for fewer than two files."""
    if len(files) < 2:
        raise click.UsageError("give at least two files", click.get_current_context())

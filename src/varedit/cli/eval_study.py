"""`varedit eval study` and `varedit eval study-results`: people compare edits on a page, and what they said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from varedit.cli.terminal import Terminal, printable, talking, write_result

if TYPE_CHECKING:
    from varedit.evaluation.study.judged import JudgeAgreement
    from varedit.evaluation.study.results import StudyResults


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


@click.command("study-results")
@click.argument("store", metavar="FILE|URL")
@click.option(
    "--judge",
    "judges",
    multiple=True,
    metavar="NAME",
    help="A file of varedit eval judge that every editor's folder has; may be given several times.",
)
@click.option("--all-raters", is_flag=True, help="Count raters too who failed the checks or hurried.")
@click.option("--json", "as_json", is_flag=True, help="All numbers as one JSON object.")
@talking
@click.pass_obj
def study_results(terminal: Terminal, /, store: str, judges: tuple[str, ...], all_raters: bool, as_json: bool) -> None:
    """Say what the raters of a study found, and if judges see the same; a study may still be running.

    Strengths are those of Bradley and Terry, with 95 % intervals; a difference of 1 means that the stronger one is
    preferred 73 times in 100. Raters are left out who fail more than one check in five, or take less than 3 seconds a
    pair.

    \b
    varedit eval study-results study.sqlite
    varedit eval study-results study.sqlite --judge judge-paper-qwen.json --json
    """
    from varedit.evaluation.study.database import Database
    from varedit.evaluation.study.judged import judge_agreement
    from varedit.evaluation.study.results import counted_answers, study_results
    from varedit.evaluation.study.store import StudyStore

    with StudyStore(Database(store, must_exist=True)) as opened:
        facts, answers = opened.facts(), opened.answers()
    results = study_results(answers, keep_all=all_raters)
    counted = counted_answers(answers, results.raters, keep_all=all_raters)
    folders = {editor: Path(folder) for editor, folder in facts["folders"].items()}
    judged = [row for judge in judges for row in judge_agreement(counted, folders, judge)]
    if as_json:
        numbers = {"study": facts, **results.to_json(), "judges": [row.to_json() for row in judged]}
        write_result(json.dumps(numbers, ensure_ascii=False).encode() + b"\n")
        return
    tell_results(results, judged)
    for rater in results.raters:
        if rater.reasons:
            terminal.say(f"{'counted all the same' if all_raters else 'left out'}: {rater.code} {_and(rater.reasons)}")


def tell_results(results: StudyResults, judged: Sequence[JudgeAgreement]) -> None:
    """Write tables to stdout."""
    from rich.console import Console

    from varedit.evaluation.judges.report import interval_words, plain_table

    console = Console()
    for question, result in results.questions.items():
        table = plain_table(question, "n", "strength", "preferred")
        for editor, strength in result.ranking.strengths.items():
            wins = sum(count for (winner, _), count in result.ranking.wins.items() if winner == editor)
            preferred = f"{100 * wins / strength.n:.0f} %"
            table.add_row(printable(editor), str(strength.n), interval_words(strength), preferred)
        choices = ", ".join(f"{choice} {count}" for choice, count in result.choices.items())
        alpha = "-" if result.alpha is None else interval_words(result.alpha)
        table.caption = f"answers: {choices}\nKrippendorff's alpha between raters: {alpha}\n"
        console.print(table)
    raters = plain_table("rater", "trials", "checks", "same again", "seconds")
    for rater in results.raters:
        again = "-" if rater.consistency is None else f"{100 * rater.consistency:.0f} %"
        seconds = "-" if rater.median_seconds is None else f"{rater.median_seconds:.1f}"
        raters.add_row(rater.code, str(rater.trials), f"{rater.passed}/{rater.checks}", again, seconds)
    console.print(raters)
    if judged:
        table = plain_table("judge", "question", "same side", "abstained", "rho", "alpha")
        for row in judged:
            rho = "-" if row.pair.spearman is None else f"{row.pair.spearman:.2f}"
            alpha = "-" if row.alpha is None else interval_words(row.alpha)
            sides = f"{row.right}/{row.decided}"
            table.add_row(printable(row.judge), f"{row.question} ({row.score})", sides, str(row.abstained), rho, alpha)
        console.print(table)


def _and(reasons: Sequence[str]) -> str:
    return " and ".join(reasons)

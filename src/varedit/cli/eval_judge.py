"""`varedit eval judge`: scores from a model that looks at the pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from varedit.cli.terminal import Terminal, printable, talking, write_result

if TYPE_CHECKING:
    from varedit.evaluation.judges.costs import Budget
    from varedit.evaluation.judges.judge import Plan
    from varedit.evaluation.judges.report import JudgedRun

ANSWERS = "judge-answers.sqlite"


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--endpoint", required=True, metavar="URL", help="Speaks OpenAI's protocol: http://localhost:8000/v1.")
@click.option("--model", required=True, metavar="NAME", help="The judge's name at the endpoint.")
@click.option(
    "--scheme",
    type=click.Choice(["paper", "imgedit", "gedit"]),
    default="paper",
    show_default=True,
    help="Success, over-editing and their balance; or the scores of ImgEdit-Bench; or those of GEdit-Bench.",
)
@click.option("--dry-run", is_flag=True, help="Ask nothing: show the first question, count calls, tokens and cost.")
@click.option("--workers", type=click.IntRange(1, 256), default=8, show_default=True, help="Calls in flight.")
@click.option("--timeout", type=click.FloatRange(1, 3600), default=120.0, show_default=True, help="Seconds of silence.")
@click.option(
    "--price", type=(float, float), default=None, metavar="IN OUT", help="Of a million tokens read and written."
)
@click.option(
    "--budget", type=click.FloatRange(0), default=None, help="What this run may cost; it stops before that is passed."
)
@click.option(
    "--answers",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help=f"Where every answer is kept; DIR/{ANSWERS} if not given.",
)
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object instead of the table.")
@talking
@click.pass_obj
def judge(
    terminal: Terminal, /, folder: Path, endpoint: str, model: str, scheme: str, dry_run: bool, workers: int,
    timeout: float, price: tuple[float, float] | None, budget: float | None, answers: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Have a vision model judge the results in DIR, as varedit eval run lays them out, from whatever editor.

    Answers are kept: the same command again, after whatever end, asks only what is still open. An edit without a
    usable answer has no score; it is counted and named. The key of a hosted model is read from VAREDIT_JUDGE_KEY.

    \b
    varedit eval judge runs/mini --endpoint http://localhost:8000/v1 --model Qwen/Qwen3-VL-8B-Instruct
    varedit eval judge runs/mini --endpoint URL --model NAME --price 2.5 10 --budget 20 --dry-run
    """
    import os

    from varedit.evaluation.judges.controls import NAME, Trial
    from varedit.evaluation.judges.costs import Budget, Price
    from varedit.evaluation.judges.endpoint import ChatEndpoint
    from varedit.evaluation.judges.judge import Judge
    from varedit.evaluation.judges.questions import edits_of
    from varedit.evaluation.judges.report import judged_run
    from varedit.evaluation.judges.schemes import SCHEMES
    from varedit.evaluation.judges.store import ReplyStore
    from varedit.evaluation.run_folder import RunFolder

    money = Budget(None if price is None else Price(*price), budget)
    chat = ChatEndpoint(endpoint, os.environ.get("VAREDIT_JUDGE_KEY") or None, timeout)
    edits = edits_of(RunFolder(folder))
    kept = answers or folder / ANSWERS
    with ReplyStore(kept if kept.exists() or not dry_run else None) as store:
        asking = Judge(SCHEMES[scheme], model, store, chat, money, workers)
        if dry_run:
            with terminal.progress("reading pictures", unit="edits") as show:
                tell_plan(terminal, asking.plan(edits, show), money, as_json)
            return
        with terminal.progress(f"asking {model}", unit="edits") as show:
            verdicts = asking.judge(edits, show)
        run = judged_run(asking, verdicts, folder)
    path = run.write(folder)
    tell_run(terminal, run, as_json)
    if RunFolder(folder).benchmark().get("name") == NAME and run.judged:
        trial = Trial.of(run.to_json())
        terminal.say(trial.failure or trial.words)
    terminal.say(f"numbers: {path}")


def tell_plan(terminal: Terminal, plan: Plan, budget: Budget, as_json: bool) -> None:
    """Write a dry run to stdout."""
    cost = None if budget.price is None else budget.price.of(plan.prompt_tokens, plan.completion_tokens)
    if as_json:
        numbers = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
        write_result(json.dumps({**numbers, "cost_at_most": cost}, ensure_ascii=False).encode() + b"\n")
        return
    lines = [
        f"calls to make: {plan.calls} ({plan.kept} more are answered already)",
        f"edits without a readable picture: {plan.without_picture}",
        f"tokens: about {plan.prompt_tokens} to read, at most {plan.completion_tokens} to write",
        "cost: unknown without --price" if cost is None else f"cost: about {cost:.4g} at most",
    ]
    if plan.example is not None:
        lines += ["the first call:", json.dumps(plan.example, indent=1, ensure_ascii=False)]
    write_result("\n".join(lines).encode() + b"\n")


def tell_run(terminal: Terminal, run: JudgedRun, as_json: bool) -> None:
    """Write the numbers to stdout, and what is missing from them to stderr."""
    if as_json:
        write_result(json.dumps(run.to_json(), ensure_ascii=False).encode() + b"\n")
    else:
        from rich.console import Console

        Console().print(run.table())
    counts, usage = run.counts, run.facts["usage"]["this_run"]
    missing = [f"{counts[state]} {state}" for state in ("unanswered", "no picture", "open") if counts[state]]
    terminal.say(f"{counts['judged']} edits judged" + "".join(f", {words}" for words in missing))
    for verdict in [verdict for verdict in run.verdicts if verdict.reason is not None][:10]:
        terminal.say(f"{printable(verdict.edit.id)}: {verdict.reason}")
    if run.is_suspicious:
        terminal.say("more than 1 % of the edits are unanswered: the means may be those of the easy ones")
    tokens = f"{usage['prompt_tokens']} tokens read, {usage['completion_tokens']} written"
    cost = run.facts["usage"]["cost_this_run"]
    terminal.say(f"{usage['replies']} replies paid, {tokens}" + ("" if cost is None else f", cost {cost:.4g}"))

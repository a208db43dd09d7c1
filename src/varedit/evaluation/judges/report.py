"""From verdicts to numbers with intervals, and the file that holds them with everything they rest on."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from varedit import __version__
from varedit.evaluation.files import write_report
from varedit.evaluation.judges.costs import Budget, Usage
from varedit.evaluation.judges.endpoint import ChatEndpoint
from varedit.evaluation.judges.judge import PARAMETERS, Judge, Verdict
from varedit.evaluation.judges.schemes import Scheme
from varedit.evaluation.statistics import Interval, mean_interval, mean_of_means

if TYPE_CHECKING:
    from rich.table import Table

SUSPICIOUS_SHARE = 0.01  # of edits without an answer; beyond it a mean may be of the easy ones only
STATES = ("judged", "unanswered", "no picture", "open")


@dataclass(frozen=True)
class JudgedRun:
    """All verdicts on one editor's results."""

    scheme: Scheme
    verdicts: Sequence[Verdict]
    facts: Mapping[str, Any]

    @property
    def judged(self) -> list[Verdict]:
        """Those that count."""
        return [verdict for verdict in self.verdicts if verdict.state == "judged"]

    @property
    def counts(self) -> dict[str, int]:
        """Edits by state."""
        return {state: sum(verdict.state == state for verdict in self.verdicts) for state in STATES}

    @property
    def is_suspicious(self) -> bool:
        """Whether so many edits are unanswered that the means may be off."""
        answered = self.counts["judged"] + self.counts["unanswered"]
        return self.counts["unanswered"] > SUSPICIOUS_SHARE * answered

    def categories(self) -> dict[str, dict[str, Interval]]:
        """By category, then by score; edits of one source are drawn together."""
        found = {}
        for category in sorted({verdict.edit.category for verdict in self.judged}):
            members = [verdict for verdict in self.judged if verdict.edit.category == category]
            found[category] = {name: _mean(name, members) for name in self.scheme.score_names}
        return found

    def overall(self) -> dict[str, Interval]:
        """By score, as the scheme's publication counts; empty if nothing was judged."""
        members = [verdict for verdict in self.judged if verdict.edit.category not in self.scheme.apart] or self.judged
        if not members:
            return {}
        if self.scheme.overall == "edits":
            return {name: _mean(name, members) for name in self.scheme.score_names}
        return {name: mean_of_means(_by_category(name, members)) for name in self.scheme.score_names}

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            **self.facts,
            "counts": {"edits": len(self.verdicts), **self.counts},
            "is_suspicious": self.is_suspicious,
            "overall": {name: asdict(interval) for name, interval in self.overall().items()},
            "categories": {
                category: {name: asdict(interval) for name, interval in scores.items()}
                for category, scores in self.categories().items()
            },
            "items": {verdict.edit.id: _item(verdict) for verdict in self.verdicts},
        }

    def write(self, folder: Path) -> Path:
        """Write judge-SCHEME-MODEL.json in place of an older one; returns its path. Raises OutputError."""
        model = re.sub(r"[^A-Za-z0-9._-]+", "-", str(self.facts["judge"]["model"])).strip("-.") or "model"
        path = folder / f"judge-{self.scheme.name}-{model}.json"
        write_report(path, json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n")
        return path

    def table(self) -> Table:
        """The means with their intervals, a category a row; 80 characters wide."""
        table = plain_table("category", "n", *self.scheme.score_names)
        rows = {"all": self.overall(), **self.categories()} if self.judged else {}
        for category, scores in rows.items():
            n = next(iter(scores.values())).n
            table.add_row(category, str(n), *(interval_words(interval) for interval in scores.values()))
        return table


def judged_run(judge: Judge, verdicts: Sequence[Verdict], folder: Path) -> JudgedRun:
    """What a judge made of a folder of results."""
    assert judge.endpoint is not None, "a judge without endpoint has no verdicts"
    facts = {
        "judge": judge_facts(judge, judge.endpoint),
        "results": str(folder),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "varedit": __version__,
        "usage": usage_facts(verdicts, judge.budget),
    }
    return JudgedRun(judge.scheme, verdicts, facts)


def judge_facts(judge: Judge, endpoint: ChatEndpoint) -> dict[str, Any]:
    """Who judged, and by what."""
    return {
        "scheme": judge.scheme.name,
        "model": judge.model,
        "endpoint": endpoint.url,
        "parameters": PARAMETERS,
        "parameters_left_out": sorted(endpoint.dropped),
    }


def usage_facts(verdicts: Sequence[Verdict], budget: Budget) -> dict[str, Any]:
    """Tokens of this run and of what was in the store, and what they cost; the cost is None without a price."""
    paid = sum((verdict.paid for verdict in verdicts), Usage())
    kept = sum((verdict.kept for verdict in verdicts), Usage())
    every = paid + kept
    price = budget.price
    return {
        "this_run": asdict(paid),
        "from_store": asdict(kept),
        "cost_this_run": None if price is None else budget.spent,
        "cost_of_all": None if price is None else price.of(every.prompt_tokens, every.completion_tokens),
    }


def interval_words(interval: Interval) -> str:
    """Such as "7.89 [7.61, 8.15]"."""
    if interval.low is None or interval.high is None:
        return f"{interval.value:.2f}"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def plain_table(*headings: str) -> Table:
    """A table without lines, whose first column is of words and the others of numbers."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", caption_justify="left")
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="left" if heading == headings[0] else "right")
    return table


def _score(verdict: Verdict, name: str) -> float:
    assert verdict.scores is not None, "only judged edits have scores"
    return verdict.scores[name]


def _mean(name: str, verdicts: Sequence[Verdict]) -> Interval:
    return mean_interval([_score(verdict, name) for verdict in verdicts], [verdict.source for verdict in verdicts])


def _by_category(name: str, verdicts: Sequence[Verdict]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.edit.category, []).append(_score(verdict, name))
    return found


def _item(verdict: Verdict) -> dict[str, Any]:
    return {
        "category": verdict.edit.category,
        "state": verdict.state,
        "reason": verdict.reason,
        "source": verdict.source,
        "scores": None if verdict.scores is None else dict(verdict.scores),
        "answers": {name: asdict(answer) for name, answer in verdict.answers.items()},
    }

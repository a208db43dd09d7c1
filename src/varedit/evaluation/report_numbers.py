"""What is known of a run, read from its folder: its items, their scores, what judges said, and the intervals of both.

Measures nothing itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from varedit.errors import InputMissing, UsageError
from varedit.evaluation.metric_names import INSIDE, OUTSIDE, is_better_low, metric_digits, network_of
from varedit.evaluation.run_folder import SCORE_ROWS, SCORES, RunFolder, RunItem
from varedit.evaluation.statistics import Interval

JUDGE_DIGITS = 2
_PREFERRED = ("balance", "overall", "score", "clip_direction", "dino", "ssim")  # to order pictures by, if there


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number of each item.

    Attributes:
        name: of the metric, or of the judge's score.
        judge: the model that judged; None for metrics.
        scheme: of the judge; None for metrics.
        through: weights of the network that the metric looks through; None if there is none.
        overall: as its own file counts it; None where no item has a number.
        categories: by category.
        values: by item.
    """

    name: str
    judge: str | None = None
    scheme: str | None = None
    through: str | None = None
    overall: Interval | None
    categories: Mapping[str, Interval]
    values: Mapping[str, float]

    @property
    def key(self) -> str:
        """Unlike all others of the run, and alike in other runs that were measured in the same way."""
        return self.name if self.judge is None else f"{self.name} ({self.judge})"

    @property
    def is_part(self) -> bool:
        """Whether it is of the inside or the outside of the mask."""
        return self.judge is None and self.name.endswith((INSIDE, OUTSIDE))

    @property
    def is_better_low(self) -> bool:
        """Whether a smaller number is a better one."""
        return self.judge is None and is_better_low(self.name)

    @property
    def heading(self) -> str:
        """The key, and an arrow that points to where it is better."""
        return f"{self.key} {'↓' if self.is_better_low else '↑'}"

    @property
    def digits(self) -> int:
        """Digits behind the point."""
        return JUDGE_DIGITS if self.judge is not None else metric_digits(self.name)

    def number(self, value: float) -> str:
        """A value of it as text."""
        return f"{value:.{self.digits}f}"

    def words(self, interval: Interval | None) -> str:
        """Such as "7.89 [7.61, 8.15]"."""
        if interval is None:
            return "-"
        if interval.low is None or interval.high is None:
            return self.number(interval.value)
        return f"{self.number(interval.value)} [{self.number(interval.low)}, {self.number(interval.high)}]"

    def is_comparable(self, other: Measure) -> bool:
        """Whether numbers of both were made in the same way."""
        mine, theirs = ((each.key, each.scheme, each.through) for each in (self, other))
        return mine == theirs


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """A run with everything that was measured of it.

    Attributes:
        label: what it is called beside others.
        items: all, in the benchmark's order.
        measures: by key; judges' scores first.
        origins: by item, what its source comes from; items of one origin are not independent.
        reasons: by item, what the first judge said.
        missing: by item, why it has no number, as a sentence.
        facts: what the numbers rest on, as JSON values.
        warnings: sentences that a reader of the numbers must know.
    """

    folder: RunFolder
    label: str
    items: Sequence[RunItem]
    measures: Mapping[str, Measure]
    origins: Mapping[str, str]
    reasons: Mapping[str, str]
    missing: Mapping[str, str]
    facts: Mapping[str, Any]
    warnings: Sequence[str]

    @classmethod
    def read(cls, path: Path, label: str | None = None) -> Self:
        """Read a run. Raises InputMissing where there is none, nothing was measured yet, or a file is damaged."""
        run = RunFolder(path)
        items = run.items()
        scores, rows = _json(path / SCORES), _json_lines(path / SCORE_ROWS)
        judged = [_json(file) for file in sorted(path.glob("judge-*.json"))]
        if not scores and not judged:
            raise InputMissing(f"{path} has no scores. Make them with: varedit eval score {path}")
        try:
            found = [measure for report in judged for measure in _judge_measures(report)]
            found += _metric_measures(scores, rows)
            origins = {item: str(row["source"]) for report in judged for item, row in report["items"].items()}
            origins |= {row["id"]: row["origin"] for row in rows if row["origin"]}
            reasons = _reasons(judged[0]["items"]) if judged else {}
            facts = _facts(run, scores, judged)
            warnings = [_suspicion(report) for report in judged if report["is_suspicious"]]
            missing = _missing(scores, judged)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputMissing(
                f"the scores in {path} are damaged or of an older version ({error!r}). Make them again with: "
                "varedit eval score, and varedit eval judge"
            ) from error
        return cls(
            folder=run,
            label=label or path.resolve().name,
            items=items,
            measures={measure.key: measure for measure in found},
            origins={item.id: origins.get(item.id, item.id) for item in items},
            reasons=reasons,
            missing=missing,
            facts=facts,
            warnings=warnings,
        )

    @property
    def categories(self) -> list[str]:
        """All, in the order in which they first come."""
        return list(dict.fromkeys(item.category for item in self.items))

    @property
    def editor(self) -> str:
        """The model that made the results, or the run's label where other hands made them."""
        editor = self.facts["editor"]
        return self.label if editor is None else str(editor["model"]["name"])

    def measure(self, name: str | None) -> Measure:
        """A measure by its key or its name; of None the one that says most. Raises UsageError for an unknown one."""
        for wanted in _PREFERRED if name is None else (name,):
            for measure in self.measures.values():
                if wanted in (measure.key, measure.name) and measure.values:
                    return measure
        if name is None:
            return next(iter(self.measures.values()))
        raise UsageError(f"{self.label} has no measure {name!r}; it has {', '.join(self.measures)}.")


def read_runs(paths: Sequence[Path]) -> list[MeasuredRun]:
    """Runs under labels of their own: the names of their folders, or the paths where two share a name.

    Raises: InputMissing; UsageError for a folder that is named twice.
    """
    names = [path.resolve().name for path in paths]
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("a run is named twice; name each once.")
    labels = [str(path) if names.count(name) > 1 else name for path, name in zip(paths, names, strict=True)]
    return [MeasuredRun.read(path, label) for path, label in zip(paths, labels, strict=True)]


def _judge_measures(report: Mapping[str, Any]) -> list[Measure]:
    judge, items = report["judge"], report["items"]
    return [
        Measure(
            name=name,
            judge=judge["model"],
            scheme=judge["scheme"],
            overall=Interval(**overall),
            categories={category: Interval(**scores[name]) for category, scores in report["categories"].items()},
            values={item: row["scores"][name] for item, row in items.items() if row["scores"] is not None},
        )
        for name, overall in report["overall"].items()
    ]


def _metric_measures(report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Measure]:
    if not report:
        return []
    found = []
    for name, overall in report["metrics"].items():
        network = network_of(name)
        through = None if network is None else json.dumps(report["networks"][network])
        categories = {
            category: interval
            for category, means in report["categories"].items()
            if name in means and (interval := _interval(means[name])) is not None
        }
        values = {row["id"]: value for row in rows if (value := row["scores"].get(name)) is not None}
        found.append(
            Measure(name=name, through=through, overall=_interval(overall), categories=categories, values=values)
        )
    return found


def _interval(mean: Mapping[str, Any]) -> Interval | None:
    return None if mean["mean"] is None else Interval(mean["mean"], mean["low"], mean["high"], mean["items"])


def _reasons(items: Mapping[str, Any]) -> dict[str, str]:
    said = {item: " ".join(answer["reasoning"] for answer in row["answers"].values()) for item, row in items.items()}
    return {item: words for item, words in said.items() if words}


def _missing(scores: Mapping[str, Any], judged: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Scores name what has no result; judges, what they gave no answer to."""
    found: dict[str, str] = dict(scores.get("missing", {}))
    for report in judged:
        for item, row in report["items"].items():
            if row["reason"] is not None:
                found.setdefault(item, f"{report['judge']['model']}: {row['reason']}")
    return found


def _suspicion(report: Mapping[str, Any]) -> str:
    counts = report["counts"]
    return (
        f"{report['judge']['model']} gave no usable answer to {counts['unanswered']} of {counts['edits']} edits: "
        "its means may be those of the easy ones."
    )


def _facts(run: RunFolder, scores: Mapping[str, Any], judged: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    scored = {name: scores[name] for name in ("networks", "date", "versions", "items", "scored", "resized") if scores}
    judges = [{**report["judge"], "date": report["date"], "counts": report["counts"]} for report in judged]
    return {"benchmark": run.benchmark(), "editor": run.editor(), "scores": scored or None, "judges": judges}


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputMissing(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not isinstance(values, dict):
        raise InputMissing(f"{path} is no JSON object.")
    return values


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """A JSON object a line; empty where there is no such file."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise InputMissing(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error

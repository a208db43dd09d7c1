"""A study on disk: its plan, who takes part, and every answer as it was given."""

from __future__ import annotations

import datetime
import json
import secrets
from dataclasses import dataclass
from typing import Any, Self

from varedit.errors import InputMissing, OutputError
from varedit.evaluation.study.database import Database
from varedit.evaluation.study.plan import Kind, StudyPlan, Trial

_VERSION = "1"
_TABLES = (
    "CREATE TABLE IF NOT EXISTS study_facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS study_raters (
        code TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, joined_at TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS study_answers (
        code TEXT NOT NULL REFERENCES study_raters (code), trial INTEGER NOT NULL, question TEXT NOT NULL,
        choice TEXT NOT NULL, seconds DOUBLE PRECISION NOT NULL, kind TEXT NOT NULL, item TEXT NOT NULL,
        left_editor TEXT NOT NULL, right_editor TEXT NOT NULL, stored_at TEXT NOT NULL,
        PRIMARY KEY (code, trial, question))""",
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a rater said to one question about one trial.

    Attributes:
        code: the rater's.
        number: of the trial among the rater's, from 0.
        choice: a key of `plan.CHOICES`.
        seconds: from when the pictures were there.
    """

    code: str
    number: int
    question: str
    choice: str
    seconds: float
    trial: Trial


class StudyStore:
    """One study in one database; see `Database` for addresses and errors."""

    def __init__(self, database: Database) -> None:
        """Make the tables where there are none. Raises OutputError, also for a store of another version."""
        self._database = database
        try:
            for table in _TABLES:
                self._database.execute(table)
            if self._fact_or("version", _VERSION) != _VERSION:
                raise OutputError(f"{database.name} was written by another version of varedit. Give another --store.")
        except BaseException:
            database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    @property
    def name(self) -> str:
        """Where it is, without a password."""
        return self._database.name

    @property
    def key(self) -> str:
        """A secret from which the addresses of pictures are made."""
        return self._fact_or("key", secrets.token_hex(32))

    def plan(self) -> StudyPlan | None:
        """The study's plan; None before there is one."""
        value = self._fact("plan")
        return None if value is None else StudyPlan.from_json(json.loads(value))

    def facts(self) -> dict[str, Any]:
        """What was kept with the plan. Raises InputMissing where there is no study yet."""
        value = self._fact("facts")
        if value is None:
            raise InputMissing(f"there is no study in {self.name}; begin one with: varedit eval study.")
        facts: dict[str, Any] = json.loads(value)
        return facts

    def begin(self, plan: StudyPlan, facts: dict[str, Any]) -> StudyPlan:
        """Keep a plan and what belongs to it; returns the plan that counts, the first one that was kept."""
        self._fact_or("facts", json.dumps(facts, ensure_ascii=False))
        return StudyPlan.from_json(json.loads(self._fact_or("plan", json.dumps(plan.to_json(), ensure_ascii=False))))

    def joined(self, code: str) -> int:
        """The number of a rater, who is entered if new."""
        while (number := self.number(code)) is None:  # again where another rater took the number meanwhile
            self._database.execute(
                "INSERT INTO study_raters (code, number, joined_at) SELECT ?, COUNT(*), ? FROM study_raters WHERE true"
                " ON CONFLICT DO NOTHING",
                [code, _now()],
            )
        return number

    def number(self, code: str) -> int | None:
        """The number of a rater, from 0 in the order of coming; None for an unknown code."""
        rows = self._database.execute("SELECT number FROM study_raters WHERE code = ?", [code])
        return int(rows[0][0]) if rows else None

    def keep(self, answer: Answer) -> None:
        """Keep an answer; on the disk when this returns. A changed mind replaces what was said before."""
        trial = answer.trial
        values = [answer.code, answer.number, answer.question, answer.choice, answer.seconds]
        self._database.execute(
            "INSERT INTO study_answers (code, trial, question, choice, seconds, kind, item, left_editor, right_editor,"
            " stored_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (code, trial, question) DO UPDATE SET"
            " choice = excluded.choice, seconds = excluded.seconds, stored_at = excluded.stored_at",
            [*values, trial.kind, trial.item, trial.left, trial.right, _now()],
        )

    def answers(self, code: str | None = None) -> list[Answer]:
        """All answers of all raters, or of one."""
        rows = self._database.execute(
            "SELECT a.code, trial, question, choice, seconds, kind, item, left_editor, right_editor"
            " FROM study_answers a JOIN study_raters r ON r.code = a.code"
            " WHERE CAST(? AS TEXT) IS NULL OR a.code = ? ORDER BY r.number, trial, question",
            [code, code],
        )
        return [
            Answer(code=code, number=number, question=question, choice=choice, seconds=seconds, trial=_trial(*shown))
            for code, number, question, choice, seconds, *shown in rows
        ]

    def _fact(self, name: str) -> str | None:
        rows = self._database.execute("SELECT value FROM study_facts WHERE name = ?", [name])
        return str(rows[0][0]) if rows else None

    def _fact_or(self, name: str, value: str) -> str:
        """What is kept under a name; the value, kept from now on, where there is nothing."""
        self._database.execute(
            "INSERT INTO study_facts (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", [name, value]
        )
        kept = self._fact(name)
        assert kept is not None, "it was inserted, or was there"
        return kept


def _trial(kind: Kind, item: str, left: str, right: str) -> Trial:
    return Trial(kind, item, left, right)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")

"""Every reply that was ever paid for, on disk in SQLite, by what was asked: no question is paid for twice.

A reply is stored as it came, the moment it came. What it says is read again on every run, so a better reader costs
nothing.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from varedit.errors import OutputError

_VERSION = 1
_TABLE = """CREATE TABLE IF NOT EXISTS replies (
    question TEXT NOT NULL, attempt INTEGER NOT NULL, reply TEXT NOT NULL, seconds REAL NOT NULL,
    stored_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (question, attempt)
) WITHOUT ROWID"""


class ReplyStore:
    """Replies by question and attempt; threads and processes may share a file."""

    def __init__(self, path: Path | None) -> None:
        """Open the file or make it; None keeps nothing beyond this object. Raises OutputError."""
        self.path = path
        self._lock = threading.Lock()
        with self._told():
            self._connection = sqlite3.connect(
                path or ":memory:", timeout=60, check_same_thread=False, isolation_level=None
            )
        try:
            with self._told():
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")  # a reply is money
                self._connection.execute(_TABLE)
                self._check_version()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def replies(self, question: str) -> list[str]:
        """What came back on each attempt so far, the first one first."""
        with self._lock, self._told():
            rows = self._connection.execute("SELECT reply FROM replies WHERE question = ? ORDER BY attempt", [question])
            return [reply for (reply,) in rows]

    def add(self, question: str, attempt: int, reply: str, seconds: float) -> None:
        """Keep a reply; on the disk when this returns. An earlier one of the same attempt stays."""
        with self._lock, self._told():
            self._connection.execute(
                "INSERT OR IGNORE INTO replies (question, attempt, reply, seconds) VALUES (?, ?, ?, ?)",
                [question, attempt, reply, seconds],
            )

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _check_version(self) -> None:
        (found,) = self._connection.execute("PRAGMA user_version").fetchone()
        if found not in (0, _VERSION):
            raise OutputError(f"{self.path} was written by another version of varedit. Give another file.")
        self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OutputError(f"the judge's answers cannot be kept in {self.path}: {error}.") from error

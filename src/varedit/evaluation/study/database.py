"""The few things that a study asks of a database, of SQLite in a file or of PostgreSQL behind an address.

Statements are written once, with ``?`` for values. Each is a transaction of its own, and is on the disk when `execute`
returns.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from varedit.errors import InputMissing, MissingExtra, OutputError

_SCHEMES = ("postgresql://", "postgres://")
Row = tuple[Any, ...]


class Database:
    """A connection that threads may share; one that broke is made anew at the next statement."""

    def __init__(self, address: str, *, must_exist: bool = False) -> None:
        """Connect.

        Args:
            address: a file's path, or postgresql://USER@HOST/DATABASE.
            must_exist: whether a missing file is an error; else it is made.

        Raises: OutputError, InputMissing; MissingExtra without psycopg.
        """
        is_postgres = address.startswith(_SCHEMES)
        if must_exist and not is_postgres and not Path(address).is_file():
            raise InputMissing(f"there is no study in {address}; it is the file that varedit eval study --store named.")
        self.name = _without_password(address) if is_postgres else address
        self._lock = threading.Lock()
        self._driver: _Driver = _Postgres(address) if is_postgres else _SQLite(address)
        self._connection: Any = None
        self.execute("SELECT 1")

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run a statement; its rows, if it has any. Raises OutputError."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._driver.connect()
                return self._driver.run(self._connection, statement, values)
            except self._driver.error as error:
                self._drop()
                reason = " ".join(str(error).split()) or type(error).__name__
                raise OutputError(f"the study's answers cannot be kept in {self.name}: {reason}.") from error

    def close(self) -> None:
        """Let go of the file, or hang up."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _Driver(Protocol):
    """What differs between the two."""

    error: type[Exception]

    def connect(self) -> Any: ...

    def run(self, connection: Any, statement: str, values: Sequence[Any]) -> list[Row]: ...


class _SQLite:
    """In write-ahead mode, every commit forced to the disk: what the page calls stored survives a power cut."""

    error: type[Exception] = sqlite3.Error

    def __init__(self, path: str) -> None:
        self._path = path

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=60, check_same_thread=False, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def run(self, connection: sqlite3.Connection, statement: str, values: Sequence[Any]) -> list[Row]:
        return connection.execute(statement, values).fetchall()


class _Postgres:
    """Through psycopg, waiting for the disk at every commit whatever the server's default is."""

    def __init__(self, address: str) -> None:
        try:
            import psycopg
        except ModuleNotFoundError as error:
            raise MissingExtra("a study in PostgreSQL", "postgres") from error
        self.error: type[Exception] = psycopg.Error
        self._address = address
        self._connect: Callable[..., Any] = psycopg.connect

    def connect(self) -> Any:
        options = "-c synchronous_commit=on -c client_min_messages=warning"
        return self._connect(
            self._address, autocommit=True, connect_timeout=10, client_encoding="UTF8", options=options
        )

    def run(self, connection: Any, statement: str, values: Sequence[Any]) -> list[Row]:
        cursor = connection.execute(statement.replace("?", "%s"), values)
        return cursor.fetchall() if cursor.description else []


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    return f"postgresql://{parts.hostname or ''}{parts.path}"

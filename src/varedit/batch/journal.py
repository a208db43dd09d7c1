"""The journal of a job: what is done, so that the same command again goes on where it stopped.

`edits-done.jsonl` in the folder of results has a line for the job (its seed) and one for each edit that was finished or
failed. Results are parked in `.varedit` beside it, whole, and get their name only after their line is on the disk: a
line whose result is still parked is completed when the journal is opened again, a parked result without a line is
forgotten. So whenever a job is killed, no edit is lost and none counts twice.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from varedit.batch.edits import Edit
from varedit.errors import OutputError

NAME = "edits-done.jsonl"
_WORK = ".varedit"
_VERSION = 1
_MEND = "Move it away to begin anew, or give -o another folder."


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one edit.

    Attributes:
        output: of the edit; its name in the journal.
        settings: what the result depends on, as JSON values.
        source: the size in bytes and the time of change (ns) of the image when it was read; None if there was none.
        parked: name of the result among the parked ones; None if the edit failed.
        error: a sentence; None if it succeeded.
        notes: sentences that its user should read.
    """

    output: str
    settings: Mapping[str, Any]
    source: tuple[int, int] | None
    parked: str | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """A line of the journal, without its end."""
        return json.dumps({"output": self.output, **self.facts(), "parked": self.parked})

    def facts(self) -> dict[str, Any]:
        """What programs may want to know, besides where the result is, as JSON values."""
        return {
            "state": "done" if self.error is None else "failed",
            "error": self.error,
            "source": self.source,
            "notes": list(self.notes),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, line: str) -> Self:
        """What `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        values = json.loads(line)
        source = values["source"]
        return cls(
            output=values["output"],
            settings=values["settings"],
            source=None if source is None else (source[0], source[1]),
            parked=values["parked"],
            error=values["error"],
            notes=tuple(values["notes"]),
        )


@dataclass
class Journal:
    """The journal of one folder of results; open in one process at a time.

    Attributes:
        folder: of the results, absolute.
        done: by output, the last finished edit.
        seed: the job's; None if the folder knows none yet.
    """

    folder: Path
    done: dict[str, Outcome] = field(default_factory=dict)
    seed: int | None = None
    _lock: FileLock | None = None
    _file: int | None = None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the journal of a folder, which is made if it is missing, and complete what was parked.

        Raises: OutputError, where that cannot be done, or another process has it open.
        """
        journal = cls(folder.absolute())
        try:
            journal.parked.mkdir(parents=True, exist_ok=True)
            journal._lock = FileLock(journal.parked / "lock")
            journal._lock.acquire(timeout=0)
            journal._file = os.open(journal.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except Timeout as error:
            raise OutputError(f"another process is writing edits to {folder}; wait for it, or stop it") from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            journal.close()
            raise _unwritable(folder, error) from error
        try:
            journal._read()
            journal._tidy()
        except BaseException:
            journal.close()
            raise
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The journal's file."""
        return self.folder / NAME

    @property
    def parked(self) -> Path:
        """Where results wait for their line."""
        return self.folder / _WORK

    def begin(self, seed: int) -> None:
        """Say which seed the edits that follow were derived from."""
        if seed != self.seed:
            self._append(json.dumps({"job": _VERSION, "seed": seed}))
            self.seed = seed

    def open_edits(self, edits: Sequence[Edit], settings: Sequence[Mapping[str, Any]], *, force: bool) -> list[Edit]:
        """The edits that are still to be made; all others are done and have their result.

        Args:
            edits: of the job.
            settings: what each result depends on.
            force: make those anew whose result was made in another way, and replace files that are not the job's.

        Raises: OutputError, without ``force``, for a result that was made in another way or is not the job's.
        """
        todo, others = [], []
        for edit, wanted in zip(edits, settings, strict=True):
            path, before = self.folder / edit.output, self.done.get(edit.output)
            if not path.exists():
                todo.append(edit)
            elif before is None and not force:
                raise OutputError(f"{path} exists and is not of this job. Give -o another folder, or --force.")
            elif before is None or not _is_same(before, wanted, edit):
                todo.append(edit)
                others.append(edit.output)
        if others and not force:
            raise OutputError(
                f"{len(others)} results in {self.folder}, such as {others[0]}, are of another image, instruction, seed "
                "or setting. Give -o another folder, or replace them with --force."
            )
        return todo

    def record(self, outcome: Outcome) -> None:
        """Write down what became of an edit and give its result its name. Raises OutputError."""
        self._append(outcome.to_json())
        if outcome.parked is not None:
            self.done[outcome.output] = outcome
            self._place(outcome)

    def close(self) -> None:
        """Let others have the folder."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._lock is not None and self._lock.is_locked:
            shutil.rmtree(self.parked, ignore_errors=True)
            self._lock.release()

    def _append(self, line: str) -> None:
        assert self._file is not None, "the journal is closed"
        data = f"{line}\n".encode()
        try:
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _place(self, outcome: Outcome) -> None:
        assert outcome.parked is not None, "a failed edit has no result"
        target = self.folder / outcome.output
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            (self.parked / outcome.parked).replace(target)
        except OSError as error:
            raise _unwritable(target, error) from error

    def _read(self) -> None:
        """Take in the lines. What follows the last line's end was being written when the process was killed."""
        assert self._file is not None, "the journal is closed"
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._file, whole)
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                self._take(line.decode())
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise OutputError(f"line {number} of {self.path} is not of a journal. {_MEND}") from error

    def _take(self, line: str) -> None:
        values = json.loads(line)
        if "job" in values:
            if values["job"] != _VERSION:
                raise OutputError(f"{self.path} was written by another version of varedit. {_MEND}")
            self.seed = int(values["seed"])
            return
        outcome = Outcome.from_json(line)
        if outcome.parked is not None:
            self.done[outcome.output] = outcome

    def _tidy(self) -> None:
        by_name = {outcome.parked: outcome for outcome in self.done.values()}
        for path in self.parked.iterdir():
            if path.name in by_name:
                self._place(by_name[path.name])
            elif path.name != "lock":
                path.unlink()


def parking_name(output: str) -> str:
    """A name for the result of an edit that no other one has, with its suffix."""
    return secrets.token_hex(8) + Path(output).suffix


def source_state(path: Path) -> tuple[int, int] | None:
    """Size in bytes and time of change in ns of a file; None if there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # whoever reads it will say why
        return None
    return found.st_size, found.st_mtime_ns


def _is_same(before: Outcome, wanted: Mapping[str, Any], edit: Edit) -> bool:
    """Whether a result is what the edit would give again, unless its image is gone."""
    return before.settings == wanted and source_state(edit.image) in (before.source, None)


def _unwritable(path: Path, error: Exception) -> OutputError:
    return OutputError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.")

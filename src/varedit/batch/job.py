"""A job of many edits from beginning to end: what is done already is skipped, the rest goes through a `Workforce`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from varedit.batch.edits import Edit, seeded
from varedit.batch.journal import Journal, Outcome
from varedit.batch.stream import EditSettings, default_batch_size, stream_edits


class Workforce(Protocol):
    """Makes edits somewhere: in this process, or on many machines."""

    def outcomes(self, edits: Sequence[Edit], settings: EditSettings, parked: Path) -> Generator[Outcome, None, None]:
        """Make the edits and park their results in a folder; yield what became of each, in any order."""
        ...


@dataclass(frozen=True)
class ThisProcess:
    """One model in this process.

    Attributes:
        batch_size: edits that are drawn together; None is what fits the device.
    """

    batch_size: int | None = None

    def outcomes(self, edits: Sequence[Edit], settings: EditSettings, parked: Path) -> Generator[Outcome, None, None]:
        """Make the edits; see `stream_edits`."""
        pipeline = settings.load()
        size = self.batch_size or default_batch_size(pipeline)
        return stream_edits(pipeline, edits, settings, parked, batch_size=size)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a job came to; its seconds include the loading of the model."""

    done: int
    skipped: int
    failed: int
    seconds: float
    seed: int

    @property
    def rate(self) -> float:
        """Edits a second."""
        return self.done / self.seconds if self.done else 0.0


def run_job(
    edits: Sequence[Edit],
    out: Path,
    settings: EditSettings,
    workforce: Workforce,
    *,
    seed: int | None = None,
    force: bool = False,
    on_start: Callable[[int, int], None] = lambda todo, skipped: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> Summary:
    """Make all edits whose results are not in ``out`` yet.

    Args:
        edits: of the job, perhaps without seeds.
        out: folder of results; its journal tells what is done.
        settings: shared by the edits.
        workforce: who makes them.
        seed: of the job; None takes the journal's, or draws one.
        force: replace what other jobs left in ``out``.
        on_start: called with how many edits are to be made and how many are done.
        on_outcome: called as edits end, once what is told is safe.

    Raises: OutputError, and whatever keeps the model from being loaded.
    """
    with Journal.open(out) as journal:
        if seed is None:
            seed = secrets.randbelow(2**32) if journal.seed is None else journal.seed
        edits = seeded(edits, seed)
        todo = journal.open_edits(edits, [settings.fingerprint(edit) for edit in edits], force=force)
        skipped = len(edits) - len(todo)
        on_start(len(todo), skipped)
        started, failed = time.perf_counter(), 0
        if todo:
            journal.begin(seed)
            with closing(workforce.outcomes(todo, settings, journal.parked)) as outcomes:
                for outcome in outcomes:
                    journal.record(outcome)
                    failed += outcome.error is not None
                    on_outcome(outcome)
        return Summary(
            done=len(todo) - failed,
            skipped=skipped,
            failed=failed,
            seconds=time.perf_counter() - started,
            seed=seed,
        )

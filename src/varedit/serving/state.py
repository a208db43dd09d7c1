"""What the engine tells of itself: its state at one moment, and what happens, to whoever counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Outcome = Literal["finished", "failed", "cancelled", "late"]


class EngineObserver(Protocol):
    """What wants to count; called on the engine's threads."""

    def batch_began(self, size: int) -> None:
        """Told of the edits in a new batch."""

    def scale_drawn(self, index: int, seconds: float) -> None:
        """Told of one scale of one batch."""

    def edit_ended(self, outcome: Outcome, queued: float | None, seconds: float) -> None:
        """Told of an end, with seconds in the queue (None if it never left it) and in all."""


class NoObserver:
    """Counts nothing."""

    def batch_began(self, size: int) -> None:
        """Let it pass."""

    def scale_drawn(self, index: int, seconds: float) -> None:
        """Let it pass."""

    def edit_ended(self, outcome: Outcome, queued: float | None, seconds: float) -> None:
        """Let it pass."""


@dataclass(frozen=True, kw_only=True)
class EngineState:
    """The engine at one moment.

    Attributes:
        waiting, active, finishing: edits in the queue, in batches, and after the model.
        outcomes: ends so far.
        seconds_per_edit: of the model's time, a running mean.
        stalled: seconds since the last sign of progress, 0 where nothing is to be done.
        is_draining: whether new edits are refused.
        failure: why the engine has given up; None while it works.
    """

    waiting: int
    active: int
    finishing: int
    outcomes: dict[Outcome, int]
    seconds_per_edit: float
    stalled: float
    is_draining: bool
    failure: str | None

    @property
    def expected_wait(self) -> float:
        """Seconds until an edit that arrived now would be done."""
        return (self.waiting + self.active + 1) * self.seconds_per_edit

"""One edit inside the engine, as whoever asked for it sees it: events, the end, a way to stop it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from PIL import Image

from varedit.pipeline import RunOptions
from varedit.requests import EditRequest
from varedit.results import EditOutput
from varedit.scales import Grid, Template


@dataclass(frozen=True, kw_only=True)
class ScaleDone:
    """A scale has been drawn.

    Attributes:
        index: the scale, counted from 0, of ``total``.
        grid: (h, w) of its tokens.
        preview: the decoder's picture of the edit so far, at the model's size, where it was asked for and there was
            time for it.
    """

    index: int
    total: int
    grid: Grid
    preview: Image.Image | None


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The edit is done.

    Attributes:
        output: of this edit alone; its pictures are PIL images.
        queued: seconds between submission and the first work on it.
        seconds: between submission and now.
    """

    output: EditOutput
    queued: float
    seconds: float


@dataclass(frozen=True)
class Failed:
    """The edit will not be done; a `VAREditError` says why, any other exception is a bug of ours."""

    error: Exception


EditEvent = ScaleDone | Finished | Failed
Listener = Callable[[EditEvent], None]
# Which edits can share a batch: those of one template, one set of options, with guidance or without.
BatchKey = tuple[Template, RunOptions, bool]


@dataclass(eq=False, kw_only=True)
class SubmittedEdit:
    """An edit that the engine has taken in. Its listener is told of scales, then once of the end, and then no more.

    Attributes:
        request: what to do; the engine draws from its seed.
        key: which batch it may be part of.
        listener: called on threads of the engine's; it must return at once.
        previews: scales, counted from 0, after which a preview is wanted.
        deadline: time on the monotonic clock after which nobody wants the result; None is never.
        submitted, begun: times on the monotonic clock.
    """

    request: EditRequest
    key: BatchKey
    listener: Listener
    previews: frozenset[int] = frozenset()
    deadline: float | None = None
    submitted: float = field(default_factory=time.monotonic)
    begun: float | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _told: int = -1  # the last scale that the listener heard of
    _is_over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pixels(self) -> int:
        """Of its photograph."""
        return self.request.picture.width * self.request.picture.height

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    @property
    def is_over(self) -> bool:
        """Whether the end was told."""
        return self._is_over

    def cancel(self) -> None:
        """Ask the engine to leave the edit at the next scale; harmless if it is over."""
        self._cancelled.set()

    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def tell(self, event: EditEvent) -> bool:
        """Pass an event on. Returns whether it was: a second end, or a scale told before, is not."""
        with self._lock:
            if self._is_over:
                return False
            if isinstance(event, ScaleDone):
                if event.index <= self._told:  # a batch that is run again after memory ran out
                    return False
                self._told = event.index
            else:
                self._is_over = True
            self.listener(event)
            return True


class EventQueue:
    """A listener for a caller with a thread to spare: events are taken out one by one, waiting for each."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[EditEvent] = queue.SimpleQueue()

    def __call__(self, event: EditEvent) -> None:
        self._events.put(event)

    def __iter__(self) -> Iterator[EditEvent]:
        while True:
            event = self._events.get()
            yield event
            if not isinstance(event, ScaleDone):
                return

    def result(self) -> Finished:
        """Wait for the end. Raises the error of an edit that failed."""
        end = list(self)[-1]
        if isinstance(end, Failed):
            raise end.error
        assert isinstance(end, Finished), "a stream of events ends with the end"
        return end

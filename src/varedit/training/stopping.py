"""Ctrl-C, and the signal with which clusters announce the end of a job: a run stops after the step in hand."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class StopRequest:
    """Whether someone has asked to stop; ``name`` is that of the signal, or empty."""

    name: str = ""


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn the first signal into a request; a second one acts as usual. Outside the main thread nothing is caught."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        request.name = signal.Signals(number).name
        restore()

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()


def leave_stopping_to_the_trainer(worker: int) -> None:
    """For a process that makes data and is sent the signals, too.

    Ctrl-C is the trainer's to answer. SIGTERM is also how a worker that is no longer needed is ended; it must look like
    a good end, or the trainer would be interrupted in the middle of its step.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))

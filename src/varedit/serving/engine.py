"""Carries many edits through one model at once. Knows nothing of HTTP.

One thread has the model. After every scale it looks up: it lets go of what nobody wants any more, takes in what has
arrived, and goes on with the batch that has drawn fewest scales, the oldest first among equals. So a newcomer waits for
one scale, not for one edit; it catches up with the batches under way, whose last scales cost most, and those finish in
the order in which they came. Edits of one key that wait together are drawn together (`EngineLimits.max_batch`). Other
threads restore and hand over what the model has finished.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch

from varedit.errors import UsageError, VAREditError
from varedit.pipeline import RunOptions, VAREditPipeline
from varedit.requests import EditRequest
from varedit.results import EditOutput
from varedit.serving.batches import Batch
from varedit.serving.edits import BatchKey, EditEvent, Failed, Finished, Listener, SubmittedEdit
from varedit.serving.limits import EngineLimits, batch_memory, bytes_together
from varedit.serving.refusals import Cancelled, DeadlinePassed, Draining, NotReady, QueueFull
from varedit.serving.state import EngineObserver, EngineState, NoObserver, Outcome

FINISHERS = 2  # threads that restore results; numpy and Pillow let others run meanwhile
_SMOOTHING = 0.2  # weight of the newest edit in the running mean of their cost
_GUESSED_SECONDS = 1.0  # of an edit, before the first one is done

log = logging.getLogger(__name__)


class Engine:
    """Edits for many callers; use it as a context, or call `start` and `close`.

    Args:
        pipeline: the model, which must not be used beside the engine.
        limits: see `EngineLimits.of`.
        observer: is told what happens.
    """

    def __init__(
        self, pipeline: VAREditPipeline, limits: EngineLimits | None = None, observer: EngineObserver | None = None
    ) -> None:
        self.pipeline = pipeline
        self.limits = limits or EngineLimits.of(pipeline)
        self._observer = observer or NoObserver()
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[SubmittedEdit] = deque()
        self._alone: set[SubmittedEdit] = set()  # of those, the ones that must not share a batch again
        self._batches: list[Batch] = []
        self._unfinished: set[SubmittedEdit] = set()
        self._finishing = 0
        self._outcomes: dict[Outcome, int] = {"finished": 0, "failed": 0, "cancelled": 0, "late": 0}
        self._seconds_per_edit: float | None = None
        self._busy: dict[Batch, float] = {}
        self._progress = time.monotonic()
        self._is_draining = self._is_closed = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._finishers = ThreadPoolExecutor(FINISHERS, "finish")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(
        self,
        requests: Sequence[EditRequest],
        options: RunOptions,
        listeners: Sequence[Listener],
        *,
        previews: Collection[int] = (),
        deadline: float | None = None,
    ) -> list[SubmittedEdit]:
        """Take in edits, all of them or none.

        Args:
            requests: made by `VAREditPipeline.requests`, with seeds.
            options: from the same call.
            listeners: one an edit.
            previews: scales, counted from 0, after which each edit shows a preview; never the last one.
            deadline: on the monotonic clock; None is never.

        Raises:
            QueueFull, Draining, NotReady: not now.
            DeadlinePassed: the edits would not be ready in time.
            UsageError: they need more memory than the engine has.
        """
        edits = [
            SubmittedEdit(
                request=request,
                key=self._key(request, options),
                listener=listener,
                previews=frozenset(previews),
                deadline=deadline,
            )
            for request, listener in zip(requests, listeners, strict=True)
        ]
        for key in {edit.key for edit in edits}:
            self._check_memory(key)
        with self._changed:
            self._check_room(edits)
            self._waiting.extend(edits)
            self._unfinished.update(edits)
            self._changed.notify_all()
        return edits

    def state(self) -> EngineState:
        """What the engine is doing."""
        with self._changed:
            return EngineState(
                waiting=len(self._waiting),
                active=sum(len(batch.edits) for batch in self._batches),
                finishing=self._finishing,
                outcomes=dict(self._outcomes),
                seconds_per_edit=_GUESSED_SECONDS if self._seconds_per_edit is None else self._seconds_per_edit,
                stalled=time.monotonic() - self._progress if self._batches else 0.0,
                is_draining=self._is_draining,
                failure=self._failure,
            )

    def drain(self, timeout: float | None = None) -> bool:
        """Refuse new edits and wait for those there are. Returns whether all ended within ``timeout`` seconds."""
        self.stop_intake()
        with self._changed:
            return self._changed.wait_for(lambda: not self._unfinished, timeout)

    def stop_intake(self) -> None:
        """Refuse new edits from now on."""
        with self._changed:
            self._is_draining = True

    def close(self) -> None:
        """Stop after the scale in hand; edits that are not finished end with `Draining`."""
        with self._changed:
            self._is_draining = self._is_closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._finishers.shutdown(wait=True)
        for edit in list(self._unfinished):
            self._end(edit, Failed(Draining("the server stopped before the edit was done; try again later")), "failed")

    # What happens on the caller's thread

    def _key(self, request: EditRequest, options: RunOptions) -> BatchKey:
        num_scales = self.pipeline.config.num_scales
        is_guided = any(guidance != 1 for guidance, _ in request.sampling.per_scale(num_scales))
        return self.pipeline.template(request, options), options, is_guided

    def _check_memory(self, key: BatchKey) -> None:
        needed = bytes_together([batch_memory(self.pipeline, key, 1)])
        if needed > self.limits.memory_bytes:
            has = f"the server has {self.limits.memory_bytes / 1e9:.2g} GB for edits"
            raise UsageError(f"this edit needs {needed / 1e9:.2g} GB of memory, and {has}; no smaller size helps")

    def _check_room(self, edits: list[SubmittedEdit]) -> None:
        state = self.state()
        if state.failure is not None:
            raise NotReady(f"the model has failed and the server must be started again: {state.failure}")
        if state.is_draining:
            raise Draining("the server is about to stop; try again later")
        wait = state.expected_wait
        if state.waiting + len(edits) > self.limits.max_queue:
            raise QueueFull(f"{state.waiting} edits are waiting already; try again in {math.ceil(wait)} s", wait)
        pixels = sum(edit.pixels for edit in self._unfinished) + sum(edit.pixels for edit in edits)
        if pixels > self.limits.max_pixels and self._unfinished:
            raise QueueFull(f"the waiting photographs are too large together; try again in {math.ceil(wait)} s", wait)
        deadline = edits[0].deadline if edits else None
        done = time.monotonic() + wait + (len(edits) - 1) * state.seconds_per_edit
        if deadline is not None and done > deadline and self._seconds_per_edit is not None:
            raise DeadlinePassed(f"the edit would take about {wait:.1f} s, longer than its deadline allows")

    # What happens on the engine's thread

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            started = time.perf_counter()
            try:
                self._advance(batch)
            except Exception as error:  # whatever it is, only this batch may fail from it
                self._give_up(batch, error)
            seconds = time.perf_counter() - started
            with self._changed:
                self._progress = time.monotonic()
                if batch in self._batches:
                    self._busy[batch] = self._busy.get(batch, 0.0) + seconds

    def _next_batch(self) -> Batch | None:
        """What to go on with, waiting for it; None once the engine is closed."""
        with self._changed:
            while not self._is_closed and self._failure is None:
                self._let_go()
                while (batch := self._admitted()) is not None:
                    self._batches.append(batch)
                if self._batches:
                    return min(self._batches, key=lambda batch: (batch.drawn, batch.age))
                self._changed.wait(timeout=0.1 if self._waiting else None)
                self._progress = time.monotonic()
            return None

    def _let_go(self) -> None:
        """End what is cancelled or late, and drop batches that nobody waits for."""
        for edit in list(self._unfinished):
            if edit.is_cancelled:
                self._end(edit, Failed(Cancelled("the edit was cancelled")), "cancelled")
            elif edit.is_late():
                self._end(edit, Failed(DeadlinePassed("the edit was not ready before its deadline")), "late")
        self._waiting = deque(edit for edit in self._waiting if not edit.is_over)
        for batch in [batch for batch in self._batches if batch.is_unwanted()]:
            self._drop(batch)

    def _admitted(self) -> Batch | None:
        """A new batch with the oldest edit and others of its key, as many as memory allows; None if it must wait."""
        limits = self.limits
        backlog = self._finishing >= limits.max_active * limits.max_batch
        if not self._waiting or len(self._batches) >= limits.max_active or backlog:
            return None
        head = self._waiting[0]
        chosen = [head]
        if head not in self._alone:
            alike = [edit for edit in self._waiting if edit.key == head.key and edit not in self._alone]
            chosen = alike[: limits.max_batch]
        under_way = [batch.plan for batch in self._batches]
        while True:
            plan = batch_memory(self.pipeline, head.key, len(chosen))
            if bytes_together([*under_way, plan]) <= limits.memory_bytes:
                break
            if len(chosen) == 1:
                return None  # until a batch under way has ended: alone it fits, as was checked
            chosen.pop()
        now = time.monotonic()
        for edit in chosen:
            self._waiting.remove(edit)
            self._alone.discard(edit)
            edit.begun = now
        self._observer.batch_began(len(chosen))
        return Batch(self.pipeline, chosen, plan)

    def _advance(self, batch: Batch) -> None:
        if batch.drawn < batch.num_scales:
            started = time.perf_counter()
            batch.step(may_preview=len(self._waiting) < self.limits.max_queue)
            self._observer.scale_drawn(batch.drawn - 1, time.perf_counter() - started)
            return
        finishers = batch.finishers()
        with self._changed:
            self._learn_cost(batch)
            self._drop(batch)
            self._finishing += len(finishers)
        for edit, finish in zip(batch.edits, finishers, strict=True):
            self._finishers.submit(self._finish, edit, finish)

    def _give_up(self, batch: Batch, error: Exception) -> None:
        """Fail a batch of one; a larger one is taken apart, so that only those fail that fail alone."""
        with self._changed:
            self._drop(batch)
            if isinstance(error, torch.AcceleratorError):  # the device's state is lost, and with it every later edit
                self._failure = str(error).splitlines()[0]
                log.critical("the device has failed: %s", self._failure)
                for edit in list(self._unfinished):
                    self._end(edit, Failed(NotReady("the model's device has failed")), "failed")
                return
            if len(batch.edits) > 1:
                self._alone.update(batch.edits)
                self._waiting.extendleft(reversed([edit for edit in batch.edits if not edit.is_over]))
        if self.pipeline.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(batch.edits) == 1:
            self._fail(batch.edits[0], error)

    def _drop(self, batch: Batch) -> None:
        if batch in self._batches:
            self._batches.remove(batch)
        self._busy.pop(batch, None)

    def _learn_cost(self, batch: Batch) -> None:
        seconds = self._busy.get(batch, 0.0) / len(batch.edits)
        old = seconds if self._seconds_per_edit is None else self._seconds_per_edit
        self._seconds_per_edit = (1 - _SMOOTHING) * old + _SMOOTHING * seconds

    # What happens on the finishers' threads

    def _finish(self, edit: SubmittedEdit, finish: Callable[[], EditOutput]) -> None:
        try:
            is_wanted = not (edit.is_over or edit.is_cancelled)
            output = finish() if is_wanted else None
        except Exception as error:  # it belongs to whoever asked for the edit
            self._leave_finishers()
            self._fail(edit, error)
            return
        self._leave_finishers()
        if output is None:
            self._end(edit, Failed(Cancelled("the edit was cancelled")), "cancelled")
            return
        now = time.monotonic()
        queued = (now if edit.begun is None else edit.begun) - edit.submitted
        self._end(edit, Finished(output=output, queued=queued, seconds=now - edit.submitted), "finished")

    def _leave_finishers(self) -> None:
        with self._changed:
            self._finishing -= 1
            self._changed.notify_all()

    # What happens on any of them

    def _fail(self, edit: SubmittedEdit, error: Exception) -> None:
        if not isinstance(error, VAREditError):
            log.error("an edit failed", exc_info=error)
        self._end(edit, Failed(error), "failed")

    def _end(self, edit: SubmittedEdit, event: EditEvent, outcome: Outcome) -> None:
        """Count an end, then tell it, both once: whoever hears of it finds it counted."""
        with self._changed:
            if edit not in self._unfinished:
                return
            self._unfinished.discard(edit)
            self._alone.discard(edit)
            self._outcomes[outcome] += 1
            queued = None if edit.begun is None else edit.begun - edit.submitted
            self._observer.edit_ended(outcome, queued, time.monotonic() - edit.submitted)
            edit.tell(event)
            self._changed.notify_all()

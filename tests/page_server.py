"""The page's server with a toy model that goes on only when a test lets it, and that remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.served import Served, served
from tests.toys import toy_pipeline
from varedit.images import Picture
from varedit.pipeline import RunOptions, VAREditPipeline
from varedit.requests import EditRequest
from varedit.serving.calls import EditCall
from varedit.serving.engine import Engine
from varedit.serving.service import Edits

SCALES = 4  # of the toy model


class Pace:
    """Decides when the model may draw a scale; at first always."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._allowed: int | None = None  # scales; None is any number

    def hold(self) -> None:
        """Let no scale be drawn from now on."""
        self._set(0)

    def let(self, scales: int) -> None:
        """Let some more scales be drawn."""
        self._set((self._allowed or 0) + scales)

    def free(self) -> None:
        """Let all scales be drawn."""
        self._set(None)

    def wait(self) -> None:
        """Return when a scale may be drawn."""
        with self._changed:
            self._changed.wait_for(lambda: self._allowed != 0)
            if self._allowed is not None:
                self._allowed -= 1

    def _set(self, allowed: int | None) -> None:
        with self._changed:
            self._allowed = allowed
            self._changed.notify_all()


@dataclass
class PageServer:
    """A running server.

    Attributes:
        calls: what was asked of it, the oldest first.
        edits: what it made of each call.
    """

    served: Served
    pace: Pace
    calls: list[EditCall] = field(default_factory=list)
    edits: list[Edits] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Of the page."""
        return self.served.url

    @property
    def engine(self) -> Engine:
        """Of the server."""
        return self.served.engine


@contextmanager
def page_server(**settings: Any) -> Iterator[PageServer]:
    """Serve the page while the block runs."""
    pace = Pace()

    def load() -> VAREditPipeline:
        pipeline = toy_pipeline()
        transformer: Any = pipeline.editor.transformer
        step = transformer.step

        def paced(*arguments: Any) -> Any:
            pace.wait()
            return step(*arguments)

        transformer.step = paced
        return pipeline

    with served(load, **settings) as running:
        server = PageServer(running, pace)
        service: Any = running.server.service
        read, submit = service.read, service.submit

        async def recorded(call: EditCall) -> tuple[Picture, list[EditRequest], RunOptions]:
            server.calls.append(call)
            answer: tuple[Picture, list[EditRequest], RunOptions] = await read(call)
            return answer

        def submitted(*arguments: Any) -> Edits:
            edits: Edits = submit(*arguments)
            server.edits.append(edits)
            return edits

        service.read, service.submit = recorded, submitted
        try:
            yield server
        finally:
            pace.free()

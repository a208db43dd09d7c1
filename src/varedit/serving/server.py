"""A web server that stops as balancers and clients like it: it says so first, finishes what runs, and exits with 0."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from varedit.pipeline import VAREditPipeline
from varedit.serving.addresses import address_of, bound_socket
from varedit.serving.app import create_app
from varedit.serving.engine import Engine
from varedit.serving.limits import EngineLimits
from varedit.serving.metrics import Metrics
from varedit.serving.service import Service
from varedit.serving.settings import ServerSettings

FAILURE_CODE = 70
_WATCH_SECONDS = 1.0
_HEADER_BYTES = 65536
_SPARE_CONNECTIONS = 256

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Serves one service until it is told to stop.

    Attributes:
        exit_code: 0, or `FAILURE_CODE` if the engine has failed for good.
    """

    def __init__(self, service: Service, on_listening: Callable[[str], None] = lambda address: None) -> None:
        self.service = service
        self.exit_code = 0
        self._on_listening = on_listening
        self._is_draining = False
        settings = service.settings
        super().__init__(
            uvicorn.Config(
                create_app(service),
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=max(1, round(settings.drain_timeout)),
                h11_max_incomplete_event_size=_HEADER_BYTES,
                limit_concurrency=_SPARE_CONNECTIONS,
                http="h11",
                ws="none",
            )
        )

    def serve_here(self) -> int:
        """Listen and serve on this thread. Returns the exit code. Raises UsageError if the address is taken."""
        settings = self.service.settings
        with bound_socket(settings.host, settings.port) as listening:
            self.run(sockets=[listening])
        return self.exit_code

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        if sockets:
            self._on_listening(address_of(*sockets[0].getsockname()[:2]))
        self._watch = asyncio.create_task(self._watched())

    async def _watched(self) -> None:
        """End the process when the engine cannot go on; whoever supervises it will start a new one."""
        while not self.should_exit:
            await asyncio.sleep(_WATCH_SECONDS)
            engine = self.service.engine
            failure = self.service.loading_error or (None if engine is None else engine.state().failure)
            if failure is not None:
                log.critical("the server stops: %s", failure)
                self.exit_code, self.should_exit = FAILURE_CODE, True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: refuse new edits, keep listening for a while, then finish. Second signal: leave at once."""
        if self._is_draining:
            os._exit(128 + sig)
        self._is_draining = True
        if self.service.engine is not None:
            self.service.engine.stop_intake()
        delay = self.service.settings.drain_delay if sig == signal.SIGTERM else 0.0
        log.info("the server stops", extra={"fields": {"signal": signal.Signals(sig).name, "delay_s": delay}})
        asyncio.get_running_loop().call_later(delay, self._stop_listening)

    def _stop_listening(self) -> None:
        self.should_exit = True


def service_of(
    load: Callable[[], VAREditPipeline], settings: ServerSettings, *, max_queue: int | None = None
) -> Service:
    """A service whose model ``load`` gives."""
    metrics = Metrics()

    def engine() -> Engine:
        pipeline = load()
        started = Engine(pipeline, EngineLimits.of(pipeline, max_queue=max_queue), metrics)
        started.start()
        return started

    return Service(engine, settings, metrics)

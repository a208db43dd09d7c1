"""A server with a toy model on a free loopback port, in a thread of the test."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from openai import OpenAI
from PIL import Image

from tests.toys import picture, toy_pipeline
from varedit.pipeline import VAREditPipeline
from varedit.serving.engine import Engine
from varedit.serving.server import Server, service_of
from varedit.serving.settings import ServerSettings


@dataclass
class Served:
    """A running server."""

    url: str
    server: Server

    @property
    def engine(self) -> Engine:
        """Its engine."""
        return self.server.service.running()

    def openai(self, key: str = "no key", **options: Any) -> OpenAI:
        """The official client; it does not try again unless it is told to."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, **{"max_retries": 0, "timeout": 60} | options)

    def http(self) -> httpx2.Client:
        """A plain client."""
        return httpx2.Client(base_url=self.url, timeout=60)


@contextmanager
def served(
    load: Callable[[], VAREditPipeline] = toy_pipeline, *, max_queue: int | None = None, **settings: Any
) -> Iterator[Served]:
    """Serve a model while the block runs."""
    address: list[str] = []
    is_listening = threading.Event()

    def listening(url: str) -> None:
        address.append(url)
        is_listening.set()

    chosen = ServerSettings(**{"port": 0, "drain_delay": 0.0} | settings)
    server = Server(service_of(load, chosen, max_queue=max_queue), listening)
    thread = threading.Thread(target=server.serve_here)
    thread.start()
    try:
        assert is_listening.wait(60)
        found = Served(address[0], server)
        with found.http() as client:
            while client.get("/ready").status_code != 200:
                assert thread.is_alive()
        yield found
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def png(width: int = 40, height: int = 40, seed: int = 0) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    picture(width, height, seed).save(buffer, "PNG")
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    """A file as a picture."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image

"""A judge for tests: a server on this machine that speaks OpenAI's chat protocol, and fails in scripted ways."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    body: dict[str, Any]
    key: str | None

    @property
    def words(self) -> str:
        """All its text."""
        return "\n".join(part["text"] for part in self._content if part["type"] == "text")

    @property
    def pictures(self) -> list[NDArray[np.uint8]]:
        """Its pictures, decoded."""
        urls = [part["image_url"]["url"] for part in self._content if part["type"] == "image_url"]
        assert all(url.startswith("data:image/png;base64,") for url in urls)
        opened = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2], validate=True))) for url in urls]
        return [np.asarray(image) for image in opened]

    @property
    def _content(self) -> list[dict[str, Any]]:
        (message,) = self.body["messages"]
        assert message["role"] == "user"
        content: list[dict[str, Any]] = message["content"]
        return content


@dataclass(frozen=True)
class Status:
    """Answers with an HTTP status."""

    code: int
    message: str = "no"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Says:
    """Answers with these words."""

    text: str | None
    finish_reason: str = "stop"
    refusal: str | None = None
    usage: tuple[int, int] | None = (100, 10)


class Silence:
    """Never answers."""


@dataclass(frozen=True)
class Raw:
    """Answers with these bytes and status 200, or with their first half only, the line then cut."""

    data: bytes
    is_cut: bool = False


Reaction = Status | Says | Silence | Raw


@dataclass
class FakeJudge:
    """What the server does and what it was asked.

    Attributes:
        answer: reacts to a request, once the script is used up.
        script: reactions to the first requests.
        asked: all requests that arrived.
    """

    url: str = ""
    answer: Callable[[Asked], Reaction] = lambda asked: Says('{"reasoning": "", "success": 8, "over_editing": 7}')
    script: deque[Reaction] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def react(self, asked: Asked) -> Reaction:
        with self.lock:
            self.asked.append(asked)
            return self.script.popleft() if self.script else self.answer(asked)


def completion(says: Says, model: str) -> bytes:
    """A response of /chat/completions."""
    message = {"role": "assistant", "content": says.text, "refusal": says.refusal}
    values: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": says.finish_reason}],
    }
    if says.usage is not None:
        prompt, written = says.usage
        values["usage"] = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
    return json.dumps(values).encode()


class Handler(BaseHTTPRequestHandler):
    judge: FakeJudge
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/chat/completions":
            self._send(404, b'{"error": {"message": "no such path"}}')
            return
        asked = Asked(json.loads(data), self.headers.get("Authorization"))
        reaction = self.judge.react(asked)
        if isinstance(reaction, Silence):
            self.judge.closing.wait(30)
            self.close_connection = True
        elif isinstance(reaction, Status):
            body = json.dumps({"error": {"message": reaction.message, "type": "error"}}).encode()
            self._send(reaction.code, body, reaction.headers)
        elif isinstance(reaction, Raw):
            self._send(200, reaction.data, sent=len(reaction.data) // (2 if reaction.is_cut else 1))
        else:
            self._send(200, completion(reaction, asked.body["model"]))

    def _send(self, code: int, body: bytes, headers: Mapping[str, str] | None = None, sent: int | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:sent])
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read what arrived, not a log."""


@contextmanager
def running_judge() -> Iterator[FakeJudge]:
    """A fake judge that listens until the block ends."""
    judge = FakeJudge()
    handler = type("BoundHandler", (Handler,), {"judge": judge})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield judge
    finally:
        judge.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()

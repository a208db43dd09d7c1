"""A whole HTTP request as one value, and an ASGI app's answer to it as messages. Knows nothing of what carries them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from varedit.serving.answers import sse
from varedit.serving.errors import ApiError, api_error_of
from varedit.serving.refusals import Cancelled

_HTTP = ("http_version", "scheme", "path", "query_string", "server", "client")


@dataclass(frozen=True, kw_only=True)
class WholeRequest:
    """A request that has been read to its end.

    Attributes:
        scope: what ASGI says of it, of plain values only.
        body: all of it.
    """

    scope: Scope
    body: bytes

    @classmethod
    async def read(cls, scope: Scope, receive: Receive) -> WholeRequest:
        """Read a request under the id that its gate gave it.

        Raises: ApiError where it is too long or its client has gone away.
        """
        body = bytearray()
        has_more = True
        while has_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise api_error_of(Cancelled("the client has gone away"), "")
            body += message.get("body", b"")
            has_more = message.get("more_body", False)
        headers = [(name, value) for name, value in scope["headers"] if name != b"x-request-id"]
        headers.append((b"x-request-id", scope["state"]["request_id"].encode()))
        plain = {name: scope[name] for name in _HTTP if name in scope}
        return cls(scope={"type": "http", "method": scope["method"], **plain, "headers": headers}, body=bytes(body))

    def receive(self) -> Receive:
        """The request as an app reads it; after its end nothing comes."""
        waiting = [self.body]

        async def receive() -> Message:
            if waiting:
                return {"type": "http.request", "body": waiting.pop(), "more_body": False}
            await asyncio.Event().wait()
            raise AssertionError("whoever waits for a client to leave is cancelled instead")

        return receive


async def messages(app: ASGIApp, request: WholeRequest) -> AsyncGenerator[Message, None]:
    """An app's answer, message by message; leaving it cancels the app."""
    queue: asyncio.Queue[Message | None] = asyncio.Queue()

    async def run() -> None:
        try:
            await app({**request.scope, "asgi": {"version": "3.0"}, "root_path": ""}, request.receive(), queue.put)
        finally:
            queue.put_nowait(None)

    running = asyncio.create_task(run())
    try:
        while (message := await queue.get()) is not None:
            yield message
        await running
    finally:
        running.cancel()
        await asyncio.wait({running})


@dataclass(eq=False)
class Reply:
    """An answer on its way to a client: a stream as it comes, anything else once it is whole.

    Attributes:
        has_begun: whether the client has seen some of it, so that it cannot be made anew.
    """

    send: Send
    has_begun: bool = False

    async def pass_on(self, answer: AsyncIterable[Message]) -> None:
        """Send an answer."""
        held: list[Message] = []
        async for message in answer:
            held.append(message)
            if self.has_begun or _is_stream(held[0]) or not _has_more(message):
                await self._send(held)
        await self._send(held)

    async def fail(self, error: ApiError, scope: Scope, receive: Receive) -> None:
        """Send an error, as the last event if a stream has begun."""
        if not self.has_begun:
            await error.response()(scope, receive, self.send)
            return
        last = sse({"type": "error", **error.body}, name="error")
        await self.send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send(self, held: list[Message]) -> None:
        for message in held:
            self.has_begun = True
            await self.send(message)
        held.clear()


def _is_stream(message: Message) -> bool:
    headers = dict(message.get("headers", ()))
    return bool(headers.get(b"content-type", b"").startswith(b"text/event-stream"))


def _has_more(message: Message) -> bool:
    return message["type"] == "http.response.start" or bool(message.get("more_body", False))

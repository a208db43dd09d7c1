"""What stands before the app: names every request, lets in what may enter, counts bytes, and writes the log.

Plain ASGI, so that bodies and streams pass through without being held.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from varedit.serving.errors import CLIENT_GONE, ApiError, api_error_of
from varedit.serving.metrics import Metrics
from varedit.serving.settings import ServerSettings

EDITS = "/v1/images/edits"
SMALL_BODY = 65536  # bytes, for endpoints that take none
BODIES_AT_ONCE = 8  # of the largest kind; smaller ones accordingly more
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KNOWN_PATHS = (EDITS, "/v1/models", "/health", "/healthz", "/ready", "/version", "/metrics", "/openapi.json", "/docs")
# The page loads nothing from elsewhere and runs no script but its own files.
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
_DOCS_POLICY = "default-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net https://fastapi.tiangolo.com"

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Gate:
    """An ASGI app around another one."""

    app: ASGIApp
    settings: ServerSettings
    metrics: Metrics
    _held: int = field(default=0, init=False)  # bytes of bodies that are in the server now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        record: dict[str, Any] = {"request_id": request_id, "method": scope["method"], "path": scope["path"][:200]}
        scope.setdefault("state", {}).update(request_id=request_id, log=record)
        visit = _Visit(scope, send, record, _policy(scope["path"]))
        counted = _Counted(self, receive, self._limit(scope))
        started = time.monotonic()
        try:
            self._check(scope, headers, counted.limit)
            await self.app(scope, counted.receive, visit.send)
        except ApiError as error:  # of the check: the app answers its own
            if error.status == 413:
                await counted.drain()
            await error.response()(scope, receive, visit.send)
        except Exception as error:  # a bug of ours, which must not show itself to strangers
            log.error("request %s failed", request_id, exc_info=error)
            if not visit.status:
                await api_error_of(error, request_id).response()(scope, receive, visit.send)
        finally:
            self._held -= counted.bytes
            status = visit.status or CLIENT_GONE
            self.metrics.requests.labels(endpoint=_endpoint(scope["path"]), status=str(status)).inc()
            record |= {"status": status, "total_ms": round(1000 * (time.monotonic() - started))}
            log.log(logging.WARNING if status >= 500 else logging.INFO, "request", extra={"fields": record})

    def _limit(self, scope: Scope) -> int:
        return self.settings.body_bytes if scope["path"] == EDITS else SMALL_BODY

    def _check(self, scope: Scope, headers: Headers, limit: int) -> None:
        """Raise ApiError for what may not enter."""
        self._check_host(headers)
        self._check_origin(scope, headers)
        self._check_key(scope, headers)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(415, "unsupported_media_type", "compressed bodies are not read; send the body as it is")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > limit:
            raise too_large(limit)

    def _check_host(self, headers: Headers) -> None:
        name = (urlsplit(f"//{headers.get('host', '')}").hostname or "") if _is_host(headers.get("host", "")) else ""
        if self.settings.hosts is not None and name.lower() not in self.settings.hosts:
            raise ApiError(403, "forbidden_host", "this server is not called that; its operator can allow the name")

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """A page of another site must not drive a server that only its visitor can reach."""
        origin = headers.get("origin")
        if origin is None or scope["method"] in ("GET", "HEAD", "OPTIONS") or origin in self.settings.cors_origins:
            return
        if origin.partition("://")[2] != headers.get("host", ""):
            raise ApiError(403, "forbidden_origin", "pages of other sites may not use this server")

    def _check_key(self, scope: Scope, headers: Headers) -> None:
        key, path = self.settings.api_key, scope["path"]
        if key is None or not (path.startswith("/v1/") or path == "/metrics") or scope["method"] == "OPTIONS":
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), key.encode()):
            raise ApiError(
                401,
                "invalid_api_key",
                "the API key is missing or wrong; send it as: Authorization: Bearer KEY",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def take(self, count: int) -> None:
        """Note bytes of a body that have come in. Raises ApiError if all bodies together are too much."""
        self._held += count
        if self._held > BODIES_AT_ONCE * self.settings.body_bytes:
            raise ApiError(
                429, "queue_full", "too many uploads at once; try again shortly", headers={"Retry-After": "2"}
            )


def too_large(limit: int) -> ApiError:
    """The answer to a body that is longer than ``limit`` bytes."""
    return ApiError(413, "request_too_large", f"the request is larger than {limit / 2**20:.3g} MiB")


@dataclass(eq=False)
class _Counted:
    """The body of one request, counted while it is read."""

    gate: Gate
    inner: Receive
    limit: int
    bytes: int = 0
    is_at_end: bool = False

    async def receive(self) -> Message:
        """The next message. Raises ApiError once the body is too long."""
        message = await self._next()
        if self.bytes > self.limit:
            await self.drain()
            raise too_large(self.limit)
        return message

    async def drain(self) -> None:
        """Read on for a while and forget it: clients that are still sending would not see the answer."""
        seen = self.bytes
        while not self.is_at_end and seen <= 2 * self.limit:
            message = await self.inner()
            seen += len(message.get("body", b""))
            self.is_at_end = not message.get("more_body", False)

    async def _next(self) -> Message:
        message = await self.inner()
        if message["type"] == "http.request":
            count = len(message.get("body", b""))
            self.bytes += count
            self.gate.take(count)
        self.is_at_end = not message.get("more_body", False)
        return message


@dataclass(eq=False)
class _Visit:
    """One answer on its way out: gets the headers that all answers have."""

    scope: Scope
    inner: Send
    record: MutableMapping[str, Any]
    policy: str
    status: int = 0

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.record["request_id"]
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "no-referrer"
            headers["Content-Security-Policy"] = self.policy
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
        await self.inner(message)


def _is_host(text: str) -> bool:
    """Whether a Host header is a name or an address with at most a port."""
    return re.fullmatch(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?", text) is not None


def _policy(path: str) -> str:
    return _DOCS_POLICY if path == "/docs" else _POLICY


def _endpoint(path: str) -> str:
    """A path as a label: few words, whatever is asked for."""
    if path.startswith("/v1/models/"):
        return "/v1/models"
    return path if path in _KNOWN_PATHS else "other"

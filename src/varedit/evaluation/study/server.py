"""The study over HTTP: a page, its pictures, and two calls. Every answer that gets a 200 is on the disk."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from varedit.errors import ImageError, InputMissing, MissingExtra, OutputError, UsageError, VAREditError
from varedit.evaluation.study.study import Study

try:
    import uvicorn
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import JSONResponse
    from fastapi.staticfiles import StaticFiles
    from pydantic import BaseModel, Field
except ModuleNotFoundError as error:
    raise MissingExtra("the page of a study", "serve") from error

_STATIC = Path(__file__).with_name("static")
_STATUS: dict[type[VAREditError], int] = {UsageError: 400, InputMissing: 404, OutputError: 503, ImageError: 500}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_log = logging.getLogger(__name__)


class Arrival(BaseModel):
    """A rater comes, or comes back."""

    code: str = Field("", max_length=64)


class GivenAnswer(BaseModel):
    """A rater answers a question."""

    code: str = Field(max_length=64)
    trial: int
    question: str = Field(max_length=64)
    choice: str = Field(max_length=64)
    seconds: float = Field(allow_inf_nan=False)


def study_app(study: Study) -> FastAPI:
    """The application; it keeps nothing that the study's store does not."""
    app = FastAPI(title="varedit study", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    @app.exception_handler(VAREditError)
    async def told(request: Request, error: VAREditError) -> JSONResponse:
        status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
        if status >= 500:
            _log.warning("%s %s: %s", request.method, request.url.path, error)
            return JSONResponse({"error": "the server cannot do this at the moment."}, status)  # paths are no one's
        return JSONResponse({"error": str(error)}, status)

    @app.post("/api/session")
    def session(arrival: Arrival) -> JSONResponse:
        return JSONResponse(study.session(arrival.code), headers={"Cache-Control": "no-store"})

    @app.post("/api/answers")
    def answers(given: GivenAnswer) -> JSONResponse:
        study.keep(given.code, given.trial, given.question, given.choice, given.seconds)
        return JSONResponse({"kept": True})

    @app.get("/pictures/{token}")
    def picture(token: str) -> Response:
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        return Response(study.pictures.png(token), media_type="image/png", headers=headers)

    app.mount("/", StaticFiles(directory=_STATIC, html=True))
    return app


def listening_socket(host: str, port: int) -> socket.socket:
    """Listen at an address; port 0 is any free one. Raises UsageError."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{host}, port {port}, cannot be listened at: {reason}. Choose another --port.") from error


def serve(study: Study, listening: socket.socket) -> None:
    """Answer until a signal ends it."""
    config = uvicorn.Config(study_app(study), log_level="warning", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listening])

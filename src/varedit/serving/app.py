"""The HTTP app around a service: the edit endpoint of the field's API, and what operators need beside it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from varedit import __version__
from varedit.errors import VAREditError
from varedit.serving.answers import EVENT_STREAM, Answer
from varedit.serving.calls import EditCall, edit_call
from varedit.serving.errors import ApiError, install_error_handlers, invalid
from varedit.serving.forms import read_body
from varedit.serving.gate import EDITS, Gate
from varedit.serving.metrics import CONTENT_TYPE
from varedit.serving.refusals import Cancelled, Draining
from varedit.serving.schemas import EDIT_REQUEST, error_answers
from varedit.serving.service import Service

STATIC = Path(__file__).parent / "static"
GONE_CHECK_SECONDS = 0.2  # how soon a client that has gone away is noticed
_HEADER_NAME = re.compile(r"[A-Za-z0-9_\[\]-]{1,64}")  # a parameter's name that may stand in a header
_MAX_IGNORED_TOLD = 20
_HEADERS = ["x-request-id", "x-varedit-ignored", "retry-after"]


def create_app(service: Service) -> FastAPI:
    """The app of a service; the model is loaded when the app starts, and edits are refused until it has been."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.start())
        yield
        await asyncio.wait({loading})
        await asyncio.to_thread(service.stop)

    settings = service.settings
    app = FastAPI(
        title="varedit",
        version=__version__,
        lifespan=lifespan,
        docs_url="/docs" if settings.docs else None,
        redoc_url=None,
    )
    app.state.service = service
    install_error_handlers(app)
    _add_edits(app, service)
    _add_models(app, service)
    _add_operations(app, service)
    if STATIC.is_dir():
        app.mount("/", _page(app), name="page")
    app.add_middleware(Gate, settings=settings, metrics=service.metrics)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id", "x-request-timeout-ms"],
            expose_headers=_HEADERS,
        )
    return app


def _page(app: FastAPI) -> StaticFiles:
    """The files of the page, behind all routes that the app has so far."""
    methods: dict[str, set[str]] = {}
    for route in app.routes:
        if isinstance(route, Route):
            methods.setdefault(route.path, set()).update(route.methods or ())

    class Page(StaticFiles):
        async def get_response(self, path: str, scope: Scope) -> Response:
            if (known := methods.get(scope["path"])) is not None:  # or a wrong method would look like a missing file
                raise HTTPException(405, headers={"Allow": ", ".join(sorted(known))})
            return await super().get_response(path, scope)

    return Page(directory=STATIC, html=True)


def _add_edits(app: FastAPI, service: Service) -> None:
    @app.post(
        EDITS,
        openapi_extra=EDIT_REQUEST,
        responses=error_answers(400, 401, 403, 404, 413, 415, 429, 500, 503, 504),
        response_model=None,
    )
    async def edit(request: Request) -> Response:
        """Edit one image as a prompt says; with `stream` the answer is a stream of events."""
        call, answer = await _begun(request, service)
        headers = _headers(call)
        if call.stream:
            return StreamingResponse(answer.stream(), media_type="text/event-stream", headers=EVENT_STREAM | headers)
        return JSONResponse(await _unless_gone(request, answer), headers=headers)


async def _begun(request: Request, service: Service) -> tuple[EditCall, Answer]:
    """Read a request and hand its edits to the engine."""
    running = service.running()
    body = await read_body(request, service.settings.max_upload_bytes)
    num_scales = running.pipeline.config.num_scales
    if "deadline_ms" not in body.values and (given := request.headers.get("x-request-timeout-ms")):
        body.values["deadline_ms"] = given
    call = edit_call(body, max_previews=num_scales, strict=service.settings.strict)
    service.check_model(call.model)
    record = request.scope["state"]["log"]
    if service.settings.log_prompts:
        record["prompt"] = call.prompt
    picture, requests, options = await service.read(call)
    if call.background == "transparent" and (picture.alpha is None or call.size is not None):
        raise invalid("background", "the image has no transparency to keep, or its size changes")
    edits = service.submit(call, requests, options)
    answer = Answer(
        service=service,
        call=call,
        picture=picture,
        edits=edits,
        request_id=request.scope["state"]["request_id"],
        record=record,
        on_preview=service.metrics.first_preview.observe,
    )
    return call, answer


async def _unless_gone(request: Request, answer: Answer) -> dict[str, Any]:
    """The body of an answer. Raises Cancelled, and stops the edits, if the client goes away meanwhile."""
    waiting = asyncio.ensure_future(answer.whole())
    try:
        while not (await asyncio.wait({waiting}, timeout=GONE_CHECK_SECONDS))[0]:
            if await request.is_disconnected():
                raise Cancelled("the client has gone away")
        return waiting.result()
    finally:
        waiting.cancel()
        answer.edits.cancel()


def _headers(call: EditCall) -> dict[str, str]:
    told = [name for name in call.ignored if _HEADER_NAME.fullmatch(name)][:_MAX_IGNORED_TOLD]
    return {"x-varedit-ignored": ", ".join(told)} if told else {}


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", responses=error_answers(401, 503))
    async def models() -> dict[str, Any]:
        """The models of this server."""
        names = dict.fromkeys((service.model, *service.settings.model_aliases, *service.others))
        return {"object": "list", "data": [service.model_card(name) for name in names]}

    @app.get("/v1/models/{name:path}", responses=error_answers(401, 404, 503))
    async def model(name: str) -> dict[str, Any]:
        """One model."""
        service.check_model(name)
        return service.model_card(name)


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/health", responses=error_answers(503))
    @app.get("/healthz", include_in_schema=False)
    async def health() -> dict[str, str]:
        """Whether the process is well; if not, it should be started again."""
        if (failure := service.failure()) is not None:
            raise ApiError(503, "not_healthy", failure)
        return {"status": "ok"}

    @app.get("/ready", responses=error_answers(503))
    async def ready() -> dict[str, str]:
        """Whether an edit would succeed now: one was finished within half a minute, or a small one is made for this."""
        try:
            await service.check_ready()
        except VAREditError as error:
            code = "draining" if isinstance(error, Draining) else "not_ready"
            raise ApiError(503, code, str(error), headers={"Retry-After": "5"}) from error
        return {"status": "ready", "model": service.model}

    @app.get("/version")
    async def version() -> dict[str, str]:
        """Of the software."""
        return {"version": __version__}

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        """Counts and times, for Prometheus."""
        state = None if service.engine is None else service.engine.state()
        return Response(service.metrics.text(state), media_type=CONTENT_TYPE)

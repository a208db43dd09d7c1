"""The server on many machines: Ray Serve places, routes, scales and restarts replicas of our app and engine.

A front on each entrance checks requests, reads them whole and hands them to a replica, which answers with the same app
that a single server has. The front turns what can go wrong between machines into the API's own errors. The one file of
serving that knows Ray.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fastapi import Request
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from varedit.adapters import merge_adapters
from varedit.errors import VAREditError
from varedit.pipeline import VAREditPipeline
from varedit.serving.app import create_app
from varedit.serving.cluster import ClusterSettings
from varedit.serving.errors import ApiError, api_error_of
from varedit.serving.forms import read_body
from varedit.serving.forwarding import Reply, WholeRequest, messages
from varedit.serving.gate import EDITS, Gate
from varedit.serving.logs import log_to_stderr
from varedit.serving.metrics import Metrics
from varedit.serving.refusals import NotReady, QueueFull
from varedit.serving.server import service_of

NAME = "varedit"
ATTEMPTS = 2  # an edit whose replica is lost is made once more; one that takes two replicas down takes no third
RETRY_SECONDS = 2.0  # what callers are told who find all replicas full
_OPEN_REQUESTS = 1000  # that a front holds; it only waits
ADAPTER_HEADER = b"serve_multiplexed_model_id"
_DRAIN_POLL_SECONDS = 0.5
_MODELS = "/v1/models/"
_LOST = (RayActorError, ReplicaUnavailableError, DeploymentUnavailableError)


def build(args: dict[str, Any]) -> serve.Application:
    """The application that ``import_path: varedit.serving.ray:build`` names in a Serve config.

    Args:
        args: see `ClusterSettings.of_file`.

    Raises: UsageError, InputMissing.
    """
    return application(ClusterSettings.of_file(args, os.environ))


def application(settings: ClusterSettings) -> serve.Application:
    """Fronts and replicas, bound together."""
    replicas = serve.deployment(
        name="replica",
        ray_actor_options={"num_cpus": settings.cpus, "num_gpus": settings.gpus},
        max_ongoing_requests=settings.max_edits,
        max_queued_requests=settings.max_waiting,
        autoscaling_config={
            "min_replicas": settings.min_replicas,
            "max_replicas": settings.max_replicas,
            "target_ongoing_requests": settings.target_edits,
            "upscale_delay_s": settings.upscale_delay,
            "downscale_delay_s": settings.downscale_delay,
        },
        graceful_shutdown_timeout_s=settings.server.drain_timeout,
        graceful_shutdown_wait_loop_s=_DRAIN_POLL_SECONDS,
        health_check_period_s=5,
    )(Replica)
    fronts = serve.deployment(
        name="front",
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=_OPEN_REQUESTS,
        graceful_shutdown_timeout_s=settings.server.drain_timeout,
        graceful_shutdown_wait_loop_s=_DRAIN_POLL_SECONDS,
    )(serve.ingress()(Front))
    return fronts.bind(settings, replicas.bind(settings))


class Replica:
    """A model on one machine, and those of its adapters that were asked for lately."""

    def __init__(self, settings: ClusterSettings) -> None:
        log_to_stderr()

        def load() -> VAREditPipeline:
            return VAREditPipeline.from_pretrained(settings.model, device=settings.device, dtype=settings.precision)

        self._base = ServedModel(load, settings)

        async def adapted(name: str) -> ServedModel:
            folder = Path(settings.adapters[name])
            return await asyncio.to_thread(
                ServedModel, lambda: with_adapters(self._base.pipeline, name, folder), settings
            )

        self._adapted = serve.multiplexed(adapted, max_num_models_per_replica=settings.loaded_adapters)

    async def answer(self, request: WholeRequest) -> AsyncGenerator[Message, None]:
        """Answer a request as a single server would, with the model that the front names through Ray."""
        name = serve.get_multiplexed_model_id()
        try:
            app = (await self._adapted(name)).app if name else self._base.app
        except VAREditError as error:
            app = ApiError(503, "not_ready", str(error), headers={"x-should-retry": "false"}).response()
        async with contextlib.aclosing(messages(app, request)) as answer:
            async for message in answer:
                yield message

    def check_health(self) -> None:
        """Told to Ray, which replaces a replica that raises here."""
        if (failure := self._base.service.failure()) is not None:
            raise RuntimeError(failure)


class ServedModel:
    """One model with its engine and its app. Ray calls ``__del__`` when it drops the least recently used one."""

    def __init__(self, load: Callable[[], VAREditPipeline], settings: ClusterSettings) -> None:
        self.service = service_of(load, settings.server, max_queue=settings.max_queue)
        self.service.engine = engine = self.service.load()
        models = 1 + min(settings.loaded_adapters, len(settings.adapters))  # that share the device
        engine.limits = dataclasses.replace(engine.limits, memory_bytes=engine.limits.memory_bytes // models)
        self.service.others = tuple(settings.adapters)
        self.app = create_app(self.service)
        self._drain_timeout = settings.server.drain_timeout

    @property
    def pipeline(self) -> VAREditPipeline:
        """The model."""
        return self.service.running().pipeline

    def __del__(self) -> None:
        if (engine := self.service.engine) is not None:
            engine.drain(self._drain_timeout)
            engine.close()


def with_adapters(base: VAREditPipeline, name: str, folder: Path) -> VAREditPipeline:
    """A model with adapters, which shares all but the transformer with its base.

    Its results do not name their weights: no folder holds them as they are.

    Raises: ModelError where the adapters do not fit; MissingExtra without peft.
    """
    transformer = copy.deepcopy(base.editor.transformer)
    merge_adapters(transformer, folder)
    config = dataclasses.replace(base.config, name=name)
    return VAREditPipeline(dataclasses.replace(base.editor, config=config, transformer=transformer.eval()))


class Front:
    """Where requests enter the cluster; holds no model."""

    def __init__(self, settings: ClusterSettings, replicas: DeploymentHandle[Any]) -> None:
        log_to_stderr()
        self._settings = settings
        self._replicas: Any = replicas.options(stream=True, method_name="answer")  # Ray types no stream's messages

    def __serve_build_asgi_app__(self) -> ASGIApp:
        gate = Gate(self._forward, self._settings.server, Metrics())

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await _lifespan(receive, send)
            else:
                await gate(scope, receive, send)

        return app

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/metrics":  # counters of one replica, then of another, would be nonsense
            raise ApiError(404, "not_found", "replicas count for themselves; scrape what Ray exports on every machine")
        request = await WholeRequest.read(scope, receive)
        replicas = self._replicas.options(multiplexed_model_id=await self._adapter(request))
        reply = Reply(send)
        if (failure := await _failure(replicas, request, reply, scope["state"]["request_id"])) is not None:
            await reply.fail(failure, scope, receive)

    async def _adapter(self, request: WholeRequest) -> str:
        """Which adapters a request wants: by Ray's header, the body's `model`, or the path; "" is none."""
        known, path = self._settings.adapters, request.scope["path"]
        if not known:
            return ""
        named = dict(request.scope["headers"]).get(ADAPTER_HEADER, b"").decode(errors="replace")
        if not named and path == EDITS and request.scope["method"] == "POST":
            try:
                body = await read_body(
                    Request(request.scope, request.receive()), self._settings.server.max_upload_bytes
                )
            except (ApiError, MultiPartException):
                return ""  # the replica will say what is wrong with it
            named = str(body.values.get("model", ""))
        elif not named and path.startswith(_MODELS):
            named = unquote(path.removeprefix(_MODELS))
        return named if named in known else ""


async def _failure(replicas: Any, request: WholeRequest, reply: Reply, request_id: str) -> ApiError | None:
    """Have a replica answer; if it is lost before the client has seen anything, another one.

    Returns what the client is still to be told; None after a whole answer.
    """
    for _ in range(ATTEMPTS):
        try:
            await reply.pass_on(replicas.remote(request))
            return None
        except BackPressureError:
            return api_error_of(QueueFull("too much is waiting already; try again shortly", RETRY_SECONDS), request_id)
        except _LOST:
            if reply.has_begun:
                return _lost()
        except RayTaskError as error:
            return api_error_of(error, request_id)
    failure = _lost()
    failure.headers["x-should-retry"] = "false"
    return failure


def _lost() -> ApiError:
    return api_error_of(NotReady("the machine that had this request was lost; send it again"), "")


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing has to be done at start and end."""
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})

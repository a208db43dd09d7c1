"""The server on many machines: Ray Serve places, routes, scales and restarts replicas of our app and engine.

A front on each entrance checks requests, reads them whole and hands them to a replica, which answers with the same app
that a single server has. The front turns what can go wrong between machines into the API's own errors. The one file of
serving that knows Ray.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from varedit.pipeline import VAREditPipeline
from varedit.serving.app import create_app
from varedit.serving.cluster import ClusterSettings
from varedit.serving.errors import ApiError, api_error_of
from varedit.serving.forwarding import Reply, WholeRequest, messages
from varedit.serving.gate import Gate
from varedit.serving.logs import log_to_stderr
from varedit.serving.metrics import Metrics
from varedit.serving.refusals import NotReady, QueueFull
from varedit.serving.server import service_of

NAME = "varedit"
ATTEMPTS = 2  # an edit whose replica is lost is made once more; one that takes two replicas down takes no third
RETRY_SECONDS = 2.0  # what callers are told who find all replicas full
_OPEN_REQUESTS = 1000  # that a front holds; it only waits
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
        health_check_period_s=5,
    )(Replica)
    fronts = serve.deployment(
        name="front",
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=_OPEN_REQUESTS,
        graceful_shutdown_timeout_s=settings.server.drain_timeout,
    )(serve.ingress()(Front))
    return fronts.bind(settings, replicas.bind(settings))


class Replica:
    """A model on one machine, with its engine and its app."""

    def __init__(self, settings: ClusterSettings) -> None:
        log_to_stderr()
        self._settings = settings
        self._service = service_of(self._load, settings.server, max_queue=settings.max_queue)
        self._service.engine = self._service.load()
        self._app = create_app(self._service)

    def _load(self) -> VAREditPipeline:
        chosen = self._settings
        return VAREditPipeline.from_pretrained(chosen.model, device=chosen.device, dtype=chosen.precision)

    async def answer(self, request: WholeRequest) -> AsyncGenerator[Message, None]:
        """Answer a request as a single server would."""
        async with contextlib.aclosing(messages(self._app, request)) as answer:
            async for message in answer:
                yield message

    def check_health(self) -> None:
        """Told to Ray, which replaces a replica that raises here."""
        if (failure := self._service.failure()) is not None:
            raise RuntimeError(failure)

    def __del__(self) -> None:
        self._service.stop()


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
        """Have a replica answer; if it is lost before the client has seen anything, another one."""
        request = await WholeRequest.read(scope, receive)
        reply = Reply(send)
        for attempt in range(ATTEMPTS):
            try:
                await reply.pass_on(self._replicas.remote(request))
                return
            except BackPressureError:
                error = api_error_of(QueueFull("too much is waiting already; try again shortly", RETRY_SECONDS), "")
                break
            except _LOST:
                is_last = attempt + 1 == ATTEMPTS
                error = _lost(may_retry=not is_last)
                if reply.has_begun:
                    break
            except RayTaskError as failure:
                error = api_error_of(failure, scope["state"]["request_id"])
                break
        await reply.fail(error, scope, receive)


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing has to be done at start and end."""
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def _lost(*, may_retry: bool) -> ApiError:
    error = api_error_of(NotReady("the machine that had this request was lost; send it again"), "")
    if not may_retry:
        error.headers["x-should-retry"] = "false"
    return error

"""`varedit serve --ray`: joins a Ray cluster, or starts one on this machine, and serves on it until told to stop."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve

from varedit.batch.machines import divided
from varedit.errors import ModelError, UsageError
from varedit.serving.addresses import address_of, bound_socket
from varedit.serving.cluster import ClusterSettings
from varedit.serving.ray import NAME, application

_KEEP_ALIVE_SECONDS = 90
_SENTENCE = re.compile(r"varedit\.errors\.\w+: (.+)")  # of an error in a replica, within what Ray says of it


def serve_on_ray(settings: ClusterSettings, on_listening: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; replicas then finish what they have begun. Returns the exit code.

    The cluster is the one that RAY_ADDRESS names, or one of this machine alone, which ends with the command. Its
    processors and GPUs are divided among the replicas.

    Raises:
        UsageError: the address is taken, or the cluster cannot be reached or is too small.
        ModelError: the replicas do not start.
    """
    server = settings.server
    server = dataclasses.replace(server, port=_free_port(server.host, server.port))
    with _connected(), _stop_signal() as stop:  # in this order: Ray takes SIGTERM for itself
        share = divided(ray, settings.max_replicas, settings.device)
        settings = dataclasses.replace(settings, server=server, cpus=share.cpus, gpus=share.gpus)
        try:
            serve.start(
                proxy_location="HeadOnly",
                http_options={
                    "host": server.host,
                    "port": server.port,
                    "keep_alive_timeout_s": _KEEP_ALIVE_SECONDS,
                },
            )
            _deploy(settings)
            on_listening(address_of(server.host, server.port))
            stop.wait()
        finally:
            serve.shutdown()  # type: ignore[no-untyped-call]  # as Ray has it
    return 0


def _deploy(settings: ClusterSettings) -> None:
    try:
        serve.run(application(settings), name=NAME, route_prefix="/")
    except RuntimeError as error:
        told = _SENTENCE.search("\n".join([str(error), *_messages()]))
        reason = told[1] if told else str(error).splitlines()[0]
        raise ModelError(f"the replicas do not start: {reason}") from error


def _messages() -> Iterator[str]:
    """What Serve says of the deployments."""
    for told in serve.status().applications.values():
        yield from (deployment.message for deployment in told.deployments.values())


@contextmanager
def _connected() -> Iterator[None]:
    address = os.environ.get("RAY_ADDRESS", "local")
    for name in ("ray", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what stops the command comes as an error
    try:
        own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"the Ray cluster {address} cannot be reached; see RAY_ADDRESS") from error
    try:
        yield
    finally:
        ray.shutdown()


def _free_port(host: str, port: int) -> int:
    """The port, or a free one for 0. Raises UsageError if it is taken, which Ray would tell in its logs only."""
    with bound_socket(host, port) as trial:
        return int(trial.getsockname()[1])


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """Set by the first SIGTERM or SIGINT; a second one has its usual effect."""
    stop = threading.Event()
    usual = {sig: signal.getsignal(sig) for sig in (signal.SIGTERM, signal.SIGINT)}

    def told(number: int, frame: object) -> None:
        stop.set()
        for sig, handler in usual.items():
            signal.signal(sig, handler)

    for sig in usual:
        signal.signal(sig, told)
    try:
        yield stop
    finally:
        for sig, handler in usual.items():
            signal.signal(sig, handler)

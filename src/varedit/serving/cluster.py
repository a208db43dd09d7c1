"""What an operator may choose about a model that is served by many machines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from varedit.errors import UsageError
from varedit.serving.settings import ServerSettings, read_api_key

ANYWHERE = "0.0.0.0"  # noqa: S104  # where a cluster's proxies listen unless their file says otherwise


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """One model on many machines.

    Attributes:
        server: what callers meet on every machine.
        model, device, precision: of each replica, as `VAREditPipeline.from_pretrained` takes them.
        adapters: names of further models, and the folders of their adapters, which every machine must see.
        loaded_adapters: how many of them a replica holds at once.
        min_replicas, max_replicas: between which Ray chooses by the edits that are under way.
        target_edits: requests under way in each replica at which there are as many replicas as it should be.
        max_edits: requests that one replica holds; more wait at the front.
        max_waiting: requests that wait at the front; more are refused.
        max_queue: edits that wait in a replica's engine; None is what suits its device.
        cpus, gpus: of a machine, for each replica. Half a GPU shares its time, not its memory.
        upscale_delay, downscale_delay: seconds for which there are too few or too many replicas before that is changed.
    """

    server: ServerSettings = field(default_factory=ServerSettings)
    model: str | None = None
    device: str = "auto"
    precision: str = "auto"
    adapters: Mapping[str, str] = field(default_factory=dict)
    loaded_adapters: int = 3
    min_replicas: int = 1
    max_replicas: int = 1
    target_edits: float = 4.0
    max_edits: int = 16
    max_waiting: int = 64
    max_queue: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    upscale_delay: float = 10.0
    downscale_delay: float = 600.0

    def __post_init__(self) -> None:
        for name in ("loaded_adapters", "min_replicas", "max_edits", "max_waiting"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.max_replicas < self.min_replicas:
            raise UsageError(
                f"max_replicas ({self.max_replicas}) must not be smaller than min_replicas ({self.min_replicas})"
            )

    @classmethod
    def of_file(cls, args: Mapping[str, Any], environment: Mapping[str, str]) -> Self:
        """From ``args`` of a Serve config: fields by name, ``server`` with those of the server, ``api_key_file``.

        Its key stands in the environment or in that file. Raises: UsageError, InputMissing.
        """
        given = dict(args)
        key_file = given.pop("api_key_file", None)
        server: dict[str, Any] = {"host": ANYWHERE} | dict(given.pop("server", {}))
        _check_names("args", given, {known.name for known in dataclasses.fields(cls)} - {"server"})
        _check_names("args.server", server, {known.name for known in dataclasses.fields(ServerSettings)} - {"api_key"})
        lists = {name: tuple(value) for name, value in server.items() if isinstance(value, list)}
        key = read_api_key(environment, None if key_file is None else Path(key_file))
        return cls(server=ServerSettings(api_key=key, **server | lists), **given)


def _check_names(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(given) - known):
        raise UsageError(f"{where} of the Serve config has an unknown key {unknown[0]!r}; known are {sorted(known)}")

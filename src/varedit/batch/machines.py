"""The same job on many machines through Ray Data: each worker holds a model and streams its share of the edits.

Workers read photographs and park results in the shared folder; the driver alone writes the journal and gives results
their names, so a worker that dies, or is run again by Ray, spoils nothing. The one file that knows Ray.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from varedit.batch.edits import Edit
from varedit.batch.journal import Outcome
from varedit.batch.stream import MAX_BATCH, EditSettings, default_batch_size, stream_edits
from varedit.errors import InputMissing, MissingExtra, ModelError, OutputError, UsageError, VAREditError
from varedit.pipeline import VAREditPipeline

BATCHES_A_TASK = 2  # of the largest batch: few enough to lose little with a machine, enough to overlap within a task
_ERRORS = (UsageError, InputMissing, ModelError, OutputError)


@dataclass(frozen=True)
class RayWorkers:
    """Workers of a Ray cluster: the one that RAY_ADDRESS names, or one that is started on this machine.

    Attributes:
        workers: how many; None is one a GPU, or one a machine where there is none.
        batch_size: edits that a worker draws together; None is what fits its device.
    """

    workers: int | None = None
    batch_size: int | None = None

    def outcomes(self, edits: Sequence[Edit], settings: EditSettings, parked: Path) -> Generator[Outcome, None, None]:
        """Make the edits; paths must mean the same on every machine.

        Raises: MissingExtra without Ray; UsageError if its cluster cannot be reached; the first error of a worker that
            is not of one edit alone.
        """
        ray, data = _ray()
        _connect(ray)
        try:
            share = divided(ray, self.workers, str(settings.loading.get("device", "auto")))
            edits_a_task = BATCHES_A_TASK * (self.batch_size or MAX_BATCH)
            edits_a_task = max(1, min(edits_a_task, math.ceil(len(edits) / (2 * share.workers))))
            rows = data.from_items(
                [{"edit": edit.to_json()} for edit in edits],
                override_num_blocks=math.ceil(len(edits) / edits_a_task),
            )
            results = rows.map_batches(
                Worker,
                fn_constructor_kwargs={"settings": settings, "parked": str(parked), "batch_size": self.batch_size},
                batch_size=None,  # a block is a task
                compute=data.ActorPoolStrategy(size=share.workers, max_tasks_in_flight_per_actor=2),
                num_cpus=share.cpus,
                num_gpus=share.gpus,
            )
            for row in results.iter_rows():
                yield outcome_of(row)
        finally:
            ray.shutdown()


class Worker:
    """Holds a model on one machine; Ray Data calls it with blocks of edits."""

    def __init__(self, settings: EditSettings, parked: str, batch_size: int | None) -> None:
        self.settings = settings
        self.parked = Path(parked)
        self.batch_size = batch_size
        self.pipeline: VAREditPipeline | None = None

    def __call__(self, block: dict[str, Any]) -> dict[str, list[Any]]:
        """Make the edits of a block. An error that is not of one edit alone comes back as a row of its own."""
        edits = [Edit.from_json(str(line)) for line in block["edit"]]
        try:
            if self.pipeline is None:  # here, not in the constructor, where Ray would hide the sentence
                self.pipeline = self.settings.load()
            size = self.batch_size or default_batch_size(self.pipeline)
            outcomes = stream_edits(self.pipeline, edits, self.settings, self.parked, batch_size=size)
            lines, codes = [outcome.to_json() for outcome in outcomes], [0] * len(edits)
        except VAREditError as error:
            lines, codes = [str(error)], [error.exit_code]
        return {"line": lines, "exit_code": codes}


@dataclass(frozen=True)
class Share:
    """What the cluster gives: how many workers, and what each has of its machine."""

    workers: int
    cpus: int
    gpus: int


def _ray() -> tuple[Any, Any]:
    """Ray and Ray Data."""
    try:
        return importlib.import_module("ray"), importlib.import_module("ray.data")
    except ImportError as error:
        raise MissingExtra("Editing on many machines", "ray") from error


def _connect(ray: Any) -> None:
    address = os.environ.get("RAY_ADDRESS", "local")
    own = {"include_dashboard": False} if address == "local" else {}
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what stops a job comes as an error
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"the Ray cluster {address} cannot be reached; see RAY_ADDRESS") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the command shows its own


def divided(ray: Any, workers: int | None, device: str) -> Share:
    """Divide the cluster among workers: a GPU each where there are some, the processors of a machine in equal parts."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(machine.get("GPU", 0) for machine in machines))
    wants_gpu = gpus > 0 and (device == "auto" or device.startswith("cuda"))
    workers = workers or (gpus if wants_gpu else len(machines))
    fewest = min(int(machine["CPU"]) for machine in machines if machine.get("CPU"))
    cpus = max(1, fewest // math.ceil(workers / len(machines)))
    if wants_gpu and workers > gpus:
        raise UsageError(f"there are {workers} workers for {gpus} GPUs of the cluster; give --workers {gpus} or fewer")
    if workers > sum(int(machine.get("CPU", 0)) // cpus for machine in machines):
        raise UsageError(f"the cluster has too few processors for {workers} workers; give --workers a smaller number")
    return Share(workers, cpus, 1 if wants_gpu else 0)


def outcome_of(row: dict[str, Any]) -> Outcome:
    """What a worker's row says; its error, if it stopped, is raised here."""
    if code := int(row["exit_code"]):
        kind = next((kind for kind in _ERRORS if kind.exit_code == code), VAREditError)
        raise kind(str(row["line"]))
    return Outcome.from_json(str(row["line"]))

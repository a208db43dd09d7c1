"""Everything that changes while a run goes on, brought to its checkpoint and back.

One process, or many that hold the same weights, keep one file. Sharded weights are written by all processes together
into a folder (torch.distributed.checkpoint), which can be read again by another number of them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from varedit.errors import UsageError
from varedit.training.averages import ExponentialAverage, learned_weights
from varedit.training.batches import DataPosition
from varedit.training.processes import Processes
from varedit.training.run import CHECKPOINT, RunFolder, flush

FACTS = "facts.json"
_LEARNED = StateDictOptions(ignore_frozen_params=True)


@dataclass
class TrainingState:
    """What a checkpoint holds.

    Attributes:
        module: its weights may be sharded.
        optimizer: made of the module's parameters.
        average: of the module's weights.
        data: where this process's data stand; its step is the next one.
        metrics: of the last validation.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: ExponentialAverage
    data: DataPosition = field(default_factory=DataPosition)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Steps that are done."""
        return self.data.step

    def save(self, run: RunFolder, processes: Processes) -> None:
        """Replace the run's checkpoint; all processes must call this at once. Raises OutputError."""
        streams = processes.gathered(self.data.streams)
        if processes.shards_weights:
            self._save_shards(run, processes, streams)
        elif processes.is_main:
            run.save_checkpoint(
                {
                    "step": self.step,
                    "metrics": self.metrics,
                    "module": learned_weights(self.module),
                    "average": self.average.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "streams": streams,
                }
            )
        processes.wait()

    def load(self, run: RunFolder, processes: Processes) -> None:
        """Go back to the run's checkpoint, if it has one.

        Raises:
            UsageError: it was written by processes of another kind, or where data are read from outside by another
                number of them.
        """
        shards = _newest_shards(run.path)
        of_another_kind = (run.path / CHECKPOINT).exists() if processes.shards_weights else shards is not None
        if of_another_kind:
            words = ("without --use_fsdp", "with") if processes.shards_weights else ("with --use_fsdp", "without")
            raise UsageError(f"the run in {run.path} was begun {words[0]} and cannot go on {words[1]} it")
        if shards is not None:
            self._load_shards(shards, processes)
        elif state := run.load_checkpoint():
            self.module.load_state_dict(state["module"], strict=False)  # what is frozen is not in it
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self._place(state, processes)

    def _place(self, facts: dict[str, Any], processes: Processes) -> None:
        streams = facts.get("streams", [{}])
        if any(streams) and len(streams) != processes.count:
            raise UsageError(
                f"this run reads records from outside in {len(streams)} processes and cannot go on in "
                f"{processes.count}; launch as many as before"
            )
        self.metrics = facts["metrics"]
        self.data = DataPosition(facts["step"], streams[processes.rank] if any(streams) else {})

    def _tensors(self) -> dict[str, Any]:
        optimizer = get_optimizer_state_dict(self.module, self.optimizer, options=_LEARNED)
        return {
            "module": learned_weights(self.module),
            "average": self.average.weights,
            "optimizer": optimizer["state"],
        }

    def _save_shards(self, run: RunFolder, processes: Processes, streams: list[Any]) -> None:
        older = sorted(run.path.glob("checkpoint-*"))
        whole = run.path / f"checkpoint-{self.step:08d}"
        temporary = run.path / f".{whole.name}.tmp"
        facts = {
            "step": self.step,
            "metrics": self.metrics,
            "updates": self.average.updates,
            "streams": streams,
        }
        with run.written(CheckpointException):
            if processes.is_main:
                shutil.rmtree(temporary, ignore_errors=True)
            processes.wait()
            state_dict_saver.save(self._tensors(), checkpoint_id=temporary)
            if processes.is_main:
                (temporary / FACTS).write_text(json.dumps(facts), encoding="utf-8")
                flush(temporary / FACTS)
                temporary.rename(whole)
                for folder in older:
                    shutil.rmtree(folder)

    def _load_shards(self, folder: Path, processes: Processes) -> None:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        tensors = self._tensors()
        groups = get_optimizer_state_dict(self.module, self.optimizer, options=_LEARNED)["param_groups"]
        state_dict_loader.load(tensors, checkpoint_id=folder)
        self.module.load_state_dict(tensors["module"], strict=False)
        self.average.load_state_dict({"updates": facts["updates"], "weights": tensors["average"]})
        set_optimizer_state_dict(
            self.module,
            self.optimizer,
            {"state": tensors["optimizer"], "param_groups": groups},
            options=_LEARNED,
        )
        self._place(facts, processes)


def _newest_shards(folder: Path) -> Path | None:
    """The last whole checkpoint of sharded weights."""
    return max(folder.glob("checkpoint-*"), default=None)

"""The processes that train together, as Accelerate has launched them: one, many GPUs, many nodes.

One process needs no launcher. `accelerate launch --use_fsdp --fsdp_version 2` shards the weights among the processes
(FSDP2), for models that one device cannot train. Nothing random depends on the number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel

from varedit.errors import MissingExtra, UsageError
from varedit.transformer.block import Block

if TYPE_CHECKING:
    from accelerate import Accelerator

# One process validates and writes files while the others wait for it.
LONGEST_WAIT = timedelta(hours=6)


@dataclass(frozen=True)
class Processes:
    """This process among those of its training."""

    accelerator: Accelerator

    @classmethod
    def joined(cls) -> Processes:
        """The processes that this one was launched with.

        Raises:
            MissingExtra: Accelerate is not installed.
            UsageError: the launcher asks for FSDP1.
        """
        try:
            from accelerate import Accelerator, InitProcessGroupKwargs
        except ImportError as error:
            raise MissingExtra("training", "train") from error
        handlers = [InitProcessGroupKwargs(timeout=LONGEST_WAIT)]
        processes = cls(Accelerator(mixed_precision="no", kwargs_handlers=handlers))  # a recipe says the precision
        if processes.shards_weights and os.environ.get("FSDP_VERSION", "1") != "2":
            raise UsageError("weights are sharded by FSDP2 only; launch with: accelerate launch --fsdp_version 2")
        return processes

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return torch.device(self.accelerator.device)

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.accelerator.num_processes)

    @property
    def rank(self) -> int:
        """Which one this is, counted from 0."""
        return int(self.accelerator.process_index)

    @property
    def is_main(self) -> bool:
        """Whether this is the one that validates, writes files and talks."""
        return bool(self.accelerator.is_main_process)

    @property
    def shards_weights(self) -> bool:
        """Whether each process holds a part of every weight."""
        return self.count > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("1", "true")

    def spread(self, module: nn.Module, *, some_rest: bool) -> nn.Module:
        """Bring a module to the device; where there are several processes, its gradients are averaged over them.

        Parameters may be replaced, so that an optimiser is made afterwards. All uses of the weights must come from the
        module's `forward`.

        Args:
            some_rest: whether there are steps in which some weights are not used.
        """
        if not self.shards_weights:
            from accelerate import DistributedDataParallelKwargs

            self.accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=some_rest)
            prepared: nn.Module = self.accelerator.prepare_model(module)
            return prepared
        # Not Accelerator.prepare: it shards on accelerators only, and does not know `in_context`.
        mesh = init_device_mesh(self.device.type, (self.count,))
        for part in module.modules():
            if isinstance(part, Block):
                fully_shard(part, mesh=mesh)
                register_fsdp_forward_method(part, "in_context")
        fully_shard(module.to(self.device), mesh=mesh)
        return module

    def without_averaging(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Within it, gradients of a module from `spread` stay in their process: for parts of a step before the last."""
        if isinstance(module, DistributedDataParallel):
            return module.no_sync()
        return _unshared_gradients(module) if isinstance(module, FSDPModule) else nullcontext()

    def mean(self, values: list[float]) -> list[float]:
        """The mean of each number over all processes."""
        if self.count == 1:
            return values
        summed: Tensor = self.accelerator.reduce(torch.tensor(values, device=self.device), "mean")
        return summed.tolist()

    def gathered(self, value: Any) -> list[Any]:
        """The value of every process, by rank."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        return list(gather_object([value]))

    def wait(self) -> None:
        """Until all processes are here."""
        self.accelerator.wait_for_everyone()


@contextmanager
def _unshared_gradients(module: FSDPModule) -> Iterator[None]:
    module.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        module.set_requires_gradient_sync(True)


def plain_attention(device: torch.device) -> AbstractContextManager[Any]:
    """On CPUs the plain formula: the fused attention's backward pass is slower there at the lengths of small models."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()

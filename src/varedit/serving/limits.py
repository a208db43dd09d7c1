"""How much the engine takes on at once: counts, pixels, and bytes by the memory plan."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch

from varedit.batch.stream import default_batch_size
from varedit.errors import UsageError
from varedit.memory import MemoryOptions, MemoryPlan, memory_plan
from varedit.pipeline import VAREditPipeline
from varedit.serving.edits import BatchKey

ACTIVE_BATCHES = 4
SHARE_OF_MEMORY = 0.7  # of what is free when the server starts; estimates leave out the allocator's own losses
QUEUED_EDITS = 32
QUEUED_BATCHES = 4
HELD_PIXELS = 200_000_000


@dataclass(frozen=True, kw_only=True)
class EngineLimits:
    """Bounds of one engine.

    Attributes:
        max_batch: edits drawn together. 1 on a CPU: a batch of four saved a quarter of the time there, but its
            rounding differs from that of an edit alone, and equal bytes are worth more.
        max_active: batches under way at once; the engine changes between them after each scale.
        max_queue: edits that wait.
        max_pixels: of all photographs in the engine.
        memory_bytes: beside the weights, for what is under way.
    """

    max_batch: int
    max_active: int = ACTIVE_BATCHES
    max_queue: int = QUEUED_EDITS
    max_pixels: int = HELD_PIXELS
    memory_bytes: int

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_active", "max_queue", "max_pixels", "memory_bytes"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")

    @classmethod
    def of(cls, pipeline: VAREditPipeline, *, max_queue: int | None = None) -> Self:
        """What suits a model on its device, by the memory that is free now."""
        max_batch = 1 if pipeline.device.type == "cpu" else default_batch_size(pipeline)
        queue = max(QUEUED_EDITS, QUEUED_BATCHES * max_batch) if max_queue is None else max_queue
        memory = int(SHARE_OF_MEMORY * _free_bytes(pipeline.device))
        return cls(max_batch=max_batch, max_queue=queue, memory_bytes=memory)


def batch_memory(pipeline: VAREditPipeline, key: BatchKey, count: int) -> MemoryPlan:
    """What a batch of ``count`` edits needs beside the weights."""
    template, options, is_guided = key
    settings = MemoryOptions(
        bytes_per_value=pipeline.dtype.itemsize, guidance=is_guided, batch=count * options.choice.count
    )
    return memory_plan(pipeline.config, template, {}, settings)


def bytes_together(plans: Iterable[MemoryPlan]) -> int:
    """What batches under way need: every one its cache, and the one that is computed its widest moment."""
    plans = list(plans)
    caches = sum(plan.cache for plan in plans)
    return caches + max((max(plan.encode, plan.step, plan.decode) for plan in plans), default=0)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # systems that do not tell
        return 4 * 2**30

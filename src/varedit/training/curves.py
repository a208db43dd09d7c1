"""Metrics as curves for TensorBoard, where it is installed; a run goes on without them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Curves:
    """The event files of one run; None where TensorBoard is not installed."""

    writer: SummaryWriter | None

    @classmethod
    def opened(cls, folder: Path, step: int) -> Curves:
        """Go on from a step: what was written of later ones is no longer shown."""
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            LOG.warning("no curves are written for TensorBoard; install it with: pip install 'varedit[train]'")
            return cls(None)
        return cls(SummaryWriter(str(folder), purge_step=step + 1 if step else None))

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Add the metrics of a step."""
        if self.writer is None:
            return
        for name, value in metrics.items():
            if name != "step":
                self.writer.add_scalar(name, value, metrics["step"])

    def close(self) -> None:
        """Write what is still waiting."""
        if self.writer is not None:
            self.writer.close()

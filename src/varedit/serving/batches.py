"""One batch under way in the engine, in steps of one scale. Runs on the engine's thread alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from varedit.generation import GeneratedScale
from varedit.memory import MemoryPlan
from varedit.pipeline import VAREditPipeline
from varedit.results import EditOutput
from varedit.runs import EditRun
from varedit.serving.edits import ScaleDone, SubmittedEdit


@dataclass(eq=False)
class Batch:
    """Edits of one key.

    Attributes:
        pipeline: the model.
        edits: in the order of the batch.
        plan: the memory that it needs.
        drawn: scales so far.
    """

    pipeline: VAREditPipeline
    edits: list[SubmittedEdit]
    plan: MemoryPlan
    drawn: int = 0
    _run: EditRun = field(init=False)
    _scales: Iterator[GeneratedScale] | None = None

    def __post_init__(self) -> None:
        template, options, _ = self.edits[0].key
        # From the seeds, not from generators that an earlier try may have used up.
        requests = [
            dataclasses.replace(edit.request, generator=torch.Generator().manual_seed(edit.request.seed))
            for edit in self.edits
        ]
        self._run = self.pipeline.run(requests, template, options)

    @property
    def num_scales(self) -> int:
        """K."""
        return len(self._run.template.schedule)

    @property
    def age(self) -> float:
        """When its oldest edit was submitted."""
        return min(edit.submitted for edit in self.edits)

    def is_unwanted(self) -> bool:
        """Whether nobody waits for any of its edits."""
        return all(edit.is_over or edit.is_cancelled for edit in self.edits)

    def step(self, *, may_preview: bool) -> None:
        """Draw the next scale and tell of it; the first step also reads photographs and instructions."""
        if self._scales is None:
            self._run.encode()
            self._scales = self._run.scales()
        state = next(self._scales)
        self.drawn = state.index + 1
        previews = self._previews(state.index) if may_preview else {}
        for place, edit in enumerate(self.edits):
            grid = self._run.template.schedule.grids[state.index]
            edit.tell(ScaleDone(index=state.index, total=self.num_scales, grid=grid, preview=previews.get(place)))

    def finishers(self) -> list[Callable[[], EditOutput]]:
        """Decode; what is returned finishes one edit each, on any thread, and holds on to nothing of the model."""
        assert self.drawn == self.num_scales, "a batch is finished after its last scale"
        return self.pipeline.unfinished(self._run, self.edits[0].key[1])

    def _previews(self, index: int) -> dict[int, Image.Image]:
        """Pictures of the edits that want one after this scale, by their place; all are decoded together."""
        wanted = [place for place, edit in enumerate(self.edits) if index in edit.previews and not edit.is_cancelled]
        if not wanted or index + 1 == self.num_scales:
            return {}
        decoded = self._run.decoded()
        return {place: self._shown(decoded[place], place) for place in wanted}

    def _shown(self, pixels: np.ndarray[tuple[int, ...], np.dtype[np.float32]], place: int) -> Image.Image:
        """The decoder's pixels (3, h, w) in [-1, 1] without the padding around the photograph, in its proportions."""
        fit = self._run.fits[place]
        levels = np.rint((np.clip(pixels, -1, 1) + 1) * 127.5).astype(np.uint8)
        image = Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))
        share = min(1.0, max(fit.model_width, fit.model_height) / max(fit.width, fit.height))
        size = (max(1, round(fit.width * share)), max(1, round(fit.height * share)))
        return image.resize(size, Image.Resampling.BICUBIC, box=fit.model_box)

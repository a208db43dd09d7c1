"""Edits streamed through one model: reading, drawing and restoring overlap, and what is held does not grow.

Threads read and decode photographs ahead of the model, others restore, encode and park results behind it; the caller's
own thread is the model's. Photographs of one template gather until they fill a batch. Knows nothing of journals: what
became of an edit is an `Outcome`, in the order in which edits end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from varedit.batch.edits import Edit
from varedit.batch.journal import Outcome, parking_name, source_state
from varedit.errors import VAREditError
from varedit.images import Picture, load_mask, read_image
from varedit.memory import MemoryOptions, memory_plan
from varedit.output import check_output_path, save_image
from varedit.pipeline import RunOptions, VAREditPipeline
from varedit.provenance import Told, as_told
from varedit.requests import EditRequest
from varedit.results import EditOutput
from varedit.scales import Template

READERS = 4  # threads; decoding lets other threads run, so that more than one helps even on two cores
MAX_PIXELS_HELD = 100_000_000  # of photographs between reading and writing; restoring one takes 40 bytes a pixel
MAX_WAITING_BATCHES = 4  # how many unlike templates may gather before one is drawn that is not full
MAX_BATCH = 16  # by default; and on a CPU, where more would only make the first results late
MAX_CPU_BATCH = 8
CPU_BATCH_BYTES = 2 * 2**30  # what a default batch may hold on a CPU, beside the weights


@dataclass(frozen=True, kw_only=True)
class EditSettings:
    """What all edits of a job share.

    Attributes:
        model: folder or hub id; None is the model inside the package.
        loading: further arguments of `VAREditPipeline.from_pretrained`, JSON values.
        call: arguments of `VAREditPipeline.requests` but image, prompt and mask; likewise.
        metadata: what results say of how they were made, see `provenance.as_told`.
    """

    model: str | None
    loading: Mapping[str, Any]
    call: Mapping[str, Any]
    metadata: Told

    def load(self) -> VAREditPipeline:
        """The pipeline that they ask for."""
        return VAREditPipeline.from_pretrained(self.model, **self.loading)

    def of_edit(self, edit: Edit) -> dict[str, Any]:
        """The arguments of `VAREditPipeline.requests` for one edit, its mask excepted."""
        own = {"guidance_scale": edit.guidance, "temperature": edit.temperature, "seed": edit.seed}
        return {**self.call, **{name: value for name, value in own.items() if value is not None}}

    def fingerprint(self, edit: Edit) -> dict[str, Any]:
        """What the result of an edit depends on besides its image; two equal ones give one result."""
        loading = {name: value for name, value in self.loading.items() if name != "device"}
        return {
            "instruction": edit.instruction,
            "mask": None if edit.mask is None else str(edit.mask),
            "model": self.model,
            "metadata": self.metadata,
            **loading,
            **self.of_edit(edit),
        }


def stream_edits(
    pipeline: VAREditPipeline, edits: Iterable[Edit], settings: EditSettings, parked: Path, *, batch_size: int
) -> Generator[Outcome, None, None]:
    """Make edits; yield what became of each, soon after its result is parked.

    A photograph that cannot be read or edited costs its own edit only. A result equals that of the same edit alone.

    Args:
        pipeline: the model.
        edits: with seeds.
        settings: shared by them.
        parked: folder for results, which get names of no meaning.
        batch_size: edits at most that are drawn together; see `default_batch_size`.

    Raises: OutputError, if results cannot be written: no later one could.
    """
    processors = max(2, torch.get_num_threads())  # those that this process may use, of a machine shared with others
    with ThreadPoolExecutor(READERS, "read") as readers, ThreadPoolExecutor(processors, "restore") as restorers:
        flow = _Flow(pipeline, iter(edits), settings, parked, batch_size, readers, restorers)
        try:
            yield from flow.outcomes()
        finally:
            readers.shutdown(wait=False, cancel_futures=True)
            restorers.shutdown(wait=False, cancel_futures=True)


def default_batch_size(pipeline: VAREditPipeline) -> int:
    """How many edits of the model's largest template to draw at once: what memory allows, up to what still helps."""
    device = pipeline.device
    budget = float(CPU_BATCH_BYTES)
    if device.type == "cuda":
        budget = 0.7 * torch.cuda.mem_get_info(device)[0]  # the estimate leaves out the allocator's own losses
    most = MAX_CPU_BATCH if device.type == "cpu" else MAX_BATCH
    return max((count for count in range(2, most + 1) if _needed_bytes(pipeline, count) <= budget), default=1)


def _needed_bytes(pipeline: VAREditPipeline, batch: int) -> int:
    """What a batch of edits takes beside the weights, by plan, at the template that takes most."""
    options = MemoryOptions(bytes_per_value=pipeline.dtype.itemsize, batch=batch)
    templates = pipeline.config.templates.templates
    return max(memory_plan(pipeline.config, template, {}, options).total for template in templates)


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """An edit whose photograph has been read."""

    edit: Edit
    source: tuple[int, int] | None
    picture: Picture
    request: EditRequest
    options: RunOptions
    template: Template

    @property
    def pixels(self) -> int:
        return self.picture.width * self.picture.height


@dataclass
class _Flow:
    """What is under way.

    Attributes:
        reading: photographs, in the order of their edits.
        waiting: by template, photographs that wait for a full batch.
        restoring: results, in the order of drawing.
        failed: outcomes of edits that the model refused.
    """

    pipeline: VAREditPipeline
    edits: Iterator[Edit]
    settings: EditSettings
    parked: Path
    batch_size: int
    readers: ThreadPoolExecutor
    restorers: ThreadPoolExecutor
    reading: deque[Future[_Ready | Outcome]] = field(default_factory=deque)
    waiting: dict[Template, list[_Ready]] = field(default_factory=dict)
    restoring: dict[Future[Outcome], int] = field(default_factory=dict)  # and their pixels
    failed: list[Outcome] = field(default_factory=list)
    are_all_read: bool = False

    def outcomes(self) -> Iterator[Outcome]:
        """Carry all edits through."""
        while True:
            self._read_ahead()
            if (template := self._full_template()) is not None:
                self._draw(self._taken(template))
            elif self.reading:
                yield from self._read()
            elif self.waiting:
                self._draw(self._taken(max(self.waiting, key=lambda template: len(self.waiting[template]))))
            elif not self.restoring:
                return
            else:
                wait(self.restoring, return_when=FIRST_COMPLETED)
            yield from self._ended()

    def _read_ahead(self) -> None:
        """Keep the readers busy, unless enough lies between them and the disk."""
        while not self.are_all_read and len(self.reading) < READERS and self._has_room():
            edit = next(self.edits, None)
            if edit is None:
                self.are_all_read = True
            else:
                self.reading.append(self.readers.submit(self._ready, edit))

    def _has_room(self) -> bool:
        waiting = [ready for group in self.waiting.values() for ready in group]
        held = sum(ready.pixels for ready in waiting) + sum(self.restoring.values())
        return held < MAX_PIXELS_HELD and len(waiting) < MAX_WAITING_BATCHES * self.batch_size

    def _ready(self, edit: Edit) -> _Ready | Outcome:
        """Read what an edit needs; on a reader's thread."""
        source = source_state(edit.image)  # before reading: a file that changes meanwhile is another one next time
        try:
            picture = read_image(edit.image, name=str(edit.image))
            size = (picture.width, picture.height)
            check_output_path(self.parked / f"size{Path(edit.output).suffix}", force=True, size=size)
            mask = None if edit.mask is None else load_mask(edit.mask, *size, name=str(edit.mask))
            requests, options = self.pipeline.requests(
                picture, edit.instruction, mask=mask, **self.settings.of_edit(edit)
            )
        except VAREditError as error:
            return self._outcome(edit, source, error=str(error))
        template = self.pipeline.template(requests[0], options)
        return _Ready(
            edit=edit, source=source, picture=picture, request=requests[0], options=options, template=template
        )

    def _read(self) -> Iterator[Outcome]:
        """Take in the next photograph, waiting for it."""
        found = self.reading.popleft().result()
        if isinstance(found, Outcome):
            yield found
        else:
            self.waiting.setdefault(found.template, []).append(found)

    def _full_template(self) -> Template | None:
        return next((template for template, group in self.waiting.items() if len(group) >= self.batch_size), None)

    def _taken(self, template: Template) -> list[_Ready]:
        return self.waiting.pop(template)

    def _draw(self, batch: list[_Ready]) -> None:
        """Let the model draw a batch, and hand its results to the restorers. What the model refuses is drawn alone."""
        try:
            unfinished = self.pipeline.begin([ready.request for ready in batch], batch[0].options)
        except VAREditError as error:
            if len(batch) == 1:
                self.failed.append(self._outcome(batch[0].edit, batch[0].source, error=str(error)))
                return
            for ready in batch:
                self._draw([ready])
            return
        for ready, finish in zip(batch, unfinished, strict=True):
            self.restoring[self.restorers.submit(self._park, ready, finish)] = ready.pixels

    def _park(self, ready: _Ready, finish: Callable[[], EditOutput]) -> Outcome:
        """Restore one result and write it; on a restorer's thread."""
        output = finish()
        name = parking_name(ready.edit.output)
        save_image(
            np.asarray(output.images[0]),
            self.parked / name,
            alpha=ready.picture.alpha,
            provenance=as_told(output.settings[0], self.settings.metadata),
        )
        return self._outcome(ready.edit, ready.source, parked=name, notes=(*ready.picture.notes, *output.notes[0]))

    def _ended(self) -> Iterator[Outcome]:
        """What has ended since the last call."""
        while self.failed:
            yield self.failed.pop()
        for future in [future for future in self.restoring if future.done()]:
            del self.restoring[future]
            yield future.result()

    def _outcome(self, edit: Edit, source: tuple[int, int] | None, **what: Any) -> Outcome:
        return Outcome(output=edit.output, settings=self.settings.fingerprint(edit), source=source, **what)

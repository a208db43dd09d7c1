"""The model behind the HTTP app: its engine once it has loaded, whether it is ready, and calls made into edits."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from varedit.edited_codes import EditedCodes
from varedit.errors import UsageError, VAREditError
from varedit.images import Picture, load_mask, read_image
from varedit.pipeline import RunOptions
from varedit.requests import EditRequest
from varedit.serving.calls import EditCall
from varedit.serving.edits import EditEvent, EventQueue, Failed, Finished, ScaleDone, SubmittedEdit
from varedit.serving.engine import Engine
from varedit.serving.errors import ApiError, invalid
from varedit.serving.metrics import Metrics
from varedit.serving.refusals import Draining, NotReady, QueueFull, Refused
from varedit.serving.settings import ServerSettings

READERS = 2  # photographs decoded at once; each may need some hundred MB
PROOF_SECONDS = 30.0  # how long a finished edit proves that the next will be finished too
PROBE_SECONDS = 20.0
STALL_SECONDS = 60.0
_PROBE_SIDE = 32  # pixels

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Service:
    """What an app serves.

    Attributes:
        load: makes the engine, started; called once, on a thread of its own, when the app starts.
        settings: of the server.
        metrics: what it counts; the engine should have it as its observer.
        engine: None until it has loaded.
        loading_error: why it could not be loaded.
        others: models that the same server has beside this one, where another service answers for them.
    """

    load: Callable[[], Engine]
    settings: ServerSettings
    metrics: Metrics
    engine: Engine | None = None
    loading_error: str | None = None
    others: tuple[str, ...] = ()
    created: int = field(default_factory=lambda: int(time.time()))
    _proof: float | None = None
    _readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READERS))
    _probing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self) -> None:
        """Load the model."""
        try:
            self.engine = await asyncio.to_thread(self.load)
        except VAREditError as error:
            self.loading_error = str(error)
            log.error("the model cannot be loaded: %s", error)

    def stop(self) -> None:
        """Stop the engine; edits that are not finished end with an error."""
        if self.engine is not None:
            self.engine.close()

    def running(self) -> Engine:
        """The engine. Raises NotReady while there is none."""
        if self.engine is None:
            raise NotReady(self.loading_error or "the model is still being loaded; try again in a few seconds")
        return self.engine

    @property
    def model(self) -> str:
        """The model's name."""
        return self.running().pipeline.config.name

    def check_model(self, name: str | None) -> None:
        """Raise ApiError unless a name means the model of this server."""
        names = (self.model, *self.settings.model_aliases)
        if name is not None and name not in names:
            raise ApiError(
                404, "model_not_found", f"there is no model {name!r:.80} here; there is {self.model}", param="model"
            )

    def model_card(self, name: str) -> dict[str, object]:
        """One entry of the list of models."""
        return {"id": name, "object": "model", "created": self.created, "owned_by": "varedit"}

    def failure(self) -> str | None:
        """Why the process should be started again; None while it is well."""
        if self.engine is None:
            return self.loading_error
        state = self.engine.state()
        if state.stalled > STALL_SECONDS:
            return f"no scale was drawn for {state.stalled:.0f} s"
        return state.failure

    async def check_ready(self) -> None:
        """Return if an edit was finished lately; else make one. Raises Refused or another error if that fails."""
        engine = self.running()
        state = engine.state()
        if state.failure is not None:
            raise NotReady(f"the model has failed: {state.failure}")
        if state.is_draining:
            raise Draining("the server is about to stop")
        if self._proof is not None and time.monotonic() - self._proof < PROOF_SECONDS:
            return
        async with self._probing:
            if self._proof is None or time.monotonic() - self._proof >= PROOF_SECONDS:
                await asyncio.to_thread(self._probe, engine)

    def _probe(self, engine: Engine) -> None:
        """A real edit of a small grey picture."""
        picture = Image.new("RGB", (_PROBE_SIDE, _PROBE_SIDE), (127, 127, 127))
        requests, options = engine.pipeline.requests(picture, "darker", seed=0)
        events = EventQueue()
        try:
            engine.submit(requests, options, [events], deadline=time.monotonic() + PROBE_SECONDS)
        except QueueFull:
            return  # busy, and at work: a stall is told by the state of health
        events.result()
        self._proof = time.monotonic()

    async def read(self, call: EditCall) -> tuple[Picture, list[EditRequest], RunOptions]:
        """Decode a call's picture, mask and codes, a few at a time. Raises VAREditError, and ApiError for the codes."""
        async with self._readers:
            return await asyncio.to_thread(self._read, self.running(), call)

    def _read(self, engine: Engine, call: EditCall) -> tuple[Picture, list[EditRequest], RunOptions]:
        settings = self.settings
        picture = read_image(call.image, max_pixels=settings.max_pixels, max_bytes=settings.max_upload_bytes)
        mask = None
        if call.mask is not None:
            mask = _sized_mask(load_mask(call.mask, picture.width, picture.height), call.size)
        width, height = call.size or (None, None)
        requests, options = engine.pipeline.requests(
            picture,
            call.prompt,
            mask=mask,
            codes=_read_codes(call.codes),
            num_images_per_prompt=call.n,
            width=width,
            height=height,
            **call.settings,
        )
        return picture, requests, options

    def submit(self, call: EditCall, requests: list[EditRequest], options: RunOptions) -> Edits:
        """Hand edits to the engine; to be called on the event loop. Raises Refused and UsageError."""
        engine = self.running()
        events: asyncio.Queue[tuple[int, EditEvent]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def listener(place: int) -> Callable[[EditEvent], None]:
            def told(event: EditEvent) -> None:
                if isinstance(event, Finished):
                    self._proof = time.monotonic()
                if not loop.is_closed():
                    loop.call_soon_threadsafe(events.put_nowait, (place, event))

            return told

        template = engine.pipeline.template(requests[0], options)
        previews = preview_scales(template.schedule.lengths, call.partial_images if call.stream else 0)
        deadline = None if call.deadline is None else time.monotonic() + call.deadline
        listeners = [listener(place) for place in range(len(requests))]
        try:
            submitted = engine.submit(requests, options, listeners, previews=previews, deadline=deadline)
        except Refused as error:
            self.metrics.rejected.labels(reason=type(error).__name__).inc()
            raise
        return Edits(submitted, events)


@dataclass(eq=False)
class Edits:
    """The edits of one request, on the event loop."""

    submitted: list[SubmittedEdit]
    events: asyncio.Queue[tuple[int, EditEvent]]
    _open: int = -1

    async def next(self) -> tuple[int, ScaleDone | Finished] | None:
        """The next event and the edit's place; None after the last. Raises the error of the first edit that failed."""
        if self._open < 0:
            self._open = len(self.submitted)
        if self._open == 0:
            return None
        place, event = await self.events.get()
        if isinstance(event, Failed):
            self.cancel()
            raise event.error
        if isinstance(event, Finished):
            self._open -= 1
        return place, event

    def cancel(self) -> None:
        """Ask the engine to leave what is not done."""
        for edit in self.submitted:
            edit.cancel()


def preview_scales(lengths: tuple[int, ...], count: int) -> frozenset[int]:
    """After which scales, counted from 0, to show ``count`` previews: spread evenly in cost, never the last scale.

    Args:
        lengths: tokens of each scale, which is what it costs.
    """
    total, spent, ends = sum(lengths), 0, []
    for length in lengths[:-1]:
        spent += length
        ends.append(spent / total)
    free, chosen = set(range(len(ends))), set()
    for number in range(min(count, len(ends))):
        wanted = ends[-1] * (number + 1) / count
        nearest = min(free, key=lambda scale: (abs(ends[scale] - wanted), scale))
        free.discard(nearest)
        chosen.add(nearest)
    return frozenset(chosen)


def _read_codes(text: str | None) -> EditedCodes | None:
    try:
        return None if text is None else EditedCodes.from_text(text)
    except UsageError as error:
        raise invalid("codes", str(error)) from error


def _sized_mask(mask: NDArray[np.float32], size: tuple[int, int] | None) -> NDArray[np.float32]:
    """A mask (H, W) at the size (width, height) of the result."""
    if size is None:
        return mask
    resized: NDArray[np.float32] = np.array(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR))
    return resized

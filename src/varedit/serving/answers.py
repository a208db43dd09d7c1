"""Results in the words of the API: one JSON body, or a stream of events."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from varedit.images import Picture
from varedit.memory import source_tokens
from varedit.output import encode_image
from varedit.serving.calls import EditCall
from varedit.serving.edits import Finished, ScaleDone
from varedit.serving.errors import api_error_of
from varedit.serving.service import Edits, Service

KEEP_ALIVE_SECONDS = 10.0
PREVIEW_QUALITY = 80
EVENT_STREAM = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@dataclass(eq=False, kw_only=True)
class Answer:
    """One request under way.

    Attributes:
        service, call, picture: what is edited, and how.
        edits: of the request.
        request_id: told in messages about bugs.
        record: the line that the log will get.
        on_preview: told when the first preview is on its way, with seconds since the request.
    """

    service: Service
    call: EditCall
    picture: Picture
    edits: Edits
    request_id: str
    record: dict[str, Any]
    on_preview: Callable[[float], None]
    started: float = field(default_factory=time.monotonic)
    _num_previews: int = 0

    async def whole(self) -> dict[str, Any]:
        """Wait for all edits; the body of the answer. Raises the error of the first that fails."""
        ends: dict[int, Finished] = {}
        while (event := await self.edits.next()) is not None:
            if isinstance(event[1], Finished):
                ends[event[0]] = event[1]
        done = [ends[place] for place in sorted(ends)]
        data = [await asyncio.to_thread(self._encoded, end) for end in done]
        self._note(done)
        return {
            "created": int(time.time()),
            "data": data,
            **self._shape(),
            "usage": self._usage(done[0], len(done)),
            "seeds": [end.output.seeds[0] for end in done],
            "model": self.service.model,
            "schedule": [list(grid) for grid in done[0].output.schedules[0]],
            "timings_ms": _milliseconds(done[0]),
            "notes": [*self.picture.notes, *done[0].output.notes[0]],
        }

    async def stream(self) -> AsyncIterator[bytes]:
        """The events of the answer, as bytes; a failure is the last of them. Leaving it stops the edits."""
        done: list[Finished] = []
        try:
            async for event in self._events():
                if event is None:
                    yield b": keep-alive\n\n"
                    continue
                place, what = event
                if isinstance(what, Finished):
                    done.append(what)
                    yield sse(await self._completed(place, what))
                elif what.preview is not None:
                    yield sse(await self._partial(place, what, what.preview))
            self._note(done)
        except Exception as error:  # the answer has begun: any failure becomes its last event
            failed = api_error_of(error, self.request_id)
            self.record |= {"outcome": failed.code}
            if failed.code == "internal_error":
                self.record["error"] = f"{type(error).__name__}: {error}"
            yield sse({"type": "error", **failed.body}, name="error")
        finally:
            self.edits.cancel()

    async def _events(self) -> AsyncIterator[tuple[int, ScaleDone | Finished] | None]:
        """The edits' events, and None whenever nothing has happened for a while."""
        while True:
            upcoming = asyncio.ensure_future(self.edits.next())
            try:
                while not (await asyncio.wait({upcoming}, timeout=KEEP_ALIVE_SECONDS))[0]:
                    yield None
            finally:
                upcoming.cancel()
            event = upcoming.result()
            if event is None:
                return
            yield event

    async def _partial(self, place: int, event: ScaleDone, preview: Image.Image) -> dict[str, Any]:
        if self._num_previews == 0:
            self.on_preview(time.monotonic() - self.started)
        index, self._num_previews = self._num_previews, self._num_previews + 1
        return {
            "type": "image_edit.partial_image",
            "b64_json": await asyncio.to_thread(_preview_text, preview, self.call.output_format),
            "partial_image_index": index,
            **self._event_shape(),
            "scale": event.index + 1,
            "scales": event.total,
            "grid": list(event.grid),
            "seed": self.edits.submitted[place].request.seed,
            "image_index": place,
        }

    async def _completed(self, place: int, end: Finished) -> dict[str, Any]:
        return {
            "type": "image_edit.completed",
            **await asyncio.to_thread(self._encoded, end),
            **self._event_shape(),
            "usage": self._usage(end, 1),
            "seed": end.output.seeds[0],
            "timings_ms": _milliseconds(end),
            "image_index": place,
            "notes": [*self.picture.notes, *end.output.notes[0]],
        }

    def _event_shape(self) -> dict[str, Any]:
        return {"created_at": int(time.time()), "quality": "auto", **self._shape()}

    def _shape(self) -> dict[str, Any]:
        width, height = self.call.size or (self.picture.width, self.picture.height)
        return {
            "background": "transparent" if self._keeps_alpha else "opaque",
            "output_format": self.call.output_format,
            "size": f"{width}x{height}",
        }

    @property
    def _keeps_alpha(self) -> bool:
        call = self.call
        has_place = call.size is None and call.output_format != "jpeg" and call.background != "opaque"
        return has_place and self.picture.alpha is not None

    def _encoded(self, end: Finished) -> dict[str, str]:
        """A result as a file, in base64, and its codes; takes long for a large picture."""
        output, call = end.output, self.call
        data = encode_image(
            np.asarray(output.images[0]),
            call.output_format.upper(),
            alpha=self.picture.alpha if self._keeps_alpha else None,
            provenance=output.settings[0] if call.metadata else None,
            quality=call.quality,
        )
        return {"b64_json": base64.b64encode(data).decode("ascii"), "codes": output.codes[0].to_text()}

    def _usage(self, end: Finished, count: int) -> dict[str, Any]:
        """Tokens: of the instruction and the source going in, of all scales coming out."""
        pipeline, schedule = self.service.running().pipeline, end.output.schedules[0]
        text = pipeline.editor.text_encoder.tokenize([self.call.prompt]).lengths[0]
        image = source_tokens(pipeline.config.transformer, schedule)
        drawn = schedule.num_tokens * count
        return {
            "input_tokens": text + image,
            "input_tokens_details": {"image_tokens": image, "text_tokens": text},
            "output_tokens": drawn,
            "output_tokens_details": {"image_tokens": drawn, "text_tokens": 0},
            "total_tokens": text + image + drawn,
        }

    def _note(self, done: list[Finished]) -> None:
        first = done[0]
        timings = _milliseconds(first)
        self.record |= {
            "outcome": "finished",
            "model": self.service.model,
            "n": len(done),
            "size": self._shape()["size"],
            "schedule": first.output.settings[0]["schedule"],
            "queue_ms": timings["queue"],
            "scale_ms": timings.get("scales"),
        }


def sse(data: Mapping[str, Any], name: str | None = None) -> bytes:
    """One server-sent event; its name is its type, which clients read from the data."""
    return f"event: {name or data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def _preview_text(preview: Image.Image, output_format: str) -> str:
    buffer = io.BytesIO()
    options = {} if output_format == "png" else {"quality": PREVIEW_QUALITY}
    preview.save(buffer, output_format.upper(), **options)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _milliseconds(end: Finished) -> dict[str, int]:
    stages = {"queue": end.queued, **end.output.timings, "total": end.seconds}
    return {name: round(1000 * seconds) for name, seconds in stages.items()}

"""One batch of edits with one scale schedule, carried from photographs to results.

The methods stand in the order of an edit. A run holds the state that lies between its steps; the editor holds none, so
that any number of runs may share it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from varedit.editor import Editor
from varedit.fit import Fit, FitMode, fit_picture
from varedit.generation import GeneratedScale, Generation
from varedit.requests import EditRequest
from varedit.restore import Restored, restore
from varedit.reuse import ReuseSettings
from varedit.sampling import BatchSampler, draw_uniforms
from varedit.scales import Template
from varedit.text import Tokens
from varedit.text_features import TextFeatures


@dataclass
class EditRun:
    """Edits of one template.

    Attributes:
        editor: the model.
        requests: B edits.
        template: the schedule that all of them use.
        fit: how the photographs are brought to the model's size.
        reuse: whether, and when, unchanged places reuse the source.
        clock: seconds, read at both ends of a stage; one that waits for the device first tells of the stage alone.
        seconds: time spent in each stage so far.
        notes: per edit, what the user should know of the instruction.
        fits: per edit, the geometry of its photograph.
        source: (B, d, H, W) encoded photographs.
        features: (B, d, H, W) the sum of codes so far.
        bits: the bits of every scale so far, (B, d, h_k, w_k) bool.
        generation: the scale loop, once it has begun.
    """

    editor: Editor
    requests: list[EditRequest]
    template: Template
    fit: FitMode
    reuse: ReuseSettings | None = None
    clock: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[tuple[str, ...]] = field(default_factory=list)
    fits: list[Fit] = field(default_factory=list)
    source: Tensor = field(default_factory=lambda: torch.empty(0))
    features: Tensor = field(default_factory=lambda: torch.empty(0))
    bits: list[Tensor] = field(default_factory=list)
    generation: Generation | None = None

    @torch.inference_mode()
    def encode(self) -> None:
        """Fit the photographs to the template and encode them."""
        with self._timed("encode"):
            height, width = self.editor.config.picture_size(self.template.schedule)
            fitted = [
                fit_picture(request.picture.rgb, (width, height), mode=self.fit, name=request.picture.name)
                for request in self.requests
            ]
            self.fits = [fit for _, fit in fitted]
            pixels = torch.from_numpy(np.stack([pixels for pixels, _ in fitted])).to(self.editor.device)
            self.source = self.editor.autoencoder.encode(pixels)

    def scales(self) -> Iterator[GeneratedScale]:
        """Read the instructions, then draw scale after scale; what stands in `features` is what the next one sees."""
        schedule = self.template.schedule
        sampler = BatchSampler.of([request.sampling for request in self.requests], len(schedule), self.editor.device)
        with self._timed("text"), torch.inference_mode():
            text, unconditional = self._read_instructions(needs_guidance=sampler.guided_scales > 0)
        with self._timed("prefill"):
            bits = self.editor.config.transformer.token_bits
            drawn = draw_uniforms([request.generator for request in self.requests], schedule.lengths, bits)
            self.generation = Generation.begin(
                self.editor.transformer,
                self.editor.quantizer(self.template),
                self.editor.layout(self.template),
                self.source,
                text,
                unconditional,
                sampler,
                [uniforms.to(self.editor.device) for uniforms in drawn],
                reuse=self.reuse,
                allowed=self._allowed() if self.reuse is not None else None,
            )
        while True:
            with self._timed("scales"):
                state = next(self.generation, None)
            if state is None:
                return
            self.bits.append(state.bits)
            self.features = state.features
            yield state
            state.features = self.features

    def decoded(self) -> NDArray[np.float32]:
        """The features so far as pixels (B, 3, h, w) in [-1, 1]."""
        with self._timed("decode"), torch.inference_mode():
            return self.editor.decode(self.features).numpy()

    def raw(self, decoded: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
        """The decoder's output (B, 3, h, w) at each photograph's own size; masks and reuse limit it."""
        return [self.raw_item(item, pixels) for item, pixels in enumerate(decoded)]

    def raw_item(self, item: int, decoded: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The same for one edit, (3, h, w)."""
        result, limit = self.fits[item].undo(decoded), self._limit(item)
        if limit is None:
            return result
        share = limit[..., None]
        blend = self.requests[item].picture.rgb * (1 - share) + result * share
        return np.rint(blend).astype(np.uint8)

    def unedited(self) -> NDArray[np.float32]:
        """What the decoder makes of the photographs as they are, (B, 3, h, w) in [-1, 1]."""
        with self._timed("decode"), torch.inference_mode():
            features = self.editor.quantizer(self.template).encode(self.source).running[-1]
            return self.editor.decode(features).numpy()

    def restored(self, decoded: NDArray[np.float32]) -> list[Restored]:
        """The change that the decoder's output (B, 3, h, w) shows, carried to each photograph's own pixels."""
        unedited = self.unedited()
        with self._timed("restore"):
            return [self.restored_item(item, unedited[item], decoded[item]) for item in range(len(self.requests))]

    def restored_item(self, item: int, unedited: NDArray[np.float32], decoded: NDArray[np.float32]) -> Restored:
        """The same for one edit, from both decoded pictures (3, h, w); any number of threads may do so."""
        fit = self.fits[item]
        return restore(
            self.requests[item].picture.rgb,
            unedited,
            decoded,
            upsample=fit.resize_to_source,
            mask=self._limit(item),
            model_box=fit.model_box,
        )

    def _allowed(self) -> Tensor | None:
        """(B, h, w) bool, the tokens of the final grid that the masks touch; None where there is no mask."""
        if all(request.mask is None for request in self.requests):
            return None
        rows = []
        for request, fit in zip(self.requests, self.fits, strict=True):
            mask = np.ones(request.picture.rgb.shape[:2], np.float32) if request.mask is None else request.mask
            touched = torch.from_numpy(fit.to_model(mask) > 0).float()
            rows.append(F.adaptive_max_pool2d(touched[None], self.template.schedule.final)[0] > 0)
        return torch.stack(rows).to(self.editor.device)

    def _limit(self, item: int) -> NDArray[np.float32] | None:
        """How far a photograph's pixels may change, (H, W) in [0, 1]: its mask, and what reuse left to change."""
        mask, fit = self.requests[item].mask, self.fits[item]
        found = None if self.generation is None else self.generation.reuse
        if found is None:
            return mask
        active = found.is_active[item].cpu().numpy()
        block = (fit.model_height // active.shape[0], fit.model_width // active.shape[1])
        limit = fit.resize_to_source(np.kron(active, np.ones(block)).astype(np.float32)[None])[0]
        return limit if mask is None else limit * mask

    def _read_instructions(self, needs_guidance: bool) -> tuple[TextFeatures, TextFeatures | None]:
        tokens: Tokens = self.editor.text_encoder.tokenize([request.instruction for request in self.requests])
        self.notes = list(tokens.notes)
        text: TextFeatures = self.editor.text_encoder(tokens)
        if not needs_guidance:
            return text, None
        unconditional = self.editor.transformer.unconditional_text(text.lengths)
        negatives = [index for index, request in enumerate(self.requests) if request.negative is not None]
        if not negatives:
            return text, unconditional
        written = [str(self.requests[index].negative) for index in negatives]
        return text, unconditional.replaced(
            negatives, self.editor.text_encoder(self.editor.text_encoder.tokenize(written))
        )

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = self.clock()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + self.clock() - start

"""One batch of edits with one scale schedule, carried from photographs to results.

The methods stand in the order of an edit. A run holds the state that lies between its steps; the editor holds none, so
that any number of runs may share it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from varedit.candidates import ONE_CANDIDATE, CandidateChoice, best_beginning
from varedit.edited_codes import EditedCodes
from varedit.editor import Editor
from varedit.fit import Fit, FitMode, fit_picture
from varedit.generation import GeneratedScale, Generation
from varedit.mosaic import make_mosaic
from varedit.pasting import Pasted
from varedit.requests import Beginnings, EditRequest
from varedit.restore import Restored, restore
from varedit.reuse import ReuseSettings
from varedit.sampling import BatchSampler, draw_uniforms
from varedit.scales import Template
from varedit.source_size import to_source_size
from varedit.text import Tokens
from varedit.text_features import TextFeatures
from varedit.transformer.collage import pastes
from varedit.transformer.planner import squares_of


@dataclass
class EditRun:
    """Edits of one template.

    Attributes:
        editor: the model.
        requests: B edits.
        template: the schedule that all of them use.
        fit: how the photographs are brought to the model's size.
        reuse: whether, and when, unchanged places reuse the source.
        choice: how many candidates each edit has, and what chooses among them.
        clock: seconds, read at both ends of a stage; one that waits for the device first tells of the stage alone.
        seconds: time spent in each stage so far.
        notes: per edit, what the user should know of the instruction.
        fits: per edit, the geometry of its photograph.
        fitted: (B, 3, h, w) in [-1, 1], the photographs at the model's size.
        photographs: (U, d, H, W) encoded, of each beginning.
        source: (U, d, H, W) what is edited: the photographs, or the codes of earlier edits of them.
        features: (B, d, H, W) the sum of codes so far.
        bits: the bits of every scale so far, (B, d, h_k, w_k) bool.
        seeds: per edit, the one that its result came from.
        generation: the scale loop, once it has begun.
    """

    editor: Editor
    requests: list[EditRequest]
    template: Template
    fit: FitMode
    reuse: ReuseSettings | None = None
    choice: CandidateChoice = ONE_CANDIDATE
    clock: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[tuple[str, ...]] = field(default_factory=list)
    fits: list[Fit] = field(default_factory=list)
    fitted: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    photographs: Tensor = field(default_factory=lambda: torch.empty(0))
    source: Tensor = field(default_factory=lambda: torch.empty(0))
    features: Tensor = field(default_factory=lambda: torch.empty(0))
    bits: list[Tensor] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    generation: Generation | None = None

    @torch.inference_mode()
    def encode(self) -> None:
        """Fit the photographs to the template and encode them; edits that go on begin with their codes instead."""
        with self.timed("encode"):
            height, width = self.editor.config.picture_size(self.template.schedule)
            fitted = [
                fit_picture(request.picture.rgb, (width, height), mode=self.fit, name=request.picture.name)
                for request in self.beginnings.first
            ]
            pixels = np.stack([pixels for pixels, _ in fitted])
            self.fits = self.beginnings.of_edits([fit for _, fit in fitted])
            self.fitted = self.beginnings.rows_of_edits(pixels)
            self.photographs = self.editor.encode(self.editor.placed(torch.from_numpy(pixels)))
            self.source = self.photographs
            for place, request in enumerate(self.beginnings.first):
                if request.codes is not None:
                    if self.source is self.photographs:
                        self.source = self.photographs.clone()
                    self.source[place] = self._sum_of(request.codes)

    @cached_property
    def beginnings(self) -> Beginnings:
        """What is read, encoded and run through the transformer once for all variants of an edit."""
        return Beginnings.of(self.requests)

    def _items(self) -> Tensor | None:
        """(B,) the beginning of each edit, on the model's device; None where each has its own."""
        beginnings = self.beginnings
        return self.editor.placed(torch.tensor(beginnings.places)) if beginnings.are_shared else None

    def _sum_of(self, codes: EditedCodes) -> Tensor:
        """The features (d, H, W) that bits add up to."""
        quantizer = self.editor.quantizer(self.template)
        features = torch.zeros_like(self.photographs[:1])
        for scale, bits in enumerate(codes.bits):
            features = quantizer.add(features, self.editor.placed(torch.from_numpy(bits))[None], scale)
        return features[0]

    def scales(self) -> Iterator[GeneratedScale]:
        """Read the instructions, then draw scale after scale; what stands in `features` is what the next one sees."""
        schedule = self.template.schedule
        sampler = BatchSampler.of([request.sampling for request in self.requests], len(schedule), self.editor.device)
        with self.timed("text"), torch.inference_mode():
            text, unconditional = self._read_instructions(needs_guidance=sampler.guided_scales > 0)
        with self.timed("prefill"):
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
                [self.editor.placed(uniforms) for uniforms in drawn],
                items=self._items(),
                reuse=self.reuse,
                allowed=self._allowed() if self.reuse is not None else None,
            )
        self.seeds = [request.seed for request in self.requests]
        if self.choice.count > 1:
            with self.timed("candidates"):
                best = best_beginning(self.editor, self.template, self.generation, self.requests, self.choice)
            self.seeds, self.generation = best.seeds, best.generation
            for scale in best.scales:
                self._note(scale)
                yield scale
        while True:
            with self.timed("scales"):
                state = next(self.generation, None)
            if state is None:
                return
            self._note(state)
            yield state
            state.features = self.features

    def _note(self, state: GeneratedScale) -> None:
        self.bits.append(state.bits)
        self.features = state.features

    def decoded(self) -> NDArray[np.float32]:
        """The features so far as pixels (B, 3, h, w) in [-1, 1]."""
        with self.timed("decode"), torch.inference_mode():
            return self.editor.decode(self.features).numpy()

    def raw(self, decoded: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
        """The decoder's output (B, 3, h, w) at each photograph's own size; masks and reuse limit it."""
        return [item.raw() for item in self.in_model_size(decoded, None)]

    def restored(self, decoded: NDArray[np.float32]) -> list[Restored]:
        """The change that the decoder's output (B, 3, h, w) shows, carried to each photograph's own pixels."""
        unedited = self.unedited()
        with self.timed("restore"):
            return [item.restored() for item in self.in_model_size(decoded, unedited)]

    def unedited(self) -> NDArray[np.float32]:
        """What the decoder makes of the photographs as they are, (B, 3, h, w) in [-1, 1]."""
        with self.timed("decode"), torch.inference_mode():
            features = self.editor.quantizer(self.template).encode(self.photographs).running[-1]
            return self.beginnings.rows_of_edits(self.editor.decode(features).numpy())

    @cached_property
    def _earlier(self) -> list[Earlier | None]:
        """Per edit, what it goes on from; decoded once, however many previews there are."""
        first = self.beginnings.first
        going_on = [place for place, request in enumerate(first) if request.codes is not None]
        found: list[Earlier | None] = [None] * len(first)
        if going_on:
            with self.timed("decode"), torch.inference_mode():
                decoded = self.editor.decode(self.source[going_on]).numpy()
            for place, pixels in zip(going_on, decoded, strict=True):
                codes = first[place].codes
                assert codes is not None
                found[place] = Earlier(
                    pixels, None if codes.reach is None else codes.reach.astype(np.float32) / np.float32(255)
                )
        return self.beginnings.of_edits(found)

    def _codes(self, item: int) -> EditedCodes:
        """Where one edit stands; how far it reaches is known with its photograph."""
        bits = tuple(bits[item].cpu().numpy() for bits in self.bits)
        return EditedCodes(self.editor.config.name, self.template.name, bits)

    def in_model_size(self, decoded: NDArray[np.float32], unedited: NDArray[np.float32] | None) -> list[InModelSize]:
        """The single edits, of which each can be brought to its photograph's size without the others or the model."""
        open_places, earlier = self._open_places(), self._earlier
        device = self.editor.device if self.editor.device.type == "cuda" else torch.device("cpu")  # MPS has no float64
        if unedited is not None:
            earlier = [
                before and replace(before, likely=self.editor.likely_change(fitted, own, before.decoded, None))
                for before, fitted, own in zip(earlier, self.fitted, unedited, strict=True)
            ]
        return [
            InModelSize(
                photograph=request.picture.rgb,
                fit=self.fits[item],
                mask=request.mask,
                open_places=None if open_places is None else open_places[item],
                result=decoded[item],
                earlier=earlier[item],
                drawn=self._codes(item),
                unedited=None if unedited is None else unedited[item],
                likely=None if unedited is None else self._likely(item, decoded[item], unedited[item], earlier[item]),
                device=device,
                pasted=() if unedited is None else self._drawn(item, decoded[item]),
                squares=self._squares[item],
            )
            for item, request in enumerate(self.requests)
        ]

    def _drawn(self, item: int, decoded: NDArray[np.float32]) -> list[Pasted]:
        """What one edit shows over all else, as far as the decoder has drawn it."""
        return [each for each in self._pasted[item] if each.is_drawn_in(decoded, self.fitted[item])]

    @cached_property
    def _pasted(self) -> list[list[Pasted]]:
        """Per edit, what the model's proposal shows over all else; nothing where it is not the photograph's own."""
        found: list[list[Pasted]] = [[] for _ in self.requests]
        proposal = None if self.generation is None else self.generation.cache.proposal
        if proposal is None:
            return found
        first = torch.arange(len(self.requests), device=self.editor.device)  # of both branches, where there are two
        fitted = self.editor.placed(torch.from_numpy(self.fitted))
        for paste in pastes(fitted, proposal.layers.taken(first)):
            for item, request in enumerate(self.requests):
                if paste.shown[item] > 0.5 and request.codes is None:
                    *colours, cover = paste.picture[item].cpu().numpy()
                    across, down = (
                        (float(gain[item]), float(offset[item])) for gain, offset in (paste.across, paste.down)
                    )
                    found[item].append(Pasted(cover, None if paste.is_source else np.stack(colours), across, down))
        return found

    @cached_property
    def _squares(self) -> list[int]:
        """Per edit, how many squares the mosaic of its proposal has along the shorter side; 0 where there is none."""
        proposal = None if self.generation is None else self.generation.cache.proposal
        if proposal is None:
            return [0] * len(self.requests)
        found = squares_of(proposal.layers.mosaic)[: len(self.requests), 0].tolist()
        return [0 if request.codes is not None else each for each, request in zip(found, self.requests, strict=True)]

    @cached_property
    def _words(self) -> list[TextFeatures | None]:
        """The instructions as a change detector reads them, once for all previews; None without a detector."""
        has_detector = self.editor.change_detector is not None
        first = self.beginnings.first
        return self.beginnings.of_edits(
            [self.editor.read([each.instruction]) if has_detector else None for each in first]
        )

    def _likely(
        self,
        item: int,
        decoded: NDArray[np.float32],
        unedited: NDArray[np.float32],
        earlier: Earlier | None,
    ) -> NDArray[np.float32] | None:
        """Where one decoded edit is likely one: by its words what is new, by the pictures alone what came before."""
        own, source = (self.fitted[item], unedited) if earlier is None else (earlier.decoded, earlier.decoded)
        likely = self.editor.likely_change(own, source, decoded, self._words[item])
        if likely is None or earlier is None or earlier.likely is None:
            return likely
        return np.maximum(likely, earlier.likely)

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

    def _open_places(self) -> NDArray[np.float32] | None:
        """(B, 1, h, w) in [0, 1], where reuse left something to change; None without reuse."""
        found = None if self.generation is None else self.generation.reuse
        if found is None:
            return None
        size = self.editor.config.picture_size(self.template.schedule)
        still = F.interpolate((~found.is_active).float().unsqueeze(1), size, mode="nearest")
        open_places = 1 - F.max_pool2d(still, 3, stride=1, padding=1)  # the seam lies within what was computed
        return open_places.cpu().numpy()

    def _read_instructions(self, needs_guidance: bool) -> tuple[TextFeatures, TextFeatures | None]:
        """Texts of both branches for each beginning."""
        first = self.beginnings.first
        tokens: Tokens = self.editor.text_encoder.tokenize([request.instruction for request in first])
        self.notes = self.beginnings.of_edits(tokens.notes)
        text: TextFeatures = self.editor.text_encoder(tokens)
        if not needs_guidance:
            return text, None
        unconditional = self.editor.transformer.unconditional_text(text.lengths)
        negatives = [index for index, request in enumerate(first) if request.negative is not None]
        if not negatives:
            return text, unconditional
        written = [str(first[index].negative) for index in negatives]
        return text, unconditional.replaced(negatives, self.editor.read(written))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add what is done inside to the seconds of a stage."""
        start = self.clock()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + self.clock() - start


@dataclass(frozen=True, eq=False)
class Earlier:
    """What an edit goes on from.

    Attributes:
        decoded: (3, h, w) in [-1, 1].
        limit: (H, W), that of all edits so far; None if there is none.
        likely: as in `InModelSize`, of all edits so far.
    """

    decoded: NDArray[np.float32]
    limit: NDArray[np.float32] | None
    likely: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class InModelSize:
    """One edit as the decoder shows it, and all that brings it to its photograph. Holds nothing of the model.

    Attributes:
        photograph: (H, W, 3).
        fit: between both sizes.
        mask: (H, W) in [0, 1], 1 where the photograph may change; None allows everything.
        open_places: (1, h, w) in [0, 1], 0 where reuse kept the source; None without reuse.
        result: (3, h, w) in [-1, 1], the decoded edit.
        unedited: the decoded photograph, likewise; None for an edit that is not restored.
        earlier: what the edit goes on from, where that is not the photograph.
        drawn: the bits of `result`.
        likely: (1, h, w) in [0, 1], how far the result is an edit and not noise; None for a model that cannot tell.
        device: where the edit is explained.
        pasted: what the edit shows over all else.
        squares: how many flat ones along the shorter side the edit makes of what it changes; 0 for no mosaic.
    """

    photograph: NDArray[np.uint8]
    fit: Fit
    mask: NDArray[np.float32] | None
    open_places: NDArray[np.float32] | None
    result: NDArray[np.float32]
    unedited: NDArray[np.float32] | None
    earlier: Earlier | None
    drawn: EditedCodes
    likely: NDArray[np.float32] | None
    device: torch.device
    pasted: Sequence[Pasted] = ()
    squares: int = 0

    def raw(self) -> NDArray[np.uint8]:
        """(H, W, 3) of the decoder's own picture, within the mask."""
        result, limit = self.fit.undo(self.result), self._limit()
        if limit is None:
            return result
        before = self.photograph
        if self.earlier is not None:
            before = _mixed(before, self.fit.undo(self.earlier.decoded), self.earlier.limit)
        return _mixed(before, result, limit)

    def restored(self) -> Restored:
        """The change carried to the photograph's own pixels."""
        limit, whole = self._limit(), self._limit_so_far()
        result = self._restored(self.result, whole, self.likely)
        for thing in self.pasted:
            thing.paste(result.rgb, result.change, self.photograph, self.fit, limit)
        if self.squares:
            make_mosaic(result.rgb, result.change, self.squares, self._of_edit(limit, self.likely))
        if self.earlier is None or limit is None:
            return result
        earlier = self.earlier  # what stays outside of this edit's own limit
        before = self._restored(earlier.decoded, earlier.limit, earlier.likely)
        change = np.where(limit > 0, np.maximum(before.change, result.change), before.change)
        return Restored(_mixed(before.rgb, result.rgb, limit), change)

    def codes(self) -> EditedCodes:
        """From where the next edit of the photograph can go on."""
        limit = self._limit_so_far()
        return replace(self.drawn, reach=None if limit is None else np.ceil(limit * 255).astype(np.uint8))

    def _restored(
        self, decoded: NDArray[np.float32], limit: NDArray[np.float32] | None, likely: NDArray[np.float32] | None
    ) -> Restored:
        """A decoded picture against the decoded photograph, within a limit (H, W) and where it is likely an edit."""
        assert self.unedited is not None, "this edit was not to be restored"
        return restore(
            self.photograph,
            self.unedited,
            decoded,
            upsample=partial(to_source_size, self.fit),
            mask=self._of_edit(limit, likely),
            model_box=self.fit.model_box,
            device=self.device,
        )

    def _of_edit(
        self, limit: NDArray[np.float32] | None, likely: NDArray[np.float32] | None
    ) -> NDArray[np.float32] | None:
        """A limit (H, W) where it is likely an edit, too; None: everywhere."""
        if likely is None:
            return limit
        change: NDArray[np.float32] = to_source_size(self.fit, likely)[0]
        return change if limit is None else limit * change

    def _limit_so_far(self) -> NDArray[np.float32] | None:
        """How far each pixel of the photograph may differ after this edit and all before it; None: freely."""
        limit = self._limit()
        if self.earlier is None or limit is None:
            return limit
        return None if self.earlier.limit is None else np.maximum(limit, self.earlier.limit)

    def _limit(self) -> NDArray[np.float32] | None:
        """How far this edit may change each pixel, (H, W) in [0, 1]; None: freely."""
        if self.open_places is None:
            return self.mask
        limit: NDArray[np.float32] = to_source_size(self.fit, self.open_places)[0]
        if self.mask is not None:
            limit = limit * self.mask
        return limit


def _mixed(before: NDArray[np.uint8], after: NDArray[np.uint8], share: NDArray[np.float32] | None) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) before and after, by the share (H, W) of the second; None is all of it."""
    if share is None:
        return after
    weight = share[..., None]
    return np.rint(before * (1 - weight) + after * weight).astype(before.dtype)

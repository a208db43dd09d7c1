"""A model's passes as CUDA graphs, replayed edit after edit: over text and pictures, the source, and for each scale.

A small scale takes longer to start kernel by kernel, in every layer, than to compute. A graph starts all of its kernels
at once. It reads and writes the very memory that it was recorded with, so that one set of graphs holds the caches of
one batch of edits at a time; a batch that begins while another is under way runs as it would without graphs. So do
candidates, which have caches of their own, and late scales of unlike edits under reuse, where a mask hides what is not
there.

Texts are filled up to a multiple of `TEXT_STEP` words, which a mask hides, so that a graph serves instructions of other
lengths, too. Under reuse an edit's late scales compute one of few numbers of tokens for the same reason.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.text_features import TextFeatures
from varedit.transformer.block import TextContext
from varedit.transformer.cache import EditCache
from varedit.transformer.model import VAREditTransformer
from varedit.transformer.reference import SequenceLayout

TEXT_STEP = 64  # words
MAX_RECORDINGS = 16  # kinds of batches
MAX_STEPS = 16  # kinds of steps of each, by the number of its scales
WARM_UPS = 3  # edits of a kind before all of its passes are replayed
SPARE_MEMORY = 1.5  # free memory that a recording needs, by the size of its caches
KEPT_MEMORY = 0.25  # of the device's memory that recorded caches take at most, where there is more than one kind

Made = TypeVar("Made")


class RecordedCall(Generic[Made]):
    """A function of tensors on CUDA, always of the same shapes: run the first time, recorded the second, then replayed.

    The first run makes what a recording cannot: compiled kernels, plans and workspaces of libraries.

    Args:
        pool: of the memory that recordings share; None is one of its own.
    """

    def __init__(self, pool: Any = None) -> None:
        self._pool = pool
        self._has_run = False
        self._inputs: tuple[Tensor | None, ...] = ()
        self._made: Made | None = None
        self._replay: Callable[[], None] | None = None

    @property
    def is_recorded(self) -> bool:
        """Whether results stand where the next call writes its own."""
        return self._replay is not None

    def __call__(self, function: Callable[..., Made], *inputs: Tensor | None) -> Made:
        """Call with some inputs, each a tensor or, in every call, None. The function itself runs twice at most."""
        if not self._has_run:
            self._has_run = True
            return function(*inputs)
        if self._replay is None:
            self._inputs = tuple(None if each is None else each.clone() for each in inputs)
            self._made, self._replay = record(partial(function, *self._inputs), self._pool)
        else:
            for own, given in zip(self._inputs, inputs, strict=True):
                if own is not None and given is not None:
                    own.copy_(given)
        self._replay()
        assert self._made is not None, "it was recorded"
        return self._made


def record(function: Callable[[], Made], pool: Any) -> tuple[Made, Callable[[], None]]:
    """What a function will have made once its kernels have run, and what lets them run, as often as one likes."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        made = function()
    return made, graph.replay


@dataclass
class _Recording:
    """The passes of one kind of batch, told by its layout, which must live as long, and the bytes of its caches."""

    layout: SequenceLayout
    size: int
    prefill: RecordedCall[EditCache]
    steps: defaultdict[tuple[int, ...], RecordedCall[Tensor]]  # by scale, rows before it, and shape of its tokens
    user: Callable[[], EditCache | None] = field(default=lambda: None)  # whose caches they hold

    @classmethod
    def of(cls, layout: SequenceLayout, size: int) -> _Recording:
        pool = torch.cuda.graph_pool_handle() if torch.cuda.is_available() else None
        return cls(layout, size, RecordedCall(pool), defaultdict(lambda: RecordedCall(pool)))

    def takes(self, kind: tuple[int, ...]) -> bool:
        """Whether a kind of step is recorded, or may be."""
        return kind in self.steps or len(self.steps) < MAX_STEPS * len(self.layout.schedule)

    def is_in_use(self) -> bool:
        """Whether its user still reads what the next one would write over: until its layers are dropped, or it is."""
        cache = self.user()
        return cache is not None and (bool(cache.layers) or cache.proposal is not None)


class ModuleGraphs:
    """Takes the place of a module's `forward`, which takes tensors and gives one, in place: a graph for each shape.

    Args:
        module: on a CUDA device.
        largest: rows times columns, the last two sides, of the first input; what is larger takes so long that starting
            its kernels hardly counts, and runs as it would.
    """

    def __init__(self, module: nn.Module, largest: float = math.inf) -> None:
        self._forward = module.forward
        self._largest = largest
        self._recorded: dict[tuple[torch.Size, ...], RecordedCall[Tensor]] = {}
        self._lock = threading.Lock()
        module.forward = self.forward

    def forward(self, *inputs: Tensor) -> Tensor:
        """As the module's own."""
        shapes = tuple(each.shape for each in inputs)
        with self._lock:
            is_one_too_many = shapes not in self._recorded and len(self._recorded) == MAX_RECORDINGS
            if is_one_too_many or shapes[0][-2:].numel() > self._largest:
                made: Tensor = self._forward(*inputs)
                return made
            recorded = self._recorded.setdefault(shapes, RecordedCall())
            return recorded(self._forward, *inputs).clone()  # the next result is written over it


class TextGraphs(ModuleGraphs):
    """The `ModuleGraphs` of a text encoder, for texts that are filled up."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """As `T5Encoder.forward`: token numbers and mask, (B, T) each."""
        words = inputs[0].shape[1]
        return super().forward(*(F.pad(each, (0, filled_up(words) - words)) for each in inputs))[:, :words]


class TransformerGraphs:
    """Takes the place of a transformer's `prefill` and `step`, in place.

    Args:
        transformer: on its device; on another than CUDA nothing is recorded.
    """

    def __init__(self, transformer: VAREditTransformer) -> None:
        self.transformer = transformer
        self._prefill, self._step = transformer.prefill, transformer.step
        self._recordings: dict[tuple[object, ...], _Recording] = {}  # the one used last comes last
        self._lock = threading.Lock()
        transformer.prefill = self.prefill  # type: ignore[method-assign]  # of this transformer alone
        transformer.step = self.step  # type: ignore[method-assign]
        transformer.prefers_few_lengths = True

    def prefill(
        self, source: Tensor, text: TextFeatures, layout: SequenceLayout, items: Tensor | None = None
    ) -> EditCache:
        """As `VAREditTransformer.prefill`."""
        with self._lock:
            longest = filled_up(text.features.shape[1])
            batch = len(source) if items is None else len(items)
            recording = self._recording((id(layout), source.shape, longest, batch), batch, layout)
            has_room = recording.prefill.is_recorded or self._has_room(recording.size, source.device)
            if recording.is_in_use() or not has_room:
                return self._prefill(source, text, layout, items)
            features = F.pad(text.features, (0, 0, 0, longest - text.features.shape[1]))
            context = self.transformer.read_text(TextFeatures(features, text.lengths))
            mask = context.mask
            if mask is None:
                mask = torch.ones(len(features), 1, 1, longest, dtype=torch.bool, device=features.device)

            def prefill(source: Tensor, pooled: Tensor, words: Tensor, mask: Tensor, items: Tensor | None) -> EditCache:
                return self.transformer.prefill_told(source, TextContext(pooled, words, mask), layout, items)

            made = recording.prefill(prefill, source, context.pooled, context.words, mask, items)
            if not recording.prefill.is_recorded:
                return made
            cache = dataclasses.replace(made, layers=list(made.layers))
            recording.user = weakref.ref(cache)
            return cache

    def step(
        self, inputs: Tensor | None, cache: EditCache, residuals: Tensor | None = None, places: Tensor | None = None
    ) -> Tensor:
        """As `VAREditTransformer.step`."""
        scale, recording = cache.next_scale, self._user_of(cache)
        kind = (scale, cache.filled, len(cache.pooled), -1 if places is None else places.shape[1])
        if recording is None or cache.seen is not None or not recording.takes(kind):
            return self._step(inputs, cache, residuals, places)
        logits = recording.steps[kind](partial(self._stepped, cache), inputs, residuals, places)
        if cache.next_scale == scale:  # nothing but kernels was replayed
            cache.advance(logits.shape[1])
        return logits.clone()  # the next edit's are written over it

    def _stepped(
        self, cache: EditCache, inputs: Tensor | None, residuals: Tensor | None, places: Tensor | None
    ) -> Tensor:
        return self._step(inputs, cache, residuals, places)

    def _user_of(self, cache: EditCache) -> _Recording | None:
        with self._lock:
            return next((each for each in self._recordings.values() if each.user() is cache), None)

    def _recording(self, kind: tuple[object, ...], branches: int, layout: SequenceLayout) -> _Recording:
        recording = self._recordings.pop(kind, None)
        if recording is None:
            config = self.transformer.config
            weight = self.transformer.get_parameter("blocks.0.attention.project.weight")
            size = 2 * config.depth * branches * layout.kept_rows * config.width * weight.itemsize
            recording = _Recording.of(layout, size)
        if len(self._recordings) == MAX_RECORDINGS:
            self._forget_one()
        self._recordings[kind] = recording
        return recording

    def _has_room(self, size: int, device: torch.device) -> bool:
        """Whether caches of so many bytes fit beside what there is; recorded kinds that are older make room."""
        free, total = memory_of(device)
        while len(self._recordings) > 1 and (free < SPARE_MEMORY * size or self._kept() > KEPT_MEMORY * total):
            self._forget_one()
            free, total = memory_of(device)
        return free >= SPARE_MEMORY * size

    def _kept(self) -> int:
        return sum(recording.size for recording in self._recordings.values())

    def _forget_one(self) -> None:
        """Drop the kind that was not used for the longest time; edits that hold its caches end unrecorded."""
        del self._recordings[next(iter(self._recordings))]


def filled_up(words: int) -> int:
    """How many words a text of so many is filled up to."""
    return TEXT_STEP * math.ceil(words / TEXT_STEP)


def memory_of(device: torch.device) -> tuple[int, int]:
    """Bytes that could still be allocated on a CUDA device, and all of its memory; nothing on others."""
    if device.type != "cuda":
        return 0, 0
    free, total = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device), total

"""One measurement: a model on a device, batch by batch, stage by stage, beside its bounds and beside other code."""

from __future__ import annotations

import datetime
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varedit import __version__
from varedit.bench.costs import StageCost, Workload, edit_costs
from varedit.bench.limits import Limits, device_clock, measure_limits
from varedit.bench.models import BenchModel
from varedit.bench.other_code import OtherCode
from varedit.bench.random_weights import INSTRUCTION
from varedit.bench.stages import TimedEdit, peak_bytes, photographs, requests_for, reset_peak, timed_edit
from varedit.cuda_graphs import WARM_UPS
from varedit.editor import Editor
from varedit.scales import Template

SETTLED = 0.95  # a warm-up that takes more than this share of the one before is the last

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """What is measured.

    Attributes:
        model: on this model,
        template: this scale schedule; None is the square one,
        device, dtype: in this place and number format,
        batches: with so many edits at once,
        repeats: so often each.
        compiles: as `Editor.compile` makes it,
        folder: other code to measure beside it, or None.
        options: what else sets this measurement apart; JSON values that the report repeats.
    """

    model: BenchModel
    template: str | None = None
    device: torch.device
    dtype: torch.dtype
    batches: tuple[int, ...] = (1,)
    repeats: int = 3
    compiles: bool = False
    folder: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def run_bench(request: BenchRequest, command: str, progress: Progress) -> dict[str, Any]:
    """Measure; the report's values are JSON (docs/speed.md lists them).

    Args:
        command: what repeats the measurement.
        progress: told (steps done, steps in all).

    Raises: ModelError, ConfigError, UsageError, InputMissing.
    """
    template = request.model.template(request.template)
    other = None if request.folder is None else OtherCode.of_folder(request.folder)
    batches = sorted(request.batches)  # ascending, so that a peak is that of its own batch
    steps = Steps(progress, 2 + len(batches) * (WARM_UPS + request.repeats) * (1 if other is None else 2))
    editor = request.model.load(request.device, request.dtype)
    if request.compiles:
        editor.compile()
    steps.done()
    timed = [time_batch(editor, template, request, batch, steps) for batch in batches]
    limits = measure_limits(request.device, request.dtype, device_clock(request.device))
    steps.done()
    words = editor.text_encoder.tokenize([INSTRUCTION]).lengths[0]
    report = {
        **circumstances(request, template, command),
        "words": words,
        "limits": asdict(limits),
        "batches": [
            batch_report(item, costs_of(editor, template, request, item.batch, words), limits) for item in timed
        ],
    }
    if other is not None:
        report["other"] = {
            "folder": str(other.folder),
            "batches": compare(editor, other, template, request, batches, steps),
        }
    return report


@dataclass
class Steps:
    """Tells how far a measurement is."""

    progress: Progress
    total: int
    finished: int = 0

    def done(self, count: int = 1) -> None:
        """Some more steps are done."""
        self.finished += count
        self.progress(self.finished, self.total)


@dataclass(frozen=True)
class TimedBatch:
    """All repeats of one batch size, and the peak of memory over them in bytes."""

    batch: int
    edits: list[TimedEdit]
    peak: int

    @property
    def drawing_seconds(self) -> list[float]:
        """Of each repeat, from pixels to the decoder's pixels."""
        return [edit.drawing_seconds for edit in self.edits]


def time_batch(editor: Editor, template: Template, request: BenchRequest, batch: int, steps: Steps) -> TimedBatch:
    """Warm up until times settle, then measure."""
    config, clock, seeds = editor.config, device_clock(request.device), range(batch)
    pictures = photographs(config, template, seeds)

    def once() -> TimedEdit:
        return timed_edit(editor, template, requests_for(config, pictures, seeds), clock)

    reset_peak(request.device)
    warm_up(lambda: once().drawing_seconds, steps)
    edits = []
    for _ in range(request.repeats):
        edits.append(once())
        steps.done()
    return TimedBatch(batch, edits, peak_bytes(request.device))


def warm_up(seconds_of: Callable[[], float], steps: Steps) -> None:
    """Repeat until a time is close to the one before it, but no more often than CUDA graphs need."""
    before = seconds_of()
    steps.done()
    for number in range(1, WARM_UPS):
        now = seconds_of()
        if now > SETTLED * before:
            steps.done(WARM_UPS - number)
            return
        steps.done()
        before = now


def batch_report(timed: TimedBatch, costs: Mapping[str, StageCost], limits: Limits) -> dict[str, Any]:
    """Medians and spreads of one batch size, JSON values; seconds are those of the whole batch."""
    drawing = statistics.median(timed.drawing_seconds)
    stages = [stage_report(stage, [edit.seconds[stage] for edit in timed.edits], cost, limits)
              for stage, cost in costs.items()]  # fmt: skip
    return {
        "batch": timed.batch,
        "seconds": drawing,
        "spread": [min(timed.drawing_seconds), max(timed.drawing_seconds)],
        "images_per_second": timed.batch / drawing,
        "restored_seconds": statistics.median(sum(edit.seconds.values()) for edit in timed.edits),
        "peak_bytes": timed.peak,
        "stages": stages,
    }


def stage_report(stage: str, seconds: Sequence[float], cost: StageCost, limits: Limits) -> dict[str, Any]:
    """One stage: what it took, what it takes at least, and which of the two limits says so."""
    arithmetic, traffic = limits.arithmetic_seconds(cost), limits.traffic_seconds(cost)
    median = statistics.median(seconds)
    return {
        "stage": stage,
        "seconds": median,
        "spread": [min(seconds), max(seconds)],
        **asdict(cost),
        "bound_seconds": limits.bound(cost),
        "bound_by": "arithmetic" if arithmetic >= traffic else "traffic",
        "ratio": median / limits.bound(cost),
    }


def costs_of(editor: Editor, template: Template, request: BenchRequest, batch: int, words: int) -> dict[str, StageCost]:
    """The arithmetic of one batch of this measurement."""
    config = editor.config
    work = Workload(
        batch=batch,
        words=words,
        branches=1 if config.generation.guidance_scale == 1 else 2,
        bytes_per_value=request.dtype.itemsize,
        photograph=config.picture_size(template.schedule),
    )
    return edit_costs(config, template, editor.text_encoder.encoder.config, work)


def compare(
    editor: Editor,
    other: OtherCode,
    template: Template,
    request: BenchRequest,
    batches: Sequence[int],
    steps: Steps,
) -> list[dict[str, Any]]:
    """Other code and ours in turns, from pixels to the decoder's pixels; JSON values for each batch size."""
    dtype = str(request.dtype).removeprefix("torch.")
    loaded = other.load(request.model.to_dict(), template.name, str(request.device), dtype)
    clock, rows = device_clock(request.device), []
    for batch in batches:
        pictures = photographs(editor.config, template, range(batch))
        pixels = as_pixels(pictures)

        def others(pixels: Tensor = pixels, batch: int = batch) -> float:
            start = clock()
            other.edit(loaded, pixels, [INSTRUCTION] * batch, list(range(batch)))
            return clock() - start

        warm_up(others, steps)
        theirs, ours = [], []
        for _ in range(request.repeats):
            requests = requests_for(editor.config, pictures, range(batch))
            ours.append(timed_edit(editor, template, requests, clock).drawing_seconds)
            theirs.append(others())
            steps.done()
        rows.append(comparison(batch, ours, theirs))
    return rows


def as_pixels(pictures: Sequence[np.ndarray[Any, np.dtype[np.uint8]]]) -> Tensor:
    """Pictures (h, w, 3) as pixels (B, 3, h, w) float32 in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures).astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2).contiguous()


def comparison(batch: int, ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Both times of one batch size and how many times faster ours is."""
    our_median, their_median = statistics.median(ours), statistics.median(theirs)
    return {
        "batch": batch,
        "our_seconds": our_median,
        "our_spread": [min(ours), max(ours)],
        "their_seconds": their_median,
        "their_spread": [min(theirs), max(theirs)],
        "their_images_per_second": batch / their_median,
        "speedup": their_median / our_median,
    }


def circumstances(request: BenchRequest, template: Template, command: str) -> dict[str, Any]:
    """What a time must carry to be a claim that others can check."""
    config = request.model.config
    height, width = config.picture_size(template.schedule)
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": device_words(request.device),
        "precision": str(request.dtype).removeprefix("torch."),
        "versions": {"varedit": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "model": {"name": config.name, "weights": "random" if request.model.folder is None else "its own"}
        | {key: getattr(config.transformer, key) for key in ("width", "depth", "num_heads", "ffn_hidden")},
        "template": template.name,
        "size": [width, height],
        "scales": [list(grid) for grid in template.schedule],
        "instruction": INSTRUCTION,
        "repeats": request.repeats,
        "compiled": request.compiles,
        "options": dict(request.options),
    }


def device_words(device: torch.device) -> str:
    """The device by its name; of a processor, with the threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"{platform.machine()} GPU (MPS)"
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads"

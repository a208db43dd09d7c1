"""One batch of edits, timed stage by stage, and the memory that it takes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from varedit.bench.limits import Clock
from varedit.bench.random_weights import INSTRUCTION
from varedit.candidates import ONE_CANDIDATE, CandidateChoice
from varedit.config import EditorConfig
from varedit.editor import Editor
from varedit.requests import EditRequest, edit_requests
from varedit.reuse import ReuseSettings
from varedit.runs import EditRun
from varedit.sampling import PerScale, SamplingSettings
from varedit.scales import Template

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class TimedEdit:
    """Seconds of every stage, by the names of `costs.edit_costs`, and the finished run."""

    seconds: dict[str, float]
    run: EditRun

    @property
    def drawing_seconds(self) -> float:
        """From pixels to the decoder's pixels: everything but carrying the change to the photograph."""
        return sum(seconds for stage, seconds in self.seconds.items() if is_drawing(stage))


def is_drawing(stage: str) -> bool:
    """Whether a stage lies between pixels and the decoder's pixels; the others carry the change to the photograph."""
    return stage not in ("decode source", "restore")


def timed_edit(
    editor: Editor,
    template: Template,
    requests: list[EditRequest],
    clock: Clock,
    *,
    reuse: ReuseSettings | None = None,
    choice: CandidateChoice = ONE_CANDIDATE,
    restores: bool = True,
) -> TimedEdit:
    """Carry a batch of edits from photographs to restored results or, without restoring, to the decoder's pixels."""
    run = EditRun(editor, requests, template, "template", reuse=reuse, choice=choice, clock=clock)
    run.encode()
    scales, before = {}, 0.0
    for state in run.scales():
        scales[f"scale {state.index + 1}"] = run.seconds.get("scales", 0.0) - before
        before = run.seconds.get("scales", 0.0)
    decoded = run.decoded()
    decode = run.seconds["decode"]
    begun = [stage for stage in ("encode", "text", "prefill", "candidates") if stage in run.seconds]
    seconds = {stage: run.seconds[stage] for stage in begun} | scales | {"decode": decode}
    if restores:
        run.restored(decoded)
        seconds |= {"decode source": run.seconds["decode"] - decode, "restore": run.seconds["restore"]}
    return TimedEdit(seconds, run)


def photographs(config: EditorConfig, template: Template, seeds: Sequence[int]) -> list[NDArray[np.uint8]]:
    """A picture of noise for each seed, (h, w, 3), of the very size that the model draws."""
    height, width = config.picture_size(template.schedule)
    return [np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8) for seed in seeds]


def requests_for(
    config: EditorConfig,
    pictures: Sequence[NDArray[np.uint8]],
    seeds: Sequence[int],
    *,
    guidance: PerScale | None = None,
    mask: NDArray[np.uint8] | None = None,
) -> list[EditRequest]:
    """Edits of some pictures, one instruction for all, with the model's own settings; one mask for all, or none."""
    defaults = config.generation
    sampling = SamplingSettings(
        guidance=defaults.guidance_scale if guidance is None else guidance,
        temperature=defaults.temperature,
        top_k=defaults.top_k,
        top_p=defaults.top_p,
    )
    return edit_requests(list(pictures), INSTRUCTION, sampling=sampling, seed=list(seeds), mask=mask)


def reset_peak(device: torch.device) -> None:
    """Let the peak of memory be counted from here on, where the system can do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _RESET.exists():
        _RESET.write_text("5", encoding="ascii")


def peak_bytes(device: torch.device) -> int:
    """The most memory so far: what torch has allocated on a CUDA device, else what the process has held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        (line,) = [line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    import resource  # not on Windows, which has no other counter in the standard library

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

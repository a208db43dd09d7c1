"""What an edit returns, and the types that its pictures may come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from varedit.edited_codes import EditedCodes
from varedit.errors import UsageError
from varedit.scales import Grid, ScaleSchedule

OutputType = Literal["pil", "np", "pt", "bits"]


@dataclass
class EditOutput:
    """What a call returns; entry i of every list belongs to edit i.

    Attributes:
        images: PIL images, arrays (N, H, W, 3) or tensors (N, 3, H, W) in 0..1, or lists of bits, by ``output_type``.
            Pictures of unlike sizes come as a list of arrays or tensors.
        seeds: the seed of each edit.
        change_maps: PIL images of mode "L", 0 where the photograph's own pixels were kept; None without restoring.
        schedules: the scale schedule of each edit.
        timings: seconds by stage, over the whole call.
        settings: JSON values that repeat each edit; what result files carry.
        notes: per edit, sentences that its user should read.
        codes: per edit, from where the next edit of the same photograph goes on.
    """

    images: Any
    seeds: list[int]
    change_maps: list[Image.Image | None]
    schedules: list[ScaleSchedule]
    timings: dict[str, float]
    settings: list[dict[str, Any]]
    notes: list[tuple[str, ...]]
    codes: list[EditedCodes]

    def to_tuple(self) -> tuple[Any, ...]:
        """(images,), as ``return_dict=False`` gives it."""
        return (self.images,)

    def __getitem__(self, index: int) -> Any:
        return self.to_tuple()[index]


@dataclass
class ScaleEvent:
    """One scale of a stream.

    Attributes:
        index: the scale, counted from 0, of ``total``.
        grid: (h, w) of its tokens.
        seconds: spent on the edit so far.
        output: the finished edit, with the last scale only.
    """

    index: int
    total: int
    grid: Grid
    seconds: float
    output: EditOutput | None
    _previews: Callable[[], list[Image.Image]] = field(repr=False)

    def preview(self) -> Image.Image:
        """The first edit as it stands after this scale, at its photograph's size. Decodes when it is called."""
        return self._previews()[0]

    def previews(self) -> list[Image.Image]:
        """All edits of the stream as they stand."""
        return self._previews()


def merged(outputs: list[tuple[list[int], EditOutput]]) -> EditOutput:
    """The outputs of several runs in the order of the call."""
    order = sorted((place, run, item) for run, (places, _) in enumerate(outputs) for item, place in enumerate(places))

    def gathered(name: str) -> list[Any]:
        return [getattr(outputs[run][1], name)[item] for _, run, item in order]

    timings: dict[str, float] = {}
    for _, output in outputs:
        for stage, seconds in output.timings.items():
            timings[stage] = timings.get(stage, 0.0) + seconds
    names = ("images", "seeds", "change_maps", "schedules", "settings", "notes", "codes")
    return EditOutput(timings=timings, **{name: gathered(name) for name in names})


def check_output_type(output_type: str) -> None:
    """Raise UsageError for a type that is none."""
    if output_type not in get_args(OutputType):
        raise UsageError(f"output_type must be one of {', '.join(get_args(OutputType))}, not {output_type!r}")


def typed(images: list[Any], output_type: OutputType) -> Any:
    """(H, W, 3) uint8 arrays as the type that was asked for; bits pass unchanged."""
    if output_type == "bits":
        return images
    if output_type == "pil":
        return [Image.fromarray(image) for image in images]
    arrays: list[NDArray[np.float32]] = [image.astype(np.float32) / 255 for image in images]
    same_size = len({array.shape for array in arrays}) == 1
    if output_type == "np":
        return np.stack(arrays) if same_size else arrays
    tensors = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
    return torch.stack(tensors) if same_size else tensors

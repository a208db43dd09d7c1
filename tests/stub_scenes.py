"""Scenes made by hand: a square of one colour on a grey ramp is to be recoloured; the last kind darkens everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from varedit.evaluation.contestants import Task
from varedit.evaluation.success import Readouts

Bytes = NDArray[np.uint8]

RED, BLUE = (210, 30, 40), (20, 60, 220)
OTHERS = ((30, 200, 60), (230, 220, 40), (150, 40, 170), (250, 250, 250), (10, 10, 10), (240, 150, 30))
SQUARE, ELSEWHERE = (slice(3, 8), slice(2, 9)), (slice(10, 14), slice(11, 16))
KINDS = (("object", "recolour"), ("colour", "recolour_part"), ("adjustment", "darker"))


@dataclass(frozen=True, eq=False)
class StubScene:
    source: Bytes
    instruction: str
    target: Bytes
    mask: Bytes
    family: str
    category: str
    photograph: str


class StubScenes:
    """Scenes of 16 x 17 pixels; the kinds take turns."""

    def scene(self, index: int) -> StubScene:
        family, category = KINDS[index % 3]
        source = painted(ramp(index), SQUARE, RED)
        mask = np.zeros(source.shape[:2], np.uint8)
        if category == "darker":
            mask[:] = 255
            return StubScene(source, "make it darker", source // 2, mask, family, category, "shore")
        mask[SQUARE] = 255
        wanted = 'make the <red> square "blue" & keep the rest'
        return StubScene(source, wanted, painted(source, SQUARE, BLUE), mask, family, category, f"photo-{index}")

    def alternatives(self, index: int) -> list[Bytes]:
        """Six other colours, and the right colour in another place as well."""
        scene = self.scene(index)
        if scene.category == "darker":
            return [np.clip(scene.source * factor, 0, 255).astype(np.uint8) for factor in np.arange(0.7, 1.5, 0.1)]
        return [
            *(painted(scene.source, SQUARE, colour) for colour in OTHERS),
            painted(scene.target, ELSEWHERE, BLUE),
        ]


def ramp(index: int) -> Bytes:
    """(16, 17, 3) grey, lighter to the right, a little different for every index."""
    row = 60 + index % 5 + 7 * np.arange(17)
    return np.repeat(np.broadcast_to(row, (16, 17))[..., None], 3, axis=2).astype(np.uint8)


def painted(picture: Bytes, place: tuple[slice, slice], colour: tuple[int, int, int]) -> Bytes:
    """A copy with one place in one colour."""
    copy = picture.copy()
    copy[place] = colour
    return copy


def oracle(scenes: Sequence[Task], seeds: Sequence[int]) -> list[Readouts]:
    """An editor that always hits the target."""
    return [Readouts(raw=scene.target, restored=scene.target) for scene in scenes]


def colour_blind(scenes: Sequence[Task], seeds: Sequence[int]) -> list[Readouts]:
    """An editor that paints everything that may change in green."""
    results = []
    for scene in scenes:
        picture = scene.source.copy()
        picture[scene.mask > 0] = OTHERS[0]
        results.append(Readouts(raw=picture, restored=picture))
    return results

"""When the edit of a scene counts as a success.

Two things must hold. *Nearest*: in the changed region the result is nearer, in L1, to the true target than to the
source and to every wrong alternative. *Preserved*: outside the mask the picture is the source's, within limits that
hold before restoring and after it. An edit of the whole picture has all of it for its mask, hence no outside, and is
always preserved. So is an edit of nearly everything that leaves a few pixels as they are (greys between colours), which
`SMALLEST_OUTSIDE` tells from an outside.

The changed region is the scene's mask. An alternative that agrees with the target inside the mask ("the same object,
but elsewhere") cannot be told apart there; it is compared where the two differ instead. Pixels that target and rival
share never matter: they add the same to both distances. Distances are of sRGB values in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Region = NDArray[np.bool_]

LARGEST_RAW_L1 = 0.03
SMALLEST_RAW_PSNR = 22.0  # dB, before restoring
SMALLEST_RESTORED_PSNR = 38.0  # dB, after it
SMALLEST_OUTSIDE = 0.01  # share of the pixels; what is less stays by chance, not because the instruction names a place
IDENTICAL_PSNR = 100.0  # dB, in place of infinity
AGREEMENT = 0.5 / 255  # mean difference inside the mask below which two pictures are the same there


class Truth(Protocol):
    """What judging needs to know of a scene."""

    @property
    def source(self) -> Bytes:
        """(H, W, 3) uint8 sRGB."""

    @property
    def target(self) -> Bytes:
        """(H, W, 3) uint8 sRGB."""

    @property
    def mask(self) -> Bytes:
        """(H, W) uint8, 0 where the picture must stay as it is."""


@dataclass(frozen=True, eq=False)
class Readouts:
    """The two results of one edit, (H, W, 3) uint8 sRGB of the scene's size.

    Attributes:
        raw: what the decoder drew.
        restored: the change carried to the source's own pixels; what users get.
    """

    raw: Bytes
    restored: Bytes


@dataclass(frozen=True)
class Nearest:
    """How the true target fares against its rivals.

    Attributes:
        rival: the rival that is nearest to the result: "the source", or "alternative 3" (counted from 1).
        margin: distance to a rival less distance to the target, over the distance between the two, the smallest over
            all rivals: 1 is the target itself, -1 as far on a rival's side as can be, 0 a draw.
    """

    rival: str
    margin: float

    @property
    def is_target(self) -> bool:
        """Whether the target is nearer than every rival; a draw is none."""
        return self.margin > 0


@dataclass(frozen=True)
class Outside:
    """What became of the pixels that must stay, against the source: L1 in [0, 1], PSNR in dB."""

    raw_l1: float
    raw_psnr: float
    restored_psnr: float

    def raw_failures(self) -> list[str]:
        """Limits that the result before restoring breaks, a phrase each."""
        phrases = []
        if self.raw_l1 > LARGEST_RAW_L1:
            phrases.append(f"outside changed before restoring: L1 {self.raw_l1:.3f} > {LARGEST_RAW_L1:g}")
        if self.raw_psnr < SMALLEST_RAW_PSNR:
            phrases.append(f"outside changed before restoring: {self.raw_psnr:.1f} dB < {SMALLEST_RAW_PSNR:g}")
        return phrases

    def restored_failures(self) -> list[str]:
        """The limit that the restored result breaks, if it does."""
        if self.restored_psnr >= SMALLEST_RESTORED_PSNR:
            return []
        return [f"outside changed: {self.restored_psnr:.1f} dB < {SMALLEST_RESTORED_PSNR:g}"]


@dataclass(frozen=True)
class Score:
    """The judgement of one edit.

    Attributes:
        restored: the nearest picture to the restored result.
        raw: the nearest picture to the raw result.
        outside: None for an edit of the whole picture.
        target_psnr: dB between the restored result and the target, over the whole picture.
    """

    restored: Nearest
    raw: Nearest
    outside: Outside | None
    target_psnr: float

    @property
    def is_preserved_raw(self) -> bool:
        """Whether the outside is kept before restoring."""
        return self.outside is None or not self.outside.raw_failures()

    @property
    def is_preserved_restored(self) -> bool:
        """Whether the outside is kept after restoring."""
        return self.outside is None or not self.outside.restored_failures()

    @property
    def is_preserved(self) -> bool:
        """Whether the outside is kept before restoring and after it."""
        return self.is_preserved_raw and self.is_preserved_restored

    @property
    def is_raw_success(self) -> bool:
        """Success of the decoder's own picture."""
        return self.raw.is_target and self.is_preserved_raw

    @property
    def is_success(self) -> bool:
        """Success, as the headline counts it: of the restored result, with both limits on the outside."""
        return self.restored.is_target and self.is_preserved

    def failures(self) -> list[str]:
        """Why it is no success, a phrase each; empty for a success."""
        phrases = [] if self.restored.is_target else [f"nearer to {self.restored.rival}"]
        if self.outside is not None:
            phrases += self.outside.raw_failures() + self.outside.restored_failures()
        return phrases


def judged(scene: Truth, alternatives: Sequence[Bytes], results: Readouts) -> Score:
    """Judge both results of one edit.

    Args:
        scene: the true target, and which pixels it changes.
        alternatives: wrong results, (H, W, 3) uint8 each. One that equals the target is left out.
        results: what the editor made of the scene.
    """
    rivals = [("the source", scene.source)]
    rivals += [(f"alternative {number}", picture) for number, picture in enumerate(alternatives, start=1)]
    outside = scene.mask == 0
    return Score(
        restored=nearest(results.restored, scene, rivals),
        raw=nearest(results.raw, scene, rivals),
        outside=_outside(scene.source, results, outside) if outside.mean() >= SMALLEST_OUTSIDE else None,
        target_psnr=psnr(results.restored, scene.target),
    )


def nearest(result: Bytes, scene: Truth, rivals: Sequence[tuple[str, Bytes]]) -> Nearest:
    """Compare the target with every rival. At least one must differ from it."""
    leads, margins = {}, []
    for name, rival in rivals:
        region = compared_region(scene, rival)
        if region.any():
            lead = l1(rival[region], result[region]) - l1(scene.target[region], result[region])
            leads[name] = lead * int(region.sum())
            margins.append(lead / l1(rival[region], scene.target[region]))
    assert margins, "every rival of the scene equals its target"
    return Nearest(rival=min(leads, key=lambda name: leads[name]), margin=min(margins))


def compared_region(scene: Truth, rival: Bytes) -> Region:
    """(H, W): the mask, or where target and rival differ if they agree inside it; empty for equal pictures."""
    inside = scene.mask > 0
    if inside.any() and l1(rival[inside], scene.target[inside]) >= AGREEMENT:
        return inside
    differs: Region = (rival != scene.target).any(axis=-1)
    return differs


def l1(first: Bytes, second: Bytes) -> float:
    """Mean absolute difference of sRGB values in [0, 1]."""
    return float(np.abs(first.astype(np.int16) - second).mean()) / 255


def psnr(first: Bytes, second: Bytes) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit pixels; equal pictures have `IDENTICAL_PSNR`."""
    error = float(np.square(first.astype(np.int32) - second).mean()) / 255**2
    return IDENTICAL_PSNR if error == 0 else float(-10 * np.log10(error))


def _outside(source: Bytes, results: Readouts, outside: Region) -> Outside:
    return Outside(
        raw_l1=l1(results.raw[outside], source[outside]),
        raw_psnr=psnr(results.raw[outside], source[outside]),
        restored_psnr=psnr(results.restored[outside], source[outside]),
    )

"""The full-resolution result: what the model changed, carried over to the photograph's own pixels.

The edit is measured between the *decoded* source and the decoded result, so that the autoencoder's losses cancel.
Tone, colour and light are carried as a field of affine colour maps applied to the photograph, which keeps its detail,
or, where an edit goes by the colour of each pixel, as a colour table; new content is taken from the decoded result; all
else stays as it is, bit for bit. Knows nothing of models, files or how a photograph was fitted to the model (that is
`upsample`). Spec: "Restoring the photograph's own resolution".

Letters: h, w model resolution; H, W the photograph's; colours are RGB in [-1, 1] unless a line says levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from varedit.colour_maps import IDENTITY, local_maps, mapped_colours, robust_map
from varedit.colour_tables import ColourTable, fitted_table, unseen_change
from varedit.errors import UsageError
from varedit.full_size import Edit, Upsample, applied
from varedit.structure import lost_fine_structure, lost_structure, whole_picture_is_new
from varedit.windows import (
    Array,
    box_mean,
    dilated,
    energy_of,
    evidence_of,
    pooled,
    quantile,
    ramp,
    resized,
    smooth_step,
)

Box = tuple[float, float, float, float]  # left, top, right, bottom in model pixels; edges may fall inside a pixel


@dataclass(frozen=True, kw_only=True)
class RestoreSettings:
    """Numbers of the method. Lengths are shares of the picture's shorter side, differences RMS over RGB in [-1, 1].

    Unless a line says otherwise they were chosen on `benchmarks/restore.py`, with and without noise on the result.
    """

    threshold: float = 0.02  # differences below this are never an edit: 2.5 of 255 levels
    noise_ceiling: float = 0.12  # more is not taken for the model's noise; a weak editor has 0.05 to 0.1
    inner_noise_ceiling: float = 0.05  # the same inside a changed area, where noise competes with new content
    peak_share: float = 0.2  # a blotch weaker than this share of the picture's strongest change is no edit
    grain: float = 1 / 64  # radius over which differences are averaged before they are judged, and of the seams
    reach: float = 1 / 16  # radius within which structure speaks for or against keeping the photograph's detail
    window: float = 1 / 20  # radius of the local colour maps: 6 of 128 in the spec
    ridge: float = 1e-5  # of a global map, towards identity; 1e-3 leaves a tenth of the colour in a greyscale edit
    local_ridge: float = 0.05  # of a local map, towards zero: the variance below which its slopes are not trusted
    shrinkage: float = 0.5  # share of the noise energy that a local map must exceed before it is believed at all
    drift: tuple[float, float] = (0.7, 1.2)  # an area's mean remainder over the noise: one map for all, own maps
    bend: tuple[float, float] = (0.12, 0.18)  # share of the remainder that follows the tone: one map, local maps
    agreement: tuple[float, float] = (0.5, 0.8)  # structure kept: below, the source is gone; above, it is all there
    working_size: int = 256  # pixels; a larger result is averaged down to judge it, never to blend it in

    # Of colour tables and of places that are kept; chosen on validation scenes through an autoencoder of 64 pixels.
    explained: tuple[float, float] = (0.45, 0.7)  # share of the change that a colour table leaves: believed, not at all
    cost: tuple[float, float] = (1.35, 1.7)  # the table's error over that of colour maps and new content: the same
    local_cost: tuple[float, float] = (1.5, 3.0)  # the same in one place
    still: tuple[float, float] = (0.1, 0.25)  # no change's error over that of the maps: a place is kept, changed
    contradiction: float = 0.17  # difference below which maps are not told that a place is kept

    # Of what a weak editor smears over the border of a strong change; chosen on the embedded model's validation scenes.
    smear: tuple[float, float] = (0.25, 0.45)  # share of the strongest difference nearby: below, no change; above, one
    smear_reach: int = 5  # model pixels that count as nearby, half a token of the embedded model and a bit
    smear_left: tuple[float, float] = (0.05, 0.15)  # share that colour maps leave of the change: theirs, perhaps smear
    smear_peak: tuple[float, float] = (0.3, 0.6)  # strongest difference: below, nothing is smear; above, all of it is


@dataclass(frozen=True)
class Restored:
    """The restored photograph and where it was touched."""

    rgb: NDArray[Any]  # (H, W, 3), dtype of the photograph
    change: NDArray[np.uint8]  # (H, W); 0 = the photograph's own pixel, bit for bit; 255 = fully replaced


def restore(
    photograph: NDArray[Any],
    decoded_source: Array,
    decoded_result: Array,
    *,
    upsample: Upsample,
    mask: Array | None = None,
    model_box: Box | None = None,
    device: torch.device | str = "cpu",
    settings: RestoreSettings = RestoreSettings(),
) -> Restored:
    """Carry an edit over to the photograph.

    Args:
        photograph: (H, W, 3) uint8 or uint16.
        decoded_source, decoded_result: (3, h, w) float32 in [-1, 1], out of the same decoder.
        upsample: brings (C, h, w) maps into the photograph's geometry, (C, H, W), without overshoot (bilinear), so
            that a zero stays a zero.
        mask: (H, W) in [0, 1], limits the change; None leaves it free.
        model_box: the part of h x w that shows the photograph, where the rest is padding; None means all of it.
        device: where the edit is explained; it is applied on the CPU, where the photograph is.

    Raises: UsageError when sizes or types do not fit each other.
    """
    _check(photograph, decoded_source, decoded_result, mask)
    if np.array_equal(decoded_source, decoded_result) or (mask is not None and not mask.any()):
        return Restored(photograph.copy(), np.zeros(photograph.shape[:2], np.uint8))
    rows, columns = _inside(model_box, decoded_source.shape[1:])
    source, result = (
        torch.from_numpy(np.ascontiguousarray(each[:, rows, columns])).to(device)
        for each in (decoded_source, decoded_result)
    )
    factor = max(1, min(source.shape[1:]) // settings.working_size)
    seen, wanted = pooled(source, factor), pooled(result, factor)
    smear_reach = max(1, round(settings.smear_reach / factor))
    colours = torch.from_numpy(_averaged(photograph, seen.shape[1:])).to(device)
    layers, table = _explained(seen, wanted, colours, smear_reach, settings)
    around = [(part.start, n - part.stop) for part, n in zip((rows, columns), decoded_source.shape[1:], strict=True)]
    padded = np.pad(resized(layers, source.shape[1:]).cpu().numpy(), [(0, 0), *around], mode="edge")
    edit = Edit(padded, ColourTable(table.nodes.cpu()))
    return Restored(*applied(edit, photograph, decoded_result, upsample, mask))


def _inside(model_box: Box | None, size: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the model pixels that lie in the box by more than half."""
    left, top, right, bottom = model_box or (0, 0, size[1], size[0])
    return slice(round(top), max(round(top) + 1, round(bottom))), slice(round(left), max(round(left) + 1, round(right)))


def _check(photograph: NDArray[Any], source: Array, result: Array, mask: Array | None) -> None:
    if photograph.dtype not in (np.uint8, np.uint16) or photograph.ndim != 3 or photograph.shape[2] != 3:
        found = f"{photograph.shape} of {photograph.dtype}"
        raise UsageError(f"restoring needs an (H, W, 3) photograph of 8 or 16 bits, not {found}")
    if source.shape != result.shape or source.ndim != 3 or source.shape[0] != 3:
        raise UsageError(f"decoded source {source.shape} and decoded result {result.shape} must both be (3, h, w)")
    if mask is not None and mask.shape != photograph.shape[:2]:
        raise UsageError(f"the mask is {mask.shape}, the photograph {photograph.shape[:2]}; they must be equal")


def _averaged(photograph: NDArray[Any], size: tuple[int, ...]) -> Array:
    """The photograph's colours in pixels of the model, (3, *size) in [-1, 1]; 8 bits are plenty for a table."""
    levels = photograph if photograph.dtype == np.uint8 else (photograph >> 8).astype(np.uint8)
    small = Image.fromarray(levels).resize((size[1], size[0]), Image.Resampling.BOX)
    colours = np.asarray(small, np.float32).transpose(2, 0, 1) / np.float32(127.5) - 1
    return np.ascontiguousarray(colours)


# The model's resolution: which map explains what, where it does not, and how much of the picture is concerned


def _explained(
    source: Tensor, result: Tensor, colours: Tensor, smear_reach: int, settings: RestoreSettings
) -> tuple[Tensor, ColourTable]:
    """Explain the step from source to result: by colour maps, by a colour table, else as new content, else not at all.

    Args:
        source, result: (3, h, w), decoded.
        colours: the photograph's own, (3, h, w).
        smear_reach: pixels around a strong change in which a slight one may be its smear.

    Returns: layers (15, h, w) and table of an `Edit`.
    """
    side = min(source.shape[1:])
    grain, reach = max(1, round(settings.grain * side)), max(2, round(settings.reach * side))
    unchanged = energy_of(result - source)
    picture_map = _picture_map(source, result, settings)
    mapped = mapped_colours(picture_map, source)
    is_whole_tone = picture_map is not IDENTITY
    candidates, noise, inner_noise = _candidates(source, result, picture_map, grain, settings)

    errors = torch.stack(
        [evidence_of(energy_of(result - mapped_colours(each, source)), reach // 2) for each in candidates]
    )
    best = errors.amin(dim=0)
    maps = _blended(candidates, errors, best, inner_noise)
    predicted = _under(maps, source)

    by_nothing = evidence_of(unchanged, reach // 2)
    tone = _tone_change(by_nothing, best, noise, is_whole_tone)
    strong = _strong_change(unchanged, noise, grain, settings)
    weight = torch.maximum(strong, tone) + 1e-4
    new = lost_structure(predicted, result, weight, inner_noise, reach, settings.agreement)
    whole = whole_picture_is_new(source, predicted, result, inner_noise, reach, settings.agreement)
    fine = lost_fine_structure(predicted, result, None if is_whole_tone else reach, is_strict=is_whole_tone)
    blurred = fine.clip(min=whole)
    new = torch.maximum(box_mean(new, grain), blurred)
    change = torch.maximum(torch.maximum(box_mean(dilated(strong, 2 * grain), 2 * grain), tone), blurred)
    maps += local_maps(
        source,
        result - predicted,
        inner_noise,
        radius=max(1, round(settings.window * side)),
        ridge=settings.local_ridge,
        shrinkage=settings.shrinkage,
    )
    if is_whole_tone:
        departs = torch.maximum(_departure(result - mapped, unchanged, noise, reach, settings), blurred)
        departs = departs.clip(min=ramp(_bend(source, result - mapped, grain), *settings.bend))
        maps = picture_map[..., None, None] + departs * (maps - picture_map[..., None, None])
        change, new = 1 - departs * (1 - change), departs * new
    support = _support(unchanged, grain)
    still = _still(unchanged, result, predicted, mapped, grain, settings)
    change *= support * (1 - still * (1 - blurred))  # in a new picture a place is alike by chance

    left = energy_of((1 - change * new) * (result - source - change * (_under(maps, source) - source)))
    left += change * new * (energy_of(colours - source) + noise)  # new content is the decoder's, losses and all
    told = (mapped + unseen_change(colours, result - mapped, picture_map, noise=noise)).clip(-1, 1)
    believed = support * _table_belief(result, mapped, told, left, noise, reach, settings)
    table = ColourTable.of(picture_map)
    if believed.any():
        table = fitted_table(colours, result - mapped, picture_map, noise=noise)
    if not is_whole_tone:
        left_by_maps = (best - 3 * inner_noise).clip(min=0) / (by_nothing + 1e-6)
        change *= 1 - _smear(source, unchanged, smear_reach, settings) * smooth_step(left_by_maps, *settings.smear_left)
    shares = torch.stack((change * (1 - believed), new, believed))
    shares[shares < 1 / 512] = 0  # what rounds to nothing is nothing
    return torch.cat((maps.flatten(0, 1), shares)), table


def _under(maps: Tensor, source: Tensor) -> Tensor:
    """The source (3, h, w) under one colour map a pixel, (3, 4, h, w)."""
    return ((maps[:, :3] * source).sum(dim=1) + maps[:, 3]).clip(-1, 1)


def _table_belief(
    result: Tensor,
    mapped: Tensor,
    told: Tensor,
    left: Tensor,
    noise: float,
    reach: int,
    settings: RestoreSettings,
) -> Tensor:
    """Where a colour table is believed, (h, w) in [0, 1], by what it says of pixels that it was not fitted to.

    Args:
        mapped: the source under the picture's colour map, (3, h, w).
        told: the same and what the table adds to it.
        left: (h, w), mean square that colour maps and new content leave of the result.
    """
    by_map, by_table = (max(float(energy_of(result - each).mean()) - noise, 1e-9) for each in (mapped, told))
    error, left = (evidence_of(each, reach // 2) for each in (energy_of(result - told), left))
    share = 1 - ramp(by_table / by_map, *settings.explained)
    share *= 1 - ramp(float(error.mean() / left.mean().clip(min=1e-9)), *settings.cost)
    share *= 1 - float(lost_fine_structure(told, result, None, is_strict=True))
    is_worse = smooth_step(error / (left + (0.25 * noise + 1e-4)), *settings.local_cost)
    belief = share * (1 - is_worse) * (1 - lost_fine_structure(told, result, reach))
    return smooth_step(belief, 0.1, 0.8)  # what is half believed shows twice


def _picture_map(source: Tensor, result: Tensor, settings: RestoreSettings) -> Tensor:
    """The colour map of most of the picture; IDENTITY itself unless another one is clearly better and does something.

    A robust fit follows the majority: an edit of one object leaves it at identity, "black and white" does not.
    """
    fitted = robust_map(source, result, None, settings.ridge)
    mapped = mapped_colours(fitted, source)
    unchanged, explained = (quantile(energy_of(result - each), 0.5) for each in (source, mapped))
    is_better = unchanged - explained > 0.15 * explained  # a model's general loss of contrast gains less than that
    does_something = float(energy_of(mapped - source).mean()) > settings.threshold**2
    return fitted if is_better and does_something else IDENTITY


def _candidates(
    source: Tensor, result: Tensor, picture_map: Tensor, grain: int, settings: RestoreSettings
) -> tuple[list[Tensor], float, float]:
    """Colour maps worth trying: the picture's, and for the area that neither it nor identity explains its own map and
    one constant colour, which wins where nothing of the source is left (a ghost otherwise).

    Returns: the maps; the noise variance of the picture; the same inside that area.
    """
    rest = torch.minimum(energy_of(result - source), energy_of(result - mapped_colours(picture_map, source)))
    noise = min(quantile(box_mean(rest, grain), 0.5), settings.noise_ceiling**2)
    area = _strong_change(rest, noise, grain, settings)
    is_inside = area > 0.5
    if not is_inside.any():
        return [picture_map], noise, noise
    ridge = settings.ridge + 40 * noise / float(area.sum())  # few noisy samples say little about twelve numbers
    area_map = robust_map(source, result, area, ridge)
    inner = box_mean(torch.minimum(rest, energy_of(result - mapped_colours(area_map, source))), grain)[is_inside]
    constant = torch.zeros_like(area_map)
    constant[:, 3] = torch.tensor([quantile(channel[is_inside], 0.5) for channel in result])
    inner_noise = max(noise, min(quantile(inner, 0.5), settings.inner_noise_ceiling**2))
    return [picture_map, area_map, constant], noise, inner_noise


def _blended(candidates: list[Tensor], errors: Tensor, best: Tensor, noise: float) -> Tensor:
    """Each place takes the map that explains it best: (n, h, w) errors -> (3, 4, h, w) maps, soft at the borders."""
    weights = ((best - errors) / (0.25 * noise + 0.1 * best + 1e-6)).exp()
    maps = torch.stack([each.to(errors) for each in candidates])
    return torch.einsum("nij,nhw->ijhw", maps, weights / weights.sum(dim=0))


def _tone_change(unchanged: Tensor, best: Tensor, noise: float, is_whole_tone: bool) -> Tensor:
    """Where a colour map explains the result better than no change at all; the picture's majority has the benefit."""
    floor = 0.2 * noise + 1e-4
    if is_whole_tone:
        return 1 - smooth_step((best - unchanged) / ((best - noise).clip(min=0) + floor), 0.15, 0.5)
    return smooth_step((unchanged - best) / ((unchanged - noise).clip(min=0) + floor), 0.15, 0.5)


def _departure(rest: Tensor, unchanged: Tensor, noise: float, reach: int, settings: RestoreSettings) -> Tensor:
    """Where an edit of the whole picture's tone is more than that: (h, w) in [0, 1].

    A place departs from the picture's colour map if what the map leaves, (3, h, w), has one sign over an area: an
    editor's noise averages out there. Elsewhere one map for all is better than local ones, which would follow the
    noise of a weak editor.
    """
    drift = energy_of(box_mean(rest, 2 * reach))
    unexplained = smooth_step(drift / (box_mean(unchanged, 2 * reach) + 1e-4), 0.02, 0.06)
    start, end = settings.drift
    noticed = smooth_step(drift.sqrt(), start * noise**0.5 + 0.005, end * noise**0.5 + 0.01)
    return box_mean(unexplained * noticed, reach)


def _bend(source: Tensor, rest: Tensor, grain: int) -> float:
    """How much of what an affine map leaves, (3, h, w), is a function of the tone alone: 0 to 1."""
    tone, rest = (box_mean(each, grain).flatten(-2) for each in (source.mean(dim=0), rest))
    ends = [-(-tone.numel() * part // 8) for part in range(1, 8)]  # of eight bins of equal size
    means = torch.stack([part.mean(dim=1) for part in rest[:, tone.argsort()].tensor_split(ends, dim=1)])
    return float(means.square().mean() / rest.square().mean().clip(min=1e-9))


def _strong_change(energy: Tensor, noise: float, grain: int, settings: RestoreSettings) -> Tensor:
    """Soft threshold on a difference, above the noise and above what is slight beside the strongest change."""
    difference = box_mean(energy, grain).sqrt()
    floor = max(2 * noise**0.5 + settings.threshold, settings.peak_share * quantile(difference, 0.995))
    return smooth_step(difference, floor, 1.5 * floor + settings.threshold)


def _still(
    unchanged: Tensor, result: Tensor, predicted: Tensor, mapped: Tensor, grain: int, settings: RestoreSettings
) -> Tensor:
    """Where no change explains the result far better than the colour maps: a thing before a new background.

    The difference that is left there is the decoder's: what surrounds a thing shows in its decoded colours.
    """
    contradicted = box_mean(torch.maximum(energy_of(result - predicted), energy_of(result - mapped)), grain)
    still = 1 - smooth_step(box_mean(unchanged, grain) / (contradicted + 1e-6), *settings.still)
    return still * smooth_step(contradicted, settings.contradiction**2, 2 * settings.contradiction**2)


def _smear(source: Tensor, energy: Tensor, radius: int, settings: RestoreSettings) -> Tensor:
    """Where a difference is slight beside a strong one nearby, (h, w) in [0, 1]: the blurred rim of a new thing.

    Not within a strong change, and not where the source itself looks like what has changed rather than like what
    stays: there it is the rim of an old thing, which has to go with it.
    """
    difference = energy.sqrt()
    peak = dilated(difference, radius)
    share = difference / (peak + 1e-6)
    core = smooth_step(share, 0.5, 0.7) * (peak > settings.smear_peak[0])
    within = 1 - dilated(1 - dilated(core, radius // 2), radius // 2)
    slight = (1 - smooth_step(share, *settings.smear)) * smooth_step(peak, *settings.smear_peak)
    still = 1 - smooth_step(share, 0.1, 0.2)
    changed, stays = (_local_colour(source, weight, radius) for weight in (core, still))
    step = changed - stays
    along = ((source - stays) * step).sum(dim=0) / (step.square().sum(dim=0) + 1e-4)
    is_old = smooth_step(along, 0.15, 0.5) * smooth_step(energy_of(step).sqrt(), 0.1, 0.3)
    return slight * (1 - within) * (1 - is_old)


def _local_colour(picture: Tensor, weight: Tensor, radius: int) -> Tensor:
    """Mean colour (3, h, w) around each pixel of what has weight."""
    return box_mean(picture * weight, radius) / (box_mean(weight, radius) + 1e-4)


def _support(energy: Tensor, grain: int) -> Tensor:
    """0 where the difference is nil in a pixel and its neighbours, rising to 1 inside the rest."""
    support = dilated((energy > 0).to(energy.dtype), 1)
    return support * smooth_step(box_mean(support, grain), 0.4, 0.9)

"""The full-resolution result: what the model changed, carried over to the photograph's own pixels.

The edit is measured between the *decoded* source and the decoded result, so that the autoencoder's losses cancel.
Tone, colour and light are carried as a field of affine colour maps applied to the photograph, which keeps its detail;
new content is taken from the decoded result; all else stays as it is, bit for bit. Knows nothing of models, files or
how a photograph was fitted to the model (that is `upsample`). Spec: "Restoring the photograph's own resolution".

Letters: h, w model resolution; H, W the photograph's; colours are RGB in [-1, 1] unless a line says levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from varedit.colour_maps import IDENTITY, local_maps, mapped_colours, robust_map
from varedit.errors import UsageError
from varedit.windows import Array, box_mean, dilated, energy_of, evidence_of, pooled, ramp, resized, smooth_step

Upsample = Callable[[Array], Array]  # (C, h, w) -> (C, H, W)
Box = tuple[float, float, float, float]  # left, top, right, bottom in model pixels; edges may fall inside a pixel

# The edit at model resolution is one (14, h, w) array of layers. First the colour maps of the three output channels, 4
# layers each: what a channel becomes is three gains times the colour, plus an offset, clipped. Then, in [0, 1], how
# much of the photograph gives way, and how much of that is the decoded result instead of the photograph under its map.
CHANGE, NEW = 12, 13


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

    Raises: UsageError when sizes or types do not fit each other.
    """
    _check(photograph, decoded_source, decoded_result, mask)
    if np.array_equal(decoded_source, decoded_result) or (mask is not None and not mask.any()):
        return Restored(photograph.copy(), np.zeros(photograph.shape[:2], np.uint8))
    rows, columns = _inside(model_box, decoded_source.shape[1:])
    source, result = decoded_source[:, rows, columns], decoded_result[:, rows, columns]
    factor = max(1, min(source.shape[1:]) // settings.working_size)
    layers = resized(_edit_layers(pooled(source, factor), pooled(result, factor), settings), source.shape[1:])
    around = [(part.start, n - part.stop) for part, n in zip((rows, columns), decoded_source.shape[1:], strict=True)]
    layers = np.pad(layers, [(0, 0), *around], mode="edge")
    return _applied(layers, photograph, decoded_result, upsample, mask)


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


# The photograph's resolution


def _applied(
    layers: Array, photograph: NDArray[Any], decoded_result: Array, upsample: Upsample, mask: Array | None
) -> Restored:
    """Apply the edit one channel and one layer at a time: only a few arrays of the photograph's size exist at once."""
    change = upsample(layers[CHANGE : CHANGE + 1])[0]
    if mask is not None:
        change = change * mask.astype(np.float32)
    restored = photograph.copy()
    touched = _bounding_box(change > 0)
    if touched is None:
        return Restored(restored, np.zeros(change.shape, np.uint8))

    def full(layer: Array) -> Array:
        plane: Array = upsample(layer[None])[0][touched]
        return plane

    window = change[touched]
    new = full(layers[NEW]) if layers[NEW].any() else None
    half = np.float32(np.iinfo(photograph.dtype).max / 2)  # levels of one unit of [-1, 1]
    colours = [photograph[(*touched, k)].astype(np.float32) / half - 1 for k in range(3)]
    for k in range(3):
        value = full(layers[4 * k + 3])
        for j in range(3):
            value += full(layers[4 * k + j]) * colours[j]
        np.clip(value, -1, 1, out=value)
        if new is not None:
            value += new * (np.clip(full(decoded_result[k]), -1, 1) - value)
        levels = photograph[(*touched, k)].astype(np.float32)
        levels += window * (value * half + half - levels)  # exact where window is 0
        restored[(*touched, k)] = np.rint(levels, out=levels)
    return Restored(restored, np.ceil(np.clip(change, 0, 1) * 255).astype(np.uint8))


def _bounding_box(where: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if len(rows) else None


# The model's resolution: which map explains what, where it does not, and how much of the picture is concerned


def _edit_layers(source: Array, result: Array, settings: RestoreSettings) -> Array:
    """Explain the step from source to result, both (3, h, w): by colour maps, else as new content, else not at all."""
    side = min(source.shape[1:])
    grain, reach = max(1, round(settings.grain * side)), max(2, round(settings.reach * side))
    unchanged = energy_of(result - source)
    picture_map = _picture_map(source, result, settings)
    is_whole_tone = picture_map is not IDENTITY
    candidates, noise, inner_noise = _candidates(source, result, picture_map, grain, settings)

    errors = np.stack(
        [evidence_of(energy_of(result - mapped_colours(each, source)), reach // 2) for each in candidates]
    )
    best = errors.min(axis=0)
    maps = _blended(candidates, errors, best, inner_noise)
    predicted = np.clip((maps[:, :3] * source).sum(axis=1) + maps[:, 3], -1, 1)

    tone = _tone_change(evidence_of(unchanged, reach // 2), best, noise, is_whole_tone)
    strong = _strong_change(unchanged, noise, grain, settings)
    new = _lost_structure(predicted, result, np.maximum(strong, tone) + np.float32(1e-4), inner_noise, reach, settings)
    whole = _whole_picture_is_new(source, predicted, result, inner_noise, reach, is_whole_tone, settings)
    blurred = np.maximum(_lost_fine_structure(predicted, result, None if is_whole_tone else reach), whole)
    new = np.maximum(box_mean(new, grain), blurred)
    change = np.maximum(np.maximum(box_mean(dilated(strong, 2 * grain), 2 * grain), tone), blurred)
    maps += local_maps(
        source,
        result - predicted,
        inner_noise,
        radius=max(1, round(settings.window * side)),
        ridge=settings.local_ridge,
        shrinkage=settings.shrinkage,
    )
    if is_whole_tone:
        rest = result - mapped_colours(picture_map, source)
        departs = np.maximum(_departure(rest, unchanged, noise, reach, settings), blurred)
        departs = np.maximum(departs, ramp(_bend(source, rest, grain), *settings.bend))
        maps = picture_map[..., None, None] + departs * (maps - picture_map[..., None, None])
        change, new = 1 - departs * (1 - change), departs * new
    change *= _support(unchanged, grain)
    layers = np.concatenate([maps.reshape(12, *new.shape), change[None], new[None]]).astype(np.float32)
    layers[CHANGE:][layers[CHANGE:] < 1 / 512] = 0  # what rounds to nothing is nothing
    return layers


def _picture_map(source: Array, result: Array, settings: RestoreSettings) -> Array:
    """The colour map of most of the picture; IDENTITY itself unless another one is clearly better and does something.

    A robust fit follows the majority: an edit of one object leaves it at identity, "black and white" does not.
    """
    fitted = robust_map(source, result, np.ones(source.shape[1:], np.float32), settings.ridge)
    mapped = mapped_colours(fitted, source)
    unchanged, explained = (float(np.median(energy_of(result - each))) for each in (source, mapped))
    is_better = unchanged - explained > 0.15 * explained  # a model's general loss of contrast gains less than that
    return fitted if is_better and np.sqrt(energy_of(mapped - source).mean()) > settings.threshold else IDENTITY


def _candidates(
    source: Array, result: Array, picture_map: Array, grain: int, settings: RestoreSettings
) -> tuple[list[Array], float, float]:
    """Colour maps worth trying: the picture's, and for the area that neither it nor identity explains its own map and
    one constant colour, which wins where nothing of the source is left (a ghost otherwise).

    Returns: the maps; the noise variance of the picture; the same inside that area.
    """
    rest = np.minimum(energy_of(result - source), energy_of(result - mapped_colours(picture_map, source)))
    noise = min(float(np.median(box_mean(rest, grain))), settings.noise_ceiling**2)
    area = _strong_change(rest, noise, grain, settings)
    if not (area > 0.5).any():
        return [picture_map], noise, noise
    ridge = settings.ridge + 40 * noise / float(area.sum())  # few noisy samples say little about twelve numbers
    area_map = robust_map(source, result, area, ridge)
    inner = box_mean(np.minimum(rest, energy_of(result - mapped_colours(area_map, source))), grain)[area > 0.5]
    constant = np.zeros((3, 4), np.float32)
    constant[:, 3] = [np.median(channel[area > 0.5]) for channel in result]
    inner_noise = max(noise, min(float(np.median(inner)), settings.inner_noise_ceiling**2))
    return [picture_map, area_map, constant], noise, inner_noise


def _blended(candidates: list[Array], errors: Array, best: Array, noise: float) -> Array:
    """Each place takes the map that explains it best: (n, h, w) errors -> (3, 4, h, w) maps, soft at the borders."""
    weights = np.exp((best - errors) / (0.25 * noise + 0.1 * best + 1e-6))
    blended: Array = np.einsum("nij,nhw->ijhw", np.stack(candidates), weights / weights.sum(axis=0))
    return blended


def _tone_change(unchanged: Array, best: Array, noise: float, is_whole_tone: bool) -> Array:
    """Where a colour map explains the result better than no change at all; the picture's majority has the benefit."""
    floor = 0.2 * noise + 1e-4
    if is_whole_tone:
        return 1 - smooth_step((best - unchanged) / (np.maximum(best - noise, 0) + floor), 0.15, 0.5)
    return smooth_step((unchanged - best) / (np.maximum(unchanged - noise, 0) + floor), 0.15, 0.5)


def _departure(rest: Array, unchanged: Array, noise: float, reach: int, settings: RestoreSettings) -> Array:
    """Where an edit of the whole picture's tone is more than that: (h, w) in [0, 1].

    A place departs from the picture's colour map if what the map leaves, (3, h, w), has one sign over an area: an
    editor's noise averages out there. Elsewhere one map for all is better than local ones, which would follow the
    noise of a weak editor.
    """
    drift = energy_of(box_mean(rest, 2 * reach))
    unexplained = smooth_step(drift / (box_mean(unchanged, 2 * reach) + np.float32(1e-4)), 0.02, 0.06)
    start, end = settings.drift
    noticed = smooth_step(np.sqrt(drift), start * noise**0.5 + 0.005, end * noise**0.5 + 0.01)
    return box_mean(unexplained * noticed, reach)


def _bend(source: Array, rest: Array, grain: int) -> float:
    """How much of what an affine map leaves, (3, h, w), is a function of the tone alone: 0 to 1."""
    tone, rest = box_mean(source.mean(axis=0, keepdims=True), grain)[0], box_mean(rest, grain)
    bins = np.minimum((tone.argsort(axis=None).argsort() * 8) // tone.size, 7)  # eight bins of equal size
    means = np.array([[np.bincount(bins, c.ravel(), 8) / np.bincount(bins, minlength=8)] for c in rest])
    return float((means**2).mean() / max((rest**2).mean(), 1e-9))


def _strong_change(energy: Array, noise: float, grain: int, settings: RestoreSettings) -> Array:
    """Soft threshold on a difference, above the noise and above what is slight beside the strongest change."""
    difference = np.sqrt(box_mean(energy, grain))
    floor = max(2 * noise**0.5 + settings.threshold, settings.peak_share * float(np.quantile(difference, 0.995)))
    return smooth_step(difference, floor, 1.5 * floor + settings.threshold)


def _support(energy: Array, grain: int) -> Array:
    """0 where the difference is nil in a pixel and its neighbours, rising to 1 inside the rest."""
    support = dilated((energy > 0).astype(np.float32), 1)
    return support * smooth_step(box_mean(support, grain), 0.4, 0.9)


def _lost_structure(
    predicted: Array, result: Array, weight: Array, noise: float, reach: int, settings: RestoreSettings
) -> Array:
    """How much of the mapped source's structure is *not* in the result, inside the weighted area: (h, w) in [0, 1].

    The structure term of SSIM (Wang et al. 2004) with the larger variance below the line, so that a blur counts as a
    loss too. Only covariances enter, which independent noise on the result leaves alone.
    """
    mean_weight = box_mean(weight, reach)
    p, r = (x - box_mean(weight * x, reach) / mean_weight for x in (predicted, result))
    cov, var_p, var_r = (evidence_of(weight * (x * y).sum(axis=0), reach) for x, y in ((p, r), (p, p), (r, r)))
    total = evidence_of(weight, reach)
    noise_energy = 3 * noise * total
    floor = 0.5 * noise_energy + 1e-4 * total
    return 1 - smooth_step((cov + floor) / (np.maximum(var_p, var_r - noise_energy) + floor), *settings.agreement)


def _lost_fine_structure(predicted: Array, result: Array, reach: int | None, is_strict: bool = False) -> Array:
    """The same for what a 3x3 mean removes, where a blur shows first: (h, w) in [0, 1]; (1, 1) if ``reach`` is None.

    What the result has kept of the source's is a regression slope, hence safe from independent noise. A recoloured
    place loses some to the codec; where nothing was recoloured (`is_strict`) a loss of 40% is a blur, unless other
    structure took its place.
    """
    p, r = predicted - box_mean(predicted, 1), result - box_mean(result, 1)
    energies = ((x * y).mean(axis=0) + np.float32(2e-4) for x, y in ((p, r), (p, p), (r, r)))
    cov, var_p, var_r = (e.mean(keepdims=True) if reach is None else evidence_of(e, reach) for e in energies)
    kept, amount = cov / var_p, var_r / var_p
    is_blurred = (1 - smooth_step(kept, 0.5, 0.65)) * (1 - smooth_step(amount, 0.55, 0.7)) * is_strict
    lost: Array = np.maximum(1 - smooth_step(kept, 0.25, 0.35), is_blurred)
    return lost


def _whole_picture_is_new(
    source: Array,
    predicted: Array,
    result: Array,
    noise: float,
    reach: int,
    is_whole_tone: bool,
    settings: RestoreSettings,
) -> float:
    """1 when most structured places of the source are lost: mirrored, blurred, another scene; 0 when most are kept.

    At 1 places without structure, which alone say nothing, are new as well.
    """
    energy = evidence_of(((source - box_mean(source, reach)) ** 2).sum(axis=0), reach)
    confidence = energy / (energy + 12 * noise + 1e-3)
    lost = _lost_structure(predicted, result, np.ones_like(energy), noise, reach, settings)
    lost = np.maximum(lost, _lost_fine_structure(predicted, result, reach, not is_whole_tone))
    share = float((confidence * lost).mean() / (confidence.mean() + 0.02))  # a bare sky has no say
    return ramp(share, 0.4, 0.6)

"""What of the source's structure is left in a result: the sign of a blur, of new content, of another picture.

Pictures are (3, h, w) in [-1, 1], shares (h, w) in [0, 1]. Only covariances enter, which independent noise on the
result leaves alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from varedit.windows import box_mean, evidence_of, ramp, smooth_step


def lost_structure(
    predicted: Tensor, result: Tensor, weight: Tensor, noise: float, reach: int, agreement: tuple[float, float]
) -> Tensor:
    """How much of the mapped source's structure is *not* in the result, inside the weighted area: (h, w) in [0, 1].

    The structure term of SSIM (Wang et al. 2004) with the larger variance below the line, so that a blur counts as a
    loss too. ``agreement``: the share that is kept where all is lost, and where nothing is.
    """
    mean_weight = box_mean(weight, reach)
    p, r = (x - box_mean(weight * x, reach) / mean_weight for x in (predicted, result))
    cov, var_p, var_r = (evidence_of(weight * (x * y).sum(dim=0), reach) for x, y in ((p, r), (p, p), (r, r)))
    total = evidence_of(weight, reach)
    noise_energy = 3 * noise * total
    floor = 0.5 * noise_energy + 1e-4 * total
    return 1 - smooth_step((cov + floor) / (torch.maximum(var_p, var_r - noise_energy) + floor), *agreement)


def lost_fine_structure(predicted: Tensor, result: Tensor, reach: int | None, is_strict: bool = False) -> Tensor:
    """The same for what a 3x3 mean removes, where a blur shows first: (h, w) in [0, 1]; (1, 1) if ``reach`` is None.

    What the result has kept of the source's is a regression slope, hence safe from independent noise. A recoloured
    place loses some to the codec; for a whole picture (`is_strict`) a loss of a third is a blur, unless other structure
    took its place.
    """
    p, r = predicted - box_mean(predicted, 1), result - box_mean(result, 1)
    energies = ((x * y).mean(dim=0) + 2e-4 for x, y in ((p, r), (p, p), (r, r)))
    cov, var_p, var_r = (e.mean(dim=(0, 1), keepdim=True) if reach is None else evidence_of(e, reach) for e in energies)
    kept, amount = cov / var_p, var_r / var_p
    is_blurred = (1 - smooth_step(kept, 0.62, 0.72)) * (1 - smooth_step(amount, 0.55, 0.7)) * is_strict
    return torch.maximum(1 - smooth_step(kept, 0.25, 0.35), is_blurred)


def whole_picture_is_new(
    source: Tensor,
    predicted: Tensor,
    result: Tensor,
    noise: float,
    reach: int,
    agreement: tuple[float, float],
) -> float:
    """1 when most structured places of the source are lost: mirrored, blurred, another scene; 0 when most are kept.

    At 1 places without structure, which alone say nothing, are new as well.
    """
    energy = evidence_of((source - box_mean(source, reach)).square().sum(dim=0), reach)
    confidence = energy / (energy + 12 * noise + 1e-3)
    lost = lost_structure(predicted, result, torch.ones_like(energy), noise, reach, agreement)
    lost = torch.maximum(lost, lost_fine_structure(predicted, result, reach, is_strict=True))
    share = float((confidence * lost).mean() / (confidence.mean() + 0.02))  # a bare sky has no say
    return ramp(share, 0.4, 0.6)

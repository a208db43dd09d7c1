"""Entropies of spherical binary codes, for training an autoencoder whose bits should be sure and evenly used.

Spec "Quantiser", tokenizer training terms; BSQ, 2406.07548. The released weights leave the penalty at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-8  # inside the logarithm, as in the released code


@dataclass(frozen=True)
class BitEntropies:
    """How sure single codes are, and how evenly all of them together use the bits; in nats, summed over bits.

    Attributes:
        per_sample_entropy: scalar, the mean over positions; small where every bit is sure.
        codebook_entropy: scalar, of the mean over positions; d log 2 where every bit is one half of the time.
        average_probability: (d, 2), the mean over positions, of bit 0 and of bit 1.
    """

    per_sample_entropy: Tensor
    codebook_entropy: Tensor
    average_probability: Tensor


def bsq_entropy(z: Tensor, inverse_temperature: float) -> BitEntropies:
    """Entropies of the soft assignment of z (..., d) to bits; z is taken as it is, without normalising it."""
    bits = z.shape[-1]
    zero = torch.sigmoid(-4 * inverse_temperature / bits**0.5 * z.float())
    probability = torch.stack((zero, 1 - zero), dim=-1).flatten(0, -3)  # (positions, d, 2)
    average = probability.mean(dim=0)
    return BitEntropies(
        per_sample_entropy=_entropy(probability).sum(dim=-1).mean(),
        codebook_entropy=_entropy(average).sum(),
        average_probability=average,
    )


def entropy_penalty(
    residuals: Sequence[Tensor], *, sample_weight: float, codebook_weight: float, inverse_temperature: float
) -> Tensor:
    """What sure and evenly used bits make small: a weighted difference of both entropies, the mean over scales.

    As in the release the entropies are those of the residuals' directions, and the difference is divided by the
    inverse temperature.

    Args:
        residuals: K tensors (B, d, h_k, w_k), what the quantiser takes the signs of.
        sample_weight: of the entropy of single codes.
        codebook_weight: of the entropy of all together, which is subtracted.
        inverse_temperature: how sharply a direction decides on its bits.
    """
    terms = []
    for residual in residuals:
        entropies = bsq_entropy(F.normalize(residual, dim=1).movedim(1, -1), inverse_temperature)
        terms.append(sample_weight * entropies.per_sample_entropy - codebook_weight * entropies.codebook_entropy)
    return torch.stack(terms).mean() / inverse_temperature


def _entropy(probability: Tensor) -> Tensor:
    return -(probability * (probability + EPS).log()).sum(dim=-1)

"""Entropies of spherical binary codes, for training an autoencoder whose bits should be sure and evenly used.

Spec "Quantiser", tokenizer training terms; BSQ, 2406.07548. The released weights leave the penalty at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
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


def _entropy(probability: Tensor) -> Tensor:
    return -(probability * (probability + EPS).log()).sum(dim=-1)

"""The editor's loss: cross-entropy of every bit of every target token (spec "Training"; paper section 3.1)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from varedit.scales import ScaleSchedule


def bit_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each bit.

    Args:
        logits: (B, L, d, 2), the logits of bit 0 and of bit 1.
        labels: (B, L, d) bool.

    Returns: (B, L, d) float32.
    """
    advantage = logits[..., 1].float() - logits[..., 0].float()
    return F.binary_cross_entropy_with_logits(advantage, labels.float(), reduction="none")


def token_weights(schedule: ScaleSchedule, kind: Literal["uniform", "by_scale"]) -> Tensor:
    """Weights (L,) of the tokens that add up to one: all alike, or in proportion to 1 / sqrt(L_k) for scale k."""
    lengths = torch.tensor(schedule.lengths)
    each = torch.ones(len(lengths)) if kind == "uniform" else lengths.float().rsqrt()
    weights = each.repeat_interleave(lengths)
    return weights / weights.sum()


def editor_loss(token_losses: Tensor, weights: Tensor) -> Tensor:
    """Mean over the batch of the weighted sum over tokens, from losses (B, L) and weights (L,)."""
    return (token_losses * weights.to(token_losses.device)).sum(dim=1).mean()

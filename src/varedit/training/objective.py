"""The editor's losses: cross-entropy of every bit of every target token (spec "Training"; paper section 3.1), and the
distance of what the source proposes, for models with `source_proposal`.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from varedit.scales import ScaleSchedule
from varedit.transformer.collage import Layers
from varedit.transformer.planner import Plan

SMALLEST_ERROR = 1e-3  # mean square per channel over the features' variance; below it the distance is a parabola
SIZE_WEIGHT = 20.0  # of the squared error of a thing's size, as a logarithm, beside an entropy
PLACE_WEIGHT = 200.0  # of that of its place, as a share of the picture's side
PLACEMENT_WEIGHT = 0.3  # of all these, and of mosaics, beside the entropy of the masks
SPRITE_WEIGHT = 4.0  # of new things, which few pairs have
OVERLAP_WEIGHT = 2.0  # of what outlines of things lack to overlap; a small thing has as much say as a large one
COLOUR_WEIGHT = 2.0  # of their colours' mean error beside the entropy of their outlines


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


def proposal_loss(proposed: Tensor, difference: Tensor, spread: Tensor) -> Tensor:
    """Mean distance of proposed from true differences, token by token, over the spread of the features.

    The distance of a token is Euclidean over its channels, so most tokens, which an edit leaves alone, are drawn to
    exactly no change, and one that is far off does not outweigh all others.

    Args:
        proposed, difference: (B, S, token bits).
        spread: standard deviation of the features.
    """
    errors = ((proposed - difference) / spread).square().mean(dim=-1)
    return (errors + SMALLEST_ERROR).sqrt().mean()


def collage_loss(found: Layers, true: Layers) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of both masks, what things lack to overlap, and what the plans are off.

    Args:
        found: from the model.
        true: masks and sprites of any size, in [0, 1], and yes or no as 1 or 0, in the place of logits.

    Returns: the loss, and its terms by name.
    """
    masks = [(logits, _resized(mask, logits)) for logits, mask in zip(found[:2], true[:2], strict=True)]
    changed, thing = (_entropy(*each) for each in masks)
    apart = _dice_loss(*masks[1])
    planned, terms = plan_loss(found.plan, true.plan)
    terms = {"changed_mask": changed.item(), "thing_mask": thing.item(), "thing_apart": apart.item()} | terms
    return changed + thing + OVERLAP_WEIGHT * apart + planned, terms


def plan_loss(found: Plan, true: Plan) -> tuple[Tensor, dict[str, float]]:
    """What placements, new things and mosaics are off; of sizes, places and looks only where the truth has them.

    Arguments and what it returns: as `collage_loss` has them.
    """
    (*choices, size, moved, x, y), (*true_choices, true_size, is_moved, true_x, true_y) = (
        plan.placement.unbind(1) for plan in (found, true)
    )
    _, is_copied, is_new = true_choices
    placed = sum(_entropy(*each) for each in zip((*choices, moved), (*true_choices, is_moved), strict=True))
    placed = placed + SIZE_WEIGHT * ((is_copied + is_new) * (size - true_size).square()).mean()
    placed = placed + PLACE_WEIGHT * (is_moved * ((x - true_x).square() + (y - true_y).square())).mean()

    sprite = _resized(true.sprite, found.sprite)
    colours = (sprite[:, 3:] * (found.sprite[:, :3] - sprite[:, :3]).abs()).flatten(1).mean(dim=1)
    drawn = _entropy(found.sprite[:, 3:], sprite[:, 3:], "none").flatten(1).mean(dim=1) + COLOUR_WEIGHT * colours
    drawn = SPRITE_WEIGHT * (is_new * drawn).mean()

    squares = F.cross_entropy(found.mosaic, true.mosaic)
    terms = {"placement": placed.item(), "new_thing": drawn.item(), "mosaic": squares.item()}
    return drawn + PLACEMENT_WEIGHT * (placed + squares), terms


def _dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """One less the Dice coefficient, mean over the batch, 0 without a thing (Milletari et al. 2016, "V-Net")."""
    found = torch.sigmoid(logits)
    both, either = (each.flatten(1).sum(dim=1) for each in (found * masks, found.square() + masks.square()))
    has_thing = (masks.flatten(1).amax(dim=1) > 0).to(found.dtype)
    return (has_thing * (1 - 2 * both / either.clamp(min=SMALLEST_ERROR))).mean()


def _entropy(logits: Tensor, shares: Tensor, reduction: str = "mean") -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, shares, reduction=reduction)


def _resized(picture: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(picture, size=like.shape[2:], mode="area")

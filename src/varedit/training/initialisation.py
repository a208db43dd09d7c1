"""Weights of an editor that is trained from scratch (spec "Training", initialisation)."""

from __future__ import annotations

import torch
from torch import nn

from varedit.transformer.block import Block
from varedit.transformer.model import VAREditTransformer

HEAD_SHARE = 0.02  # of the head's weights, so that training starts near even odds
OFFSET_SHARE = 1e-3  # of the blocks' own scales and shifts
NULL_TEXT_SPREAD = 1.2  # of the unconditional text, over the square root of its channels


@torch.no_grad()
def initialise(transformer: VAREditTransformer, *, seed: int, initial_gain: float) -> None:
    """Draw all weights of a transformer.

    Args:
        seed: of a generator of its own.
        initial_gain: what the residual branches start with. The release starts near zero (5e-6) from pretrained
            weights; small models from scratch learn nothing for long that way and start with 1.
    """
    generator = torch.Generator().manual_seed(seed)
    config = transformer.config
    spread = (1 / (3 * config.width)) ** 0.5

    def drawn(parameter: torch.Tensor, share: float = 1.0) -> None:
        nn.init.trunc_normal_(parameter, std=spread * share, a=-2 * spread, b=2 * spread, generator=generator)

    for module in transformer.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            drawn(module.weight)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()
    for parameter in (transformer.start_position, transformer.text_pool.query):
        drawn(parameter)
    null_spread = NULL_TEXT_SPREAD / config.text_channels**0.5
    transformer.null_text.normal_(std=null_spread, generator=generator)
    transformer.head.weight.mul_(HEAD_SHARE)
    for block in transformer.blocks:
        assert isinstance(block, Block)
        for last in (block.attention.project, block.cross_attention.project, block.feed_forward.narrow):
            last.weight.mul_((2 * config.depth) ** -0.5)
        block.modulation_offset.normal_(std=OFFSET_SHARE * config.width**-0.5, generator=generator)
        block.modulation_offset[:, :, :2] += initial_gain  # attention gain, feed-forward gain

"""The optimiser of a training: AdamW, or Muon for small models whose every matrix is whole in one process.

Matrices and kernels decay, the rest does not (spec "Training").
"""

from __future__ import annotations

import torch
from torch import nn

from varedit.errors import UsageError
from varedit.training.muon import Muon
from varedit.training.recipe import OptimizerSettings

UNDECAYED = (
    "null_text",
    "start_position",
    "level_embed.weight",
    "modulation_offset",
    "log_scale",
    "text_pool.query",
    "reader.query",
)

# Matrices that read pictures, tokens or words, or write bits or pixels: Muon is for those in between.
OUTER = (
    "conv_in.weight",
    "encoder.conv_out.weight",
    "decoder.conv_out.weight",
    "linear.weight",
    "token_embed.weight",
    "copy_path.embed.weight",
    "place.weight",
    "collage.masks.weight",
    "fill.mend.weight",
    "words.first.weight",
    "planner.tell.3.weight",
    "head.weight",
    "gate.weight",
    "gain.weight",
    "shift.weight",
    "shared.weight",
    "embed_tokens.weight",
    "relative_attention_bias.weight",
)

BETAS = (0.9, 0.98)


def optimizer_of(module: nn.Module, settings: OptimizerSettings, *, shards_weights: bool) -> torch.optim.Optimizer:
    """An optimiser of what learns in a module; vectors, scalars and learned positions do not decay.

    Raises: UsageError where Muon meets weights that are sharded among processes.
    """
    matrices, decayed, undecayed = _sorted_parameters(module)
    decay = settings.weight_decay
    if settings.optimizer == "muon":
        if shards_weights:
            raise UsageError('Muon needs whole matrices, and FSDP shards them. Set optimizer = "adamw" in the recipe.')
        return Muon(matrices, decayed, undecayed, weight_decay=decay, betas=BETAS)
    groups = [{"params": matrices + decayed, "weight_decay": decay}, {"params": undecayed, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], betas=BETAS)


def _sorted_parameters(
    module: nn.Module,
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """(matrices between hidden layers, others that decay, those that do not)."""
    matrices: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim < 2 or name.endswith(UNDECAYED):
            undecayed.append(parameter)
        else:
            (decayed if name.endswith(OUTER) else matrices).append(parameter)
    return matrices, decayed, undecayed

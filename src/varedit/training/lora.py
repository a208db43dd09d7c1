"""Low-rank adapters (LoRA, 2106.09685) on the transformer's blocks, by `peft`: added to be trained, kept apart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from varedit.adapters import peft_library
from varedit.checkpoints import replaced_folder
from varedit.errors import ConfigError
from varedit.training.recipe import LoraSettings
from varedit.transformer.model import VAREditTransformer


def add_adapters(transformer: VAREditTransformer, settings: LoraSettings) -> None:
    """Freeze a transformer and put adapters into it, in place; they change nothing until they have learnt.

    Raises:
        ConfigError: a target is no linear layer of a block.
        MissingExtra: peft is not installed.
    """
    _check_targets(transformer, settings)
    peft_library().inject_adapter_in_model(_config(settings), transformer)


def save_adapters(transformer: VAREditTransformer, settings: LoraSettings, base: Path, folder: Path) -> None:
    """Write adapters apart from what they adapt, as `peft.PeftModel.from_pretrained` reads them.

    Args:
        transformer: with adapters of these settings.
        base: folder of the editor that they belong to; its place is written down.
        folder: appears whole or not at all.

    Raises: OutputError.
    """
    found = peft_library().get_peft_model_state_dict(transformer, save_embedding_layers=False)
    weights = {f"base_model.model.{name}": value.detach().contiguous() for name, value in found.items()}
    config = _config(settings)
    config.inference_mode = True
    config.base_model_name_or_path = str(base.resolve())
    with replaced_folder(folder) as temporary:
        save_file(weights, temporary / "adapter_model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(str(temporary))


def _config(settings: LoraSettings) -> Any:
    names = "|".join(re.escape(name) for name in settings.targets)
    return peft_library().LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules=rf"blocks\.\d+\.\w+\.({names})", bias="none"
    )


def _check_targets(transformer: VAREditTransformer, settings: LoraSettings) -> None:
    block = transformer.blocks[0]
    linear = {name.rsplit(".", 1)[-1] for name, part in block.named_modules() if isinstance(part, nn.Linear)}
    if unknown := sorted(set(settings.targets) - linear):
        known = ", ".join(sorted(linear))
        raise ConfigError(f"lora.targets names {unknown[0]}; the linear layers of a block are {known}")

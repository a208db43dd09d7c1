"""Low-rank adapters (LoRA, 2106.09685) on the transformer's blocks, by `peft`: added, kept apart, merged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from varedit.checkpoints import replaced_folder
from varedit.errors import ConfigError, MissingExtra, ModelError
from varedit.training.recipe import LoraSettings
from varedit.transformer.model import VAREditTransformer

CONFIG = "adapter_config.json"


def add_adapters(transformer: VAREditTransformer, settings: LoraSettings) -> None:
    """Freeze a transformer and put adapters into it, in place; they change nothing until they have learnt.

    Raises:
        ConfigError: a target is no linear layer of a block.
        MissingExtra: peft is not installed.
    """
    _check_targets(transformer, settings)
    _peft().inject_adapter_in_model(_config(settings), transformer)


def save_adapters(transformer: VAREditTransformer, settings: LoraSettings, base: Path, folder: Path) -> None:
    """Write adapters apart from what they adapt, as `peft.PeftModel.from_pretrained` reads them.

    Args:
        transformer: with adapters of these settings.
        base: folder of the editor that they belong to; its place is written down.
        folder: appears whole or not at all.

    Raises: OutputError.
    """
    found = _peft().get_peft_model_state_dict(transformer, save_embedding_layers=False)
    weights = {f"base_model.model.{name}": value.detach().contiguous() for name, value in found.items()}
    config = _config(settings)
    config.inference_mode = True
    config.base_model_name_or_path = str(base.resolve())
    with replaced_folder(folder) as temporary:
        save_file(weights, temporary / "adapter_model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(str(temporary))


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds adapters."""
    return (folder / CONFIG).is_file()


def base_of(folder: Path) -> Path:
    """The editor that the adapters in a folder belong to. Raises ModelError where the folder is none of adapters."""
    try:
        return Path(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} is no folder of adapters: its {CONFIG} is missing or damaged") from error


def merge_adapters(transformer: VAREditTransformer, folder: Path) -> None:
    """Add the adapters in a folder to the weights of the transformer that they belong to, in place.

    Raises: ModelError where they do not fit; MissingExtra.
    """
    peft = _peft()
    try:
        peft.PeftModel.from_pretrained(transformer, str(folder)).merge_and_unload()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"the adapters in {folder} do not fit the editor they name: {reason}") from error


def _config(settings: LoraSettings) -> Any:
    names = "|".join(re.escape(name) for name in settings.targets)
    return _peft().LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules=rf"blocks\.\d+\.\w+\.({names})", bias="none"
    )


def _check_targets(transformer: VAREditTransformer, settings: LoraSettings) -> None:
    block = transformer.blocks[0]
    linear = {name.rsplit(".", 1)[-1] for name, part in block.named_modules() if isinstance(part, nn.Linear)}
    if unknown := sorted(set(settings.targets) - linear):
        known = ", ".join(sorted(linear))
        raise ConfigError(f"lora.targets names {unknown[0]}; the linear layers of a block are {known}")


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingExtra("training adapters", "train") from error
    return peft

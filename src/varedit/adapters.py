"""Folders of low-rank adapters (LoRA, 2106.09685) as `peft` writes them: recognised, and added to a transformer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from varedit.errors import MissingExtra, ModelError
from varedit.transformer.model import VAREditTransformer

CONFIG = "adapter_config.json"


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
    library = peft_library()
    try:
        library.PeftModel.from_pretrained(transformer, str(folder)).merge_and_unload()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"the adapters in {folder} do not fit the editor they name: {reason}") from error


def peft_library() -> Any:
    """The module `peft`. Raises MissingExtra."""
    try:
        import peft
    except ImportError as error:
        raise MissingExtra("adapters", "train") from error
    return peft

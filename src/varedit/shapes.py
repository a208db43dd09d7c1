"""Names and shapes of a model's weights, part by part, without the weights: of a folder, or of a released model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from varedit.autoencoder import Autoencoder
from varedit.checkpoints import weight_shapes
from varedit.memory import PartShapes
from varedit.meta import module_without_weights
from varedit.presets import Preset
from varedit.t5 import T5Config, T5Encoder
from varedit.transformer.model import VAREditTransformer

# google/flan-t5-xl, with which all released models read instructions
FLAN_T5_XL = T5Config(vocab_size=32128, d_model=2048, d_kv=64, d_ff=5120, num_layers=24, num_heads=32)


def folder_shapes(folder: Path) -> PartShapes:
    """The shapes in a model folder, a subfolder each part, from the headers of its weights. Raises ModelError."""
    parts = sorted({path.parent for path in folder.glob("*/*.safetensors")})
    return {part.name: weight_shapes(part) for part in parts}


def preset_shapes(preset: Preset) -> PartShapes:
    """The shapes of a released model; nothing is read or built."""
    config = preset.config
    makers: dict[str, Callable[[], nn.Module]] = {
        "autoencoder": lambda: Autoencoder(config.autoencoder),
        "text_encoder": lambda: T5Encoder(FLAN_T5_XL),
        "transformer": lambda: VAREditTransformer(config.transformer),
    }
    return {
        part: {name: tuple(value.shape) for name, value in module_without_weights(make).state_dict().items()}
        for part, make in makers.items()
    }

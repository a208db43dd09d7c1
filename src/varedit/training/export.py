"""A trained editor as it is shipped: float16 storage, half the size; computing stays in float32."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from varedit.config import GenerationConfig
from varedit.editor import Editor


def export_editor(model: Path, generation: GenerationConfig, out: Path) -> None:
    """Write the model folder ``model`` again at ``out`` with all floating-point weights stored as float16.

    Args:
        model: as training left it.
        generation: default call settings, which are chosen on validation once the weights are there.
        out: a model card that stands there is kept.

    Raises: ModelError, ConfigError, OutputError.
    """
    editor = Editor.load(model, torch.device("cpu"), torch.float32)
    editor.config = dataclasses.replace(editor.config, generation=generation)
    for part in (editor.autoencoder, editor.transformer, editor.text_encoder):
        part.half()
    card = out / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else None
    editor.save(out)
    if text is not None:
        card.write_text(text, encoding="utf-8")

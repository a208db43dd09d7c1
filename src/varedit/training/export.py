"""A trained editor as it is shipped: float16 storage, half the size; computing stays in float32."""

from __future__ import annotations

from pathlib import Path

import torch

from varedit.editor import Editor


def export_editor(model: Path, out: Path) -> None:
    """Write the model folder ``model`` again at ``out`` with all floating-point weights stored as float16.

    A model card that stands at ``out`` is kept. Raises: ModelError, ConfigError, OutputError.
    """
    editor = Editor.load(model, torch.device("cpu"), torch.float32)
    for part in (editor.autoencoder, editor.transformer, editor.text_encoder):
        part.half()
    card = out / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else None
    editor.save(out)
    if text is not None:
        card.write_text(text, encoding="utf-8")

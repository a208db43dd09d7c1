"""A trained editor as it is shipped: float16 storage, half the size; computing stays in float32."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from varedit.adapters import base_of, is_adapter, merge_adapters
from varedit.change_detector import ChangeDetector
from varedit.checkpoints import load_weights
from varedit.config import GenerationConfig
from varedit.editor import Editor
from varedit.errors import UsageError
from varedit.training.change_detector import change_detector_settings
from varedit.training.recipe import Recipe


def trained_editor(model: Path) -> Editor:
    """The editor in a model folder, as training left it. Raises UsageError, ModelError, ConfigError."""
    if is_adapter(model):
        raise UsageError(f"{model} holds adapters and no editor; add --merge to export the two together")
    return Editor.load(model, torch.device("cpu"), torch.float32)


def merged_editor(adapters: Path) -> Editor:
    """The editor that a folder of adapters belongs to, with them added to its weights.

    Raises: ModelError, ConfigError; MissingExtra without peft.
    """
    editor = Editor.load(base_of(adapters), torch.device("cpu"), torch.float32)
    merge_adapters(editor.transformer, adapters)
    return editor


def take_change_detector(editor: Editor, recipe: Recipe, folder: Path) -> None:
    """Give an editor the change detector that was trained for it.

    Raises: ConfigError where the recipe has no table of one; ModelError.
    """
    settings = change_detector_settings(recipe)
    editor.config = dataclasses.replace(editor.config, change_detector=settings.detector)
    editor.change_detector = ChangeDetector(settings.detector, editor.config.transformer.text_channels).eval()
    load_weights(editor.change_detector, folder)


def export_editor(editor: Editor, generation: GenerationConfig, out: Path) -> None:
    """Write an editor with all floating-point weights stored as float16.

    Args:
        editor: its parts are changed in place.
        generation: default call settings, which are chosen on validation once the weights are there.
        out: a model card that stands there is kept.

    Raises: OutputError.
    """
    editor.config = dataclasses.replace(editor.config, generation=generation)
    for part in (editor.autoencoder, editor.transformer, editor.text_encoder, editor.change_detector):
        if part is not None:
            part.half()
    card = out / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else None
    editor.save(out)
    if text is not None:
        card.write_text(text, encoding="utf-8")

"""A published T5 as the text encoder of a training, such as the Flan-T5 that Infinity was trained with."""

from __future__ import annotations

from pathlib import Path

from varedit import conversion
from varedit.errors import InputMissing
from varedit.text import TextEncoder


def published_text_encoder(folder: Path, max_length: int) -> TextEncoder:
    """The encoder half of a T5 and its tokenizer, from a folder as it is published; nothing is fetched.

    Args:
        max_length: tokens that are kept of an instruction.

    Raises: InputMissing, ModelError.
    """
    if not (folder / "config.json").is_file():
        raise InputMissing(f"there is no T5 in {folder}: [text_encoder] folder of the recipe must hold its config.json")
    encoder = conversion.published_text_encoder(folder)
    part = conversion.text_part(folder, encoder)
    encoder.to_empty(device="cpu")
    for names in part.groups:
        encoder.load_state_dict(part.read(names), strict=False)  # one shard after the other
    return TextEncoder(encoder, conversion.published_tokenizer(folder), max_length)

"""A published T5 as the text encoder of a training, such as the Flan-T5 that Infinity was trained with."""

from __future__ import annotations

from pathlib import Path

import torch

from varedit.errors import InputMissing, ModelError
from varedit.text import TextEncoder


def published_text_encoder(folder: Path, max_length: int) -> TextEncoder:
    """The encoder half of a T5 and its tokenizer, from a folder as it is published; nothing is fetched.

    Args:
        max_length: tokens that are kept of an instruction.

    Raises: InputMissing, ModelError.
    """
    from transformers import AutoTokenizer, T5EncoderModel

    if not (folder / "config.json").is_file():
        raise InputMissing(f"there is no T5 in {folder}: [text_encoder] folder of the recipe must hold its config.json")
    try:
        encoder = T5EncoderModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds for a damaged folder
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"the T5 in {folder} cannot be read: {reason}") from error
    return TextEncoder(encoder, tokenizer, max_length)

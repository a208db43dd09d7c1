"""Instructions to text features: checks, tokenizer and T5 encoder (spec "Text").

No prefix and no rewriting: what the user wrote is what the encoder reads, up to the tokenizer's limit.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from varedit.errors import ModelError, UsageError
from varedit.text_features import TextFeatures

MAX_CHARACTERS = 2000
_MEND = "Download or convert the model again."


@dataclass(frozen=True)
class Tokens:
    """Token numbers of a batch, padded to its longest item.

    Attributes:
        ids: (B, T) int64.
        lengths: B lengths, the closing token included.
        notes: what a user should know, one sentence each: words that were cut off, words the model does not know.
    """

    ids: Tensor
    lengths: tuple[int, ...]
    notes: tuple[tuple[str, ...], ...]

    @property
    def mask(self) -> Tensor:
        """(B, T) int64, 1 at real tokens."""
        places = torch.arange(self.ids.shape[1])
        return (places < torch.tensor(self.lengths)[:, None]).long()


class TextEncoder(nn.Module):
    """A T5 encoder with its tokenizer.

    Args:
        encoder: a `transformers.T5EncoderModel`, or another that is called the same way.
        tokenizer: a `transformers` tokenizer that closes every text with an end token.
        max_length: tokens that are kept of an instruction.
    """

    def __init__(self, encoder: nn.Module, tokenizer: Any, max_length: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.max_length = max_length

    @property
    def channels(self) -> int:
        """Width of the features."""
        return int(self.encoder.config.d_model)  # type: ignore[arg-type, union-attr]  # of a transformers model

    def tokenize(self, instructions: Sequence[str]) -> Tokens:
        """Clean, check and tokenize. Raises UsageError as `clean_instruction` does."""
        cleaned = [clean_instruction(text) for text in instructions]
        ids, notes = [], []
        for text in cleaned:
            whole = self.tokenizer(text, truncation=False, verbose=False)["input_ids"]
            kept = self.tokenizer(text, truncation=True, max_length=self.max_length)["input_ids"]
            ids.append(kept)
            notes.append(self._notes(text, whole, kept))
        lengths = tuple(len(row) for row in ids)
        padded = torch.zeros(len(ids), max(lengths), dtype=torch.long)
        for row, item in zip(padded, ids, strict=True):
            row[: len(item)] = torch.tensor(item)
        return Tokens(padded, lengths, tuple(notes))

    def forward(self, tokens: Tokens) -> TextFeatures:
        """Encode: (B, T, text channels) float32, with the encoder's own precision inside."""
        device = next(self.encoder.parameters()).device
        states = self.encoder(input_ids=tokens.ids.to(device), attention_mask=tokens.mask.to(device))
        return TextFeatures(states.last_hidden_state.float(), tokens.lengths)

    def _notes(self, text: str, whole: list[int], kept: list[int]) -> tuple[str, ...]:
        notes = []
        if len(whole) > len(kept):
            notes.append(f"the instruction has {len(whole)} tokens; only the first {len(kept)} were read")
        unknown = self.tokenizer.unk_token_id
        if unknown in kept:
            words = [word for word in text.split() if unknown in self.tokenizer(word)["input_ids"]]
            notes.append(f"this model does not know: {', '.join(dict.fromkeys(words))}")
        return tuple(notes)

    @classmethod
    def from_folder(cls, folder: Path, max_length: int, dtype: torch.dtype = torch.float32) -> TextEncoder:
        """Read FOLDER/text_encoder and FOLDER/tokenizer. Raises ModelError where either is missing or damaged."""
        with _silent_transformers():
            encoder, tokenizer = _read_encoder(folder / "text_encoder", dtype), _read_tokenizer(folder / "tokenizer")
        if len(tokenizer) > encoder.config.vocab_size:
            raise ModelError(
                f"the tokenizer in {folder} has {len(tokenizer)} words, but its text encoder knows "
                f"{encoder.config.vocab_size}. {_MEND}"
            )
        return cls(encoder.eval(), tokenizer, max_length)

    def save(self, folder: Path) -> None:
        """Write FOLDER/text_encoder and FOLDER/tokenizer."""
        with _silent_transformers():
            self.encoder.save_pretrained(folder / "text_encoder")  # type: ignore[operator]  # a transformers model has it
            self.tokenizer.save_pretrained(folder / "tokenizer")


def _read_encoder(folder: Path, dtype: torch.dtype) -> Any:
    """A `transformers.T5EncoderModel` whose weights are all from the folder."""
    from transformers import T5EncoderModel

    with _readable(folder, "config.json"):
        loaded: Any = T5EncoderModel.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # looked for below, where the message can name one
            output_loading_info=True,
        )
    encoder, report = loaded
    # transformers draws what it does not find, and says so only in its log
    unfit = f"the weights in {folder} do not fit config.json"
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{unfit}: {missing[0]} is missing ({len(missing)} such weights)")
    if mismatched := sorted(report["mismatched_keys"]):
        name, found, wanted = mismatched[0]
        raise ModelError(f"{unfit}: {name} is {tuple(found)}, not {tuple(wanted)}")
    if unknown := sorted(report["unexpected_keys"]):
        raise ModelError(f"{unfit}: {unknown[0]} has no place in the model ({len(unknown)} such weights)")
    return encoder


def _read_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    with _readable(folder, "tokenizer.json"):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


@contextmanager
def _readable(folder: Path, needed: str) -> Iterator[None]:
    """Turn what transformers raises for a damaged folder, which is any kind of error, into a ModelError."""
    if not (folder / needed).is_file():  # or transformers would look for the folder's name on the hub
        raise ModelError(f"{folder / needed} is missing. {_MEND}")
    try:
        yield
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise ModelError(f"{folder} cannot be read: {reason}. {_MEND}") from error


@contextmanager
def _silent_transformers() -> Iterator[None]:
    """Keep transformers from writing bars and tables to stderr; what matters of them becomes an error."""
    from transformers.utils import logging as its_logging

    bar, verbosity = its_logging.is_progress_bar_enabled(), its_logging.get_verbosity()
    its_logging.disable_progress_bar()
    its_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        its_logging.set_verbosity(verbosity)
        if bar:
            its_logging.enable_progress_bar()


def clean_instruction(text: str) -> str:
    """Unicode NFC without control characters or surrounding blanks.

    Raises:
        UsageError: nothing is left, or more than 2000 characters are, or the text holds half a character.
    """
    if not isinstance(text, str):
        raise UsageError(f"an instruction must be text, not {type(text).__name__}")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise UsageError("the instruction holds half of a character (a lone surrogate); type it again")
    kept = (c for c in unicodedata.normalize("NFC", text) if c in "\n\t" or unicodedata.category(c) != "Cc")
    cleaned = "".join(kept).strip()
    if not cleaned:
        raise UsageError('the instruction is empty; say what to change, such as "make it black and white"')
    if len(cleaned) > MAX_CHARACTERS:
        raise UsageError(
            f"the instruction has {len(cleaned)} characters; at most {MAX_CHARACTERS} are read. Shorten it."
        )
    return cleaned

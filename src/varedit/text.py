"""Instructions to text features: checks, tokenizer and T5 encoder (spec "Text").

No prefix and no rewriting: what the user wrote is what the encoder reads, up to the tokenizer's limit.
"""

from __future__ import annotations

import copy
import json
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from varedit.checkpoints import load_weights, save_weights
from varedit.errors import ModelError, UsageError
from varedit.meta import module_without_weights
from varedit.t5 import T5Config, T5Encoder
from varedit.text_features import TextFeatures

MAX_CHARACTERS = 2000
UNKNOWN = "<unk>"  # what all T5 tokenizers call a word that they do not know
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
        encoder: the model.
        tokenizer: closes every text with an end token.
        max_length: tokens that are kept of an instruction.
    """

    def __init__(self, encoder: T5Encoder, tokenizer: Tokenizer, max_length: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.max_length = max_length
        tokenizer.no_truncation()  # what its file says of these is for other programs
        tokenizer.no_padding()

    @property
    def channels(self) -> int:
        """Width of the features."""
        return self.encoder.config.d_model

    def tokenize(self, instructions: Sequence[str]) -> Tokens:
        """Clean, check and tokenize. Raises UsageError as `clean_instruction` does."""
        ids, notes = [], []
        for text in map(clean_instruction, instructions):
            whole = self.tokenizer.encode(text).ids
            kept = whole if len(whole) <= self.max_length else [*whole[: self.max_length - 1], whole[-1]]
            ids.append(kept)
            notes.append(self._notes(text, whole, kept))
        lengths = tuple(len(row) for row in ids)
        padded = torch.zeros(len(ids), max(lengths), dtype=torch.long)
        for row, item in zip(padded, ids, strict=True):
            row[: len(item)] = torch.tensor(item)
        return Tokens(padded, lengths, tuple(notes))

    def forward(self, tokens: Tokens) -> TextFeatures:
        """Encode: (B, T, text channels) float32, with the encoder's own precision inside."""
        encoder = self._loaded()
        device = encoder.shared.weight.device
        states: Tensor = encoder(tokens.ids.to(device), tokens.mask.to(device))
        return TextFeatures(states.float(), tokens.lengths)

    def _loaded(self) -> T5Encoder:
        return self.encoder

    def _notes(self, text: str, whole: list[int], kept: list[int]) -> tuple[str, ...]:
        notes = []
        if len(whole) > len(kept):
            notes.append(f"the instruction has {len(whole)} tokens; only the first {len(kept)} were read")
        unknown = self.tokenizer.token_to_id(UNKNOWN)
        if unknown in kept:
            words = [word for word in text.split() if unknown in self.tokenizer.encode(word).ids]
            notes.append(f"this model does not know: {', '.join(dict.fromkeys(words))}")
        return tuple(notes)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        max_length: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        change: Callable[[str, Tensor], Tensor] = lambda name, weight: weight,
    ) -> TextEncoder:
        """Read FOLDER/text_encoder and FOLDER/tokenizer; weights are memory-mapped, see `load_weights`.

        Raises: ModelError where either is missing or damaged.
        """
        encoder, tokenizer = cls._without_weights(folder, dtype)
        load_weights(encoder, folder / "text_encoder", device, change)
        return cls(encoder, tokenizer, max_length)

    @staticmethod
    def _without_weights(folder: Path, dtype: torch.dtype) -> tuple[T5Encoder, Tokenizer]:
        config, tokenizer = _read_config(folder / "text_encoder"), read_tokenizer(folder / "tokenizer")
        if (words := tokenizer.get_vocab_size()) > config.vocab_size:
            raise ModelError(
                f"the tokenizer in {folder} has {words} words, but its text encoder knows {config.vocab_size}. {_MEND}"
            )
        encoder = module_without_weights(lambda: T5Encoder(config))
        encoder.compute_in(dtype)  # before loading: nothing is ever held in a wider type
        return encoder.eval(), tokenizer

    def to_compute_type(self, dtype: torch.dtype) -> None:
        """Change the number format of the encoder."""
        self.encoder.compute_in(dtype)

    def save(self, folder: Path, max_shard_size: str = "5GB") -> None:
        """Write FOLDER/text_encoder and FOLDER/tokenizer."""
        save_weights(self._loaded().state_dict(), folder / "text_encoder", max_shard_size)
        (folder / "text_encoder" / "config.json").write_text(self.encoder.config.to_json(), encoding="utf-8")
        save_tokenizer(self.tokenizer, folder / "tokenizer")


class OffloadedTextEncoder(TextEncoder):
    """A text encoder whose weights are in memory only while it reads: mapped from their folder, dropped afterwards.

    Args:
        folder: a model folder, which must stay where it is.
        max_length: tokens that are kept of an instruction.
        dtype: compute type.
        device: where it reads.
    """

    def __init__(self, folder: Path, max_length: int, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(*self._without_weights(folder, dtype), max_length)
        self.folder = folder
        self.device = device

    def to(self, device: torch.device) -> Self:  # type: ignore[override]  # there are no weights to move
        self.device = device
        return self

    def _loaded(self) -> T5Encoder:
        encoder = copy.deepcopy(self.encoder)  # one for each call, as several may run at once
        load_weights(encoder, self.folder / "text_encoder", self.device)
        return encoder


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in FOLDER/tokenizer.json. Raises ModelError."""
    with _readable(folder, "tokenizer.json"):
        return Tokenizer.from_file(str(folder / "tokenizer.json"))


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write FOLDER/tokenizer.json, and beside it what `transformers` needs to read it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": UNKNOWN}
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _read_config(folder: Path) -> T5Config:
    with _readable(folder, "config.json"):
        return T5Config.from_json((folder / "config.json").read_text(encoding="utf-8"))


@contextmanager
def _readable(folder: Path, needed: str) -> Iterator[None]:
    """Turn what a damaged file raises, which with tokenizers is a bare Exception, into a ModelError."""
    if not (folder / needed).is_file():
        raise ModelError(f"{folder / needed} is missing. {_MEND}")
    try:
        yield
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise ModelError(f"{folder} cannot be read: {reason}. {_MEND}") from error


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

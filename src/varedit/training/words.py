"""A small text encoder for small models: one token a word, a T5 encoder trained together with the editor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel

from varedit.t5 import T5Config, T5Encoder
from varedit.text import UNKNOWN, TextEncoder

PAD, END = "<pad>", "</s>"


def word_text_encoder(words: Iterable[str], sizes: dict[str, Any], max_length: int) -> TextEncoder:
    """An untrained encoder that knows the words given.

    Args:
        words: lower case; their order does not matter.
        sizes: fields of `varedit.t5.T5Config`, such as d_model.
        max_length: tokens that are kept of an instruction.
    """
    tokenizer = word_tokenizer(words)
    encoder = T5Encoder(T5Config.from_sizes(sizes | {"vocab_size": tokenizer.get_vocab_size()}))
    draw_weights(encoder)
    return TextEncoder(encoder, tokenizer, max_length)


@torch.no_grad()
def draw_weights(encoder: T5Encoder) -> None:
    """Begin as T5 does: no scale in the attention's dot products, so the queries are narrow instead."""
    config = encoder.config
    heads = config.num_heads * config.d_kv
    spreads = {
        "shared": 1.0,
        "q": (config.d_model * config.d_kv) ** -0.5,
        "o": heads**-0.5,
        "wo": config.d_ff**-0.5,
    }
    for name, parameter in encoder.named_parameters():
        if parameter.dim() > 1:  # the norms begin with ones
            parameter.normal_(std=spreads.get(name.split(".")[-2], config.d_model**-0.5))


def word_tokenizer(words: Iterable[str]) -> Tokenizer:
    """Lower case, split at blanks and punctuation, punctuation dropped, an end token after every text."""
    numbers = {word: index for index, word in enumerate([PAD, END, UNKNOWN, *sorted(set(words))])}
    tokenizer = Tokenizer(WordLevel(numbers, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase(), normalizers.Replace("'", "")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(_separators(), behavior="removed"), pre_tokenizers.WhitespaceSplit()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, numbers[END])])
    tokenizer.add_special_tokens([PAD, END, UNKNOWN])
    return tokenizer


def _separators() -> Any:
    from tokenizers import Regex

    return Regex(r"[\s\p{P}]+")

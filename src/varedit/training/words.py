"""A small text encoder for small models: one token a word, a T5 encoder trained together with the editor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from varedit.text import TextEncoder

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"


def word_text_encoder(words: Iterable[str], sizes: dict[str, Any], max_length: int) -> TextEncoder:
    """An untrained encoder that knows the words given.

    Args:
        words: lower case; their order does not matter.
        sizes: arguments of `transformers.T5Config`, such as d_model.
        max_length: tokens that are kept of an instruction.
    """
    tokenizer = word_tokenizer(words)
    config = T5Config(
        vocab_size=len(tokenizer),
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        use_cache=False,
        **sizes,
    )
    return TextEncoder(T5EncoderModel(config), tokenizer, max_length)


def word_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
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
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN)


def _separators() -> Any:
    from tokenizers import Regex

    return Regex(r"[\s\p{P}]+")

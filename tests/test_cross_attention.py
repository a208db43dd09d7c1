"""The two forms of cross-attention: when which is taken, and that nothing is lost in either."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tests.test_transformer import true_inputs
from tests.tiny import random, randomize, tiny_editor, tiny_text
from varedit.low_bit import quantiser
from varedit.training.lora import add_adapters
from varedit.training.recipe import LoraSettings
from varedit.transformer.attention import attend_all, merge_heads, split_heads
from varedit.transformer.cross_attention import CrossAttention, FoldedText, TextKeysValues, longest_folded

WIDTH, HEADS = 24, 2  # heads of 12, so that three words are folded


def random_attention() -> CrossAttention:
    attention = CrossAttention(WIDTH, HEADS).eval().requires_grad_(False)
    randomize(attention, seed=1)
    return attention


def words(count: int, *lengths: int) -> tuple[Tensor, Tensor]:
    """Words (B, T, D) and which of them are real."""
    is_word = torch.arange(count) < torch.tensor(lengths).unsqueeze(1)
    return random(len(lengths), count, WIDTH, seed=2), is_word[:, None, None]


def test_a_folded_text_gives_what_the_plain_one_gives():
    attention, x = random_attention(), random(2, 5, WIDTH, seed=3)
    text = attention.read(*words(3, 3, 2))
    folded = attention.prepared(text)
    assert isinstance(folded, FoldedText) and folded.keys.shape == folded.values.shape == (2, HEADS * 3, WIDTH)
    queries = split_heads(attention.query(x), HEADS)
    expected = attention.project(merge_heads(attend_all(queries, text.keys, text.values, text.mask, 12**-0.5)))
    assert_close(attention(x, folded), expected)
    assert_close(attention(x, text), expected)
    second = attention.read(*words(3, 2, 2))
    assert not torch.allclose(attention(x, attention.folded(second))[0], expected[0], atol=1e-2), "a word less"


def test_some_items_of_a_folded_text_are_what_they_are_by_themselves():
    attention, x = random_attention(), random(3, 5, WIDTH, seed=3)
    text = attention.prepared(attention.read(*words(3, 3, 1, 2)))
    items = torch.tensor([2, 0, 2])
    assert isinstance(text, FoldedText)
    assert_close(attention(x[items], text.taken(items)), attention(x, text)[items])
    assert_close(attention(x[items], text.text.taken(items)), attention(x, text.text)[items])


def test_long_texts_and_those_in_16_bits_are_not_folded():
    attention = random_attention()
    assert isinstance(attention.prepared(attention.read(*words(3, 3))), FoldedText)
    assert isinstance(attention.prepared(attention.read(*words(4, 3))), TextKeysValues), "padding counts"
    assert isinstance(attention.bfloat16().prepared(attention.read(*words(3, 3))), TextKeysValues)
    assert longest_folded(128, 4) == 32


def test_weights_in_8_bits_are_not_folded():
    pytest.importorskip("torchao")
    attention = random_attention()
    low = quantiser("int8", "transformer")("blocks.0.cross_attention.project.weight", attention.project.weight)
    attention.project.weight = nn.Parameter(low, requires_grad=False)
    assert isinstance(attention.prepared(attention.read(*words(3, 3))), TextKeysValues)


@pytest.mark.usefixtures("text_form")
@pytest.mark.parametrize("target", ["query", "project"])
def test_an_adapter_of_cross_attention_counts_in_every_step(target):
    pytest.importorskip("peft")
    editor = tiny_editor()
    text, forced = tiny_text(), true_inputs(editor)
    plain = editor.cached(forced, text)
    add_adapters(editor.model, LoraSettings(rank=2, targets=(target,)))
    with torch.no_grad():
        for name, parameter in editor.model.named_parameters():
            if "lora_" in name:
                parameter.copy_(random(*parameter.shape, seed=4))
        adapted = editor.cached(forced, text)
        expected = editor.teacher_forced(forced, text)
    assert_close(adapted, expected, rtol=1e-4, atol=1e-4 * expected.std().item())
    assert not torch.allclose(adapted, plain, atol=1e-2)

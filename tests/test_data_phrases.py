"""The small language of instructions: unambiguous, of few words, with wordings that training never sees."""

from __future__ import annotations

import numpy as np
import pytest

from varedit.data.adjustments import ALL_ADJUSTMENTS, Adjustment
from varedit.data.phrases import Phrasing, instruction, phrasings, vocabulary, words

ALL_AND_NOTHING = (*ALL_ADJUSTMENTS, None)


def bare(text: str) -> tuple[str, ...]:
    return tuple(word for word in words(text) if word != "please")


def test_no_wording_asks_for_two_things() -> None:
    meaning: dict[tuple[str, ...], Adjustment | None] = {}
    for adjustment in ALL_AND_NOTHING:
        for phrasing in ("train", "held_out"):
            for text in phrasings(adjustment, phrasing):
                assert meaning.setdefault(bare(text), adjustment) == adjustment, text


@pytest.mark.parametrize("adjustment", ALL_AND_NOTHING, ids=str)
def test_held_out_wordings_are_new_but_their_words_are_known(adjustment: Adjustment | None) -> None:
    trained, held_out = phrasings(adjustment, "train"), phrasings(adjustment, "held_out")
    assert len(trained) >= 12 and len(held_out) >= 3
    assert not set(map(bare, trained)) & set(map(bare, held_out))
    assert {word for text in held_out for word in words(text)} <= set(vocabulary())


def test_the_vocabulary_is_small() -> None:
    assert len(vocabulary()) <= 400
    assert {"please", "colour", "color", "colours", "grayscale", "sepia"} <= set(vocabulary())


@pytest.mark.parametrize(
    ("text", "adjustment"),
    [
        ("make it black and white", Adjustment("black_and_white")),
        ("convert it to grayscale", Adjustment("black_and_white")),
        ("invert the colours", Adjustment("negative")),
        ("give it a sepia tone", Adjustment("sepia")),
        ("make it slightly brighter", Adjustment("brighter", "slight")),
        ("make the picture a lot warmer", Adjustment("warmer", "strong")),
        ("much more contrast", Adjustment("more_contrast", "strong")),
        ("increase the saturation a little", Adjustment("more_saturation", "slight")),
        ("cool it down a bit", Adjustment("cooler", "slight")),
        ("give it a little warmer tone", Adjustment("warmer", "slight")),
        ("leave it as it is", None),
    ],
)
def test_common_instructions_are_among_the_trained_ones(text: str, adjustment: Adjustment | None) -> None:
    assert text in phrasings(adjustment, "train")


@pytest.mark.parametrize("phrasing", ["train", "held_out"])
def test_a_drawn_instruction_is_one_of_the_wordings_dressed_up(phrasing: Phrasing) -> None:
    random = np.random.default_rng(0)
    texts = []
    for adjustment in ALL_AND_NOTHING:
        wordings = set(map(bare, phrasings(adjustment, phrasing)))
        drawn = [instruction(adjustment, random, phrasing) for _ in range(40)]
        assert set(map(bare, drawn)) <= wordings
        texts += drawn
    for dressed in (
        [text for text in texts if text.endswith(".")],
        [text for text in texts if "please" in text.lower()],
        [text for text in texts if text[0].isupper()],
    ):
        assert 0 < len(dressed) < len(texts)


def test_wordings_are_tidy() -> None:
    for adjustment in ALL_AND_NOTHING:
        for text in phrasings(adjustment, "train") + phrasings(adjustment, "held_out"):
            assert text == " ".join(text.split()) and " a a " not in text and "{" not in text

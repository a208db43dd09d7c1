"""The small language of instructions: unambiguous, of few words, with wordings that training never sees."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, product
from typing import get_args

import numpy as np
import pytest

from varedit.data.adjustments import ALL_ADJUSTMENTS, Adjustment
from varedit.data.colours import COLOUR_NAMES, ColourName
from varedit.data.edit_phrases import (
    COLOUR_TEMPLATES,
    OBJECT_TEMPLATES,
    PLACE_NAMES,
    ColourEdit,
    ObjectEdit,
    colour_instruction,
    object_instruction,
)
from varedit.data.language import SPELLINGS, Phrasing, fillings, mended, spoken, words
from varedit.data.phrases import commands, instruction, local_instruction, local_phrasings, pair_instruction, phrasings
from varedit.data.places import REGIONS
from varedit.data.shapes import SHAPES
from varedit.data.vocabulary import training_nouns, vocabulary

ALL_AND_NOTHING = (*ALL_ADJUSTMENTS, None)
PHRASINGS: tuple[Phrasing, ...] = get_args(Phrasing)
Bare = tuple[str, ...]


def bare(text: str) -> Bare:
    return tuple(word for word in words(text) if word != "please")


def adjustment_wordings(phrasing: Phrasing) -> Iterator[tuple[object, str]]:
    """What is asked for, and how, of every adjustment of the whole picture or of a place."""
    for adjustment in ALL_AND_NOTHING:
        yield from ((adjustment, text) for text in phrasings(adjustment, phrasing))
    for adjustment, region in product(ALL_ADJUSTMENTS, REGIONS):
        if adjustment.kind not in ("mirror", "vignette", "fade"):
            for texts in local_phrasings(adjustment, region, phrasing):
                yield from (((adjustment, region), text) for text in texts)


def colour_wordings(phrasing: Phrasing) -> Iterator[tuple[object, str]]:
    for kind, templates in COLOUR_TEMPLATES.items():
        targets: tuple[ColourName | None, ...] = COLOUR_NAMES if kind == "recolour_part" else (None,)
        for part, to, template in product(COLOUR_NAMES, targets, templates.of(phrasing)):
            if part != to:
                slots = {"from": (part,), "to": (to or "",), **SPELLINGS}
                yield from (((kind, part, to), text) for text in fillings(template, slots))


def object_wordings(phrasing: Phrasing) -> Iterator[tuple[object, str]]:
    """All things in all places; a few colours, and a few things to put in place of others, are enough."""
    things = [*training_nouns(), "pear", *SHAPES, *(" ".join(pair) for pair in product(("red", "orange"), SHAPES))]
    new = {"add": things, "replace": ["red circle", "cat"]}
    for kind, templates in OBJECT_TEMPLATES.items():
        colours = ("red", "orange", "black") if kind in ("recolour", "background") else ("",)
        places = REGIONS if kind in ("add", "move") else (None,)
        known = things if kind not in ("add", "background") else [""]
        for the, a, to, place in product(known, new.get(kind, [""]), colours, places):
            at = PLACE_NAMES[place] if place else ("",)
            to_place = tuple(f"to {text.split(maxsplit=1)[1]}" for text in at if text)
            slots = {"the": (f"the {the}",), "a": (f"a {a}",), "to": (to,), "at": at, "to_place": to_place, **SPELLINGS}
            for template in templates.of(phrasing):
                yield from (((kind, the, a, to, place), text) for text in fillings(template, slots))


Wordings = dict[tuple[str, Phrasing], list[tuple[object, str]]]


@pytest.fixture(scope="module")
def wordings() -> Wordings:
    """By family and phrasing, what is asked for, and how; pairs of adjustments excepted."""
    families = {"adjustment": adjustment_wordings, "colour": colour_wordings, "object": object_wordings}
    return {(name, phrasing): list(family(phrasing)) for name, family in families.items() for phrasing in PHRASINGS}


@pytest.fixture(scope="module")
def meanings(wordings: Wordings) -> dict[Bare, object]:
    """What every wording of all families asks for; that it is one thing only is the first assertion here."""
    found: dict[Bare, object] = {}
    for meaning, text in chain(*wordings.values()):
        assert found.setdefault(bare(text), meaning) == meaning, text
    return found


def test_no_wording_asks_for_two_things(meanings: dict[Bare, object]) -> None:
    assert len(meanings) > 30_000


def test_no_pair_of_adjustments_can_be_split_in_two_ways_or_read_as_one_edit(meanings: dict[Bare, object]) -> None:
    """A pair is two commands around an "and"; "black and white" has one too, and must not be mistaken for it."""
    single = {
        bare(text)
        for adjustment in ALL_ADJUSTMENTS
        for phrasing in PHRASINGS
        for texts in commands(adjustment, phrasing)
        for text in texts
    }
    for wording in {*meanings, *single}:
        for position, word in enumerate(wording):
            rest = wording[position + 1 :]
            assert not (word in ("and", "then") and wording[:position] in single and rest in single), wording
            assert not (wording in single and word == "and" and wording[:position] in single), wording
    assert not any(wording[0] in ("and", "then") for wording in single)


@pytest.mark.parametrize("family", ["adjustment", "colour", "object"])
def test_held_out_wordings_are_new_but_their_words_are_known(wordings: Wordings, family: str) -> None:
    trained, held_out = ({bare(text) for _, text in wordings[family, phrasing]} for phrasing in PHRASINGS)
    assert held_out and not trained & held_out
    assert {word for text in held_out for word in text} - {"pear"} <= set(vocabulary())
    assert {word for text in trained for word in text} - {"pear"} <= set(vocabulary())


def test_each_kind_has_several_wordings_and_three_that_are_held_out() -> None:
    for adjustment in ALL_AND_NOTHING:
        assert len(phrasings(adjustment, "train")) >= 12 and len(phrasings(adjustment, "held_out")) >= 3
    for templates in (*COLOUR_TEMPLATES.values(), *OBJECT_TEMPLATES.values()):
        assert len(templates.train) >= 6 and len(templates.held_out) == 3
    assert set(COLOUR_TEMPLATES) == set(get_args(ColourEdit))
    assert set(OBJECT_TEMPLATES) == set(get_args(ObjectEdit))


@pytest.mark.parametrize("phrasing", PHRASINGS)
def test_every_adjustment_can_be_one_of_a_pair_and_most_can_be_local(phrasing: Phrasing) -> None:
    for adjustment in ALL_ADJUSTMENTS:
        assert commands(adjustment, phrasing), adjustment
        if adjustment.kind not in ("mirror", "vignette", "fade"):
            assert local_phrasings(adjustment, "left", phrasing), adjustment


def test_the_vocabulary_is_small() -> None:
    assert len(vocabulary()) <= 400 and list(vocabulary()) == sorted(set(vocabulary()))
    assert {"please", "colour", "color", "colours", "grayscale", "sepia", "umbrella", "ring", "corner"} <= set(
        vocabulary()
    )
    assert "pear" not in vocabulary()  # a noun that is held out


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
        ("blur it a lot", Adjustment("blur", "strong")),
        ("add a faint vignette", Adjustment("vignette", "slight")),
        ("flip it horizontally", Adjustment("mirror")),
        ("give it a strong red tint", Adjustment("red_tint", "strong")),
        ("leave it as it is", None),
    ],
)
def test_common_instructions_are_among_the_trained_ones(text: str, adjustment: Adjustment | None) -> None:
    assert text in phrasings(adjustment, "train")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("darken the left half", (Adjustment("darker"), "left")),
        ("brighten the top", (Adjustment("brighter"), "top")),
        ("make the upper right corner a lot blurry", (Adjustment("blur", "strong"), "top_right")),
        ("make the blue parts red", ("recolour_part", "blue", "red")),
        ("turn yellow into purple", ("recolour_part", "yellow", "purple")),
        ("keep only the red, everything else black and white", ("keep_only", "red", None)),
        ("remove the red circle", ("remove", "red circle", "", "", None)),
        ("add an umbrella at the top", ("add", "", "umbrella", "", "top")),
        ("move the cat to the bottom left corner", ("move", "cat", "", "", "bottom_left")),
        ("make the background orange", ("background", "", "", "orange", None)),
        ("replace the star with a cat", ("replace", "star", "cat", "", None)),
        ("i want the heart to be smaller", ("smaller", "heart", "", "", None)),
    ],
)
def test_an_instruction_means_what_it_says(text: str, meaning: object, meanings: dict[Bare, object]) -> None:
    assert meanings[bare(text)] == meaning


@pytest.mark.parametrize("phrasing", PHRASINGS)
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


@pytest.mark.parametrize("phrasing", PHRASINGS)
def test_drawn_instructions_of_all_kinds_mean_what_was_asked_for(
    phrasing: Phrasing, meanings: dict[Bare, object]
) -> None:
    random = np.random.default_rng(1)
    blur = Adjustment("blur", "slight")
    for _ in range(50):
        assert meanings[bare(local_instruction(blur, "bottom", random, phrasing))] == (blur, "bottom")
        text = colour_instruction("recolour_part", "green", "pink", random, phrasing)
        assert meanings[bare(text)] == ("recolour_part", "green", "pink")
        text = colour_instruction("drain_part", "red", None, random, phrasing)
        assert meanings[bare(text)] == ("drain_part", "red", None)
        text = object_instruction("move", random, phrasing, the="red ring", place="centre")
        assert meanings[bare(text)] == ("move", "red ring", "", "", "centre")
        text = object_instruction("replace", random, phrasing, the="ring", a="cat")
        assert meanings[bare(text)] == ("replace", "ring", "cat", "", None)
        text = object_instruction("recolour", random, phrasing, the="ring", to="black")
        assert meanings[bare(text)] == ("recolour", "ring", "", "black", None)


@pytest.mark.parametrize("phrasing", PHRASINGS)
def test_a_pair_asks_for_both_in_their_order(phrasing: Phrasing) -> None:
    random = np.random.default_rng(2)
    first, second = Adjustment("brighter", "strong"), Adjustment("sepia")
    firsts, seconds = ({bare(text) for texts in commands(each, phrasing) for text in texts} for each in (first, second))
    joints = set()
    for _ in range(60):
        text = bare(pair_instruction(first, second, random, phrasing))
        [split] = [at for at in range(len(text)) if text[:at] in firsts]
        joint = 2 if text[split : split + 2] == ("and", "then") else 1
        joints.add(text[split : split + joint])
        assert text[split + joint :] in seconds
    assert joints == {("and",), ("then",), ("and", "then")}


def test_wordings_are_tidy(wordings: Wordings) -> None:
    for _, text in chain(*wordings.values()):
        assert "  " not in text and text == text.strip() and " a a " not in text and "{" not in text
        assert not any(wrong in text for wrong in (" a apple", " a orange", " a umbrella"))


@pytest.mark.parametrize(
    ("text", "mended_text"),
    [
        ("give it a  warmer tone", "give it a warmer tone"),
        ("give it a a lot warmer tone", "give it a lot warmer tone"),
        ("add a orange ring to a a", "add an orange ring to an a"),
        ("put a unicorn on a umbrella", "put a unicorn on an umbrella"),
        ("", ""),
    ],
)
def test_fillings_leave_one_space_and_the_right_article(text: str, mended_text: str) -> None:
    assert mended(text) == mended_text


def test_every_slot_is_filled_in_every_way() -> None:
    slots = {"more": ("", "much"), "colour": ("colour", "color"), "unused": ("x", "y")}
    assert fillings("{more} {colour}", slots) == ("colour", "color", "much colour", "much color")


def test_people_say_please_and_end_sentences_at_times() -> None:
    random = np.random.default_rng(3)
    manners = {spoken("blur it", random).replace("Blur", "blur") for _ in range(400)}
    assert manners == {
        text + stop
        for text in ("blur it", "please blur it", "Please blur it", "blur it please", "blur it, please")
        for stop in ("", ".")
    }

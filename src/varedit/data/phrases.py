"""How people ask for a photo adjustment, and the words of that small language.

Templates have slots: `{it}` names the picture, `{more}` grades a comparison ("a lot" brighter), `{by}` grades a verb
(brighten it "a little"), `{colour}` and `{grey}` are spelt both ways. Some templates are held out: their words are all
known from training, their wording is not, so that they tell whether a model has learnt the language or the sentences.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal

import numpy as np

from varedit.data.adjustments import ALL_ADJUSTMENTS, Adjustment, Kind, Strength

Phrasing = Literal["train", "held_out"]

_IT = ("it", "the image", "the photo", "the picture", "this image", "this photo", "this picture")
_SPELLINGS = {"colour": ("colour", "color"), "grey": ("grey", "gray")}
_MORE: dict[Strength, tuple[str, ...]] = {
    "slight": ("slightly", "a little", "a bit"),
    "plain": ("",),
    "strong": ("much", "a lot", "far"),
}
_BY: dict[Strength, tuple[str, ...]] = {
    "slight": ("slightly", "a little", "a bit"),
    "plain": ("",),
    "strong": ("a lot", "strongly", "very much"),
}


@dataclass(frozen=True)
class _Templates:
    train: tuple[str, ...]
    held_out: tuple[str, ...]


_TEMPLATES: dict[Kind, _Templates] = {
    "black_and_white": _Templates(
        train=(
            "make {it} black and white",
            "turn {it} black and white",
            "convert {it} to black and white",
            "convert {it} to {grey}scale",
            "make {it} {grey}scale",
            "i want {it} in black and white",
            "remove the {colour} from {it}",
            "remove all {colour}",
            "make {it} monochrome",
            "turn {it} into a black and white photo",
            "take the {colour} out of {it}",
            "black and white",
        ),
        held_out=("{it} should be black and white", "turn {it} into {grey}scale", "remove all {colour} from {it}"),
    ),
    "sepia": _Templates(
        train=(
            "make {it} sepia",
            "turn {it} sepia",
            "convert {it} to sepia",
            "give {it} a sepia tone",
            "give {it} a sepia look",
            "add a sepia tone",
            "apply a sepia filter",
            "apply a sepia filter to {it}",
            "tint {it} sepia",
            "{it} should be sepia",
            "sepia",
        ),
        held_out=("i want {it} in sepia", "add a sepia look to {it}", "apply a sepia tone"),
    ),
    "negative": _Templates(
        train=(
            "make {it} a negative",
            "turn {it} into a negative",
            "convert {it} to a negative",
            "make a negative of {it}",
            "invert {it}",
            "invert the {colour}s",
            "invert the {colour}s of {it}",
            "show {it} as a negative",
            "reverse the {colour}s",
            "{it} should be a negative",
            "negative",
        ),
        held_out=("i want a negative of {it}", "reverse the {colour}s of {it}", "invert all {colour}s"),
    ),
    "brighter": _Templates(
        train=(
            "make {it} {more} brighter",
            "make {it} {more} lighter",
            "brighten {it} {by}",
            "lighten {it} {by}",
            "increase the brightness {by}",
            "raise the exposure {by}",
            "turn the brightness up {by}",
            "brighten {it} up {by}",
            "make {it} look {more} brighter",
            "i want {it} {more} brighter",
            "{more} brighter",
        ),
        held_out=("{it} should be {more} brighter", "increase the exposure {by}", "raise the brightness of {it} {by}"),
    ),
    "darker": _Templates(
        train=(
            "make {it} {more} darker",
            "darken {it} {by}",
            "decrease the brightness {by}",
            "reduce the brightness {by}",
            "lower the exposure {by}",
            "turn the brightness down {by}",
            "make {it} look {more} darker",
            "{it} should be {more} darker",
            "{more} darker",
        ),
        held_out=("i want {it} {more} darker", "reduce the exposure {by}", "lower the brightness of {it} {by}"),
    ),
    "more_contrast": _Templates(
        train=(
            "increase the contrast {by}",
            "raise the contrast {by}",
            "boost the contrast {by}",
            "strengthen the contrast {by}",
            "turn the contrast up {by}",
            "make the contrast {more} stronger",
            "give {it} {more} more contrast",
            "add {more} more contrast",
            "i want {more} more contrast",
            "{more} more contrast",
        ),
        held_out=(
            "increase the contrast of {it} {by}",
            "the contrast should be {more} stronger",
            "{it} should have {more} more contrast",
        ),
    ),
    "less_contrast": _Templates(
        train=(
            "decrease the contrast {by}",
            "reduce the contrast {by}",
            "lower the contrast {by}",
            "soften the contrast {by}",
            "weaken the contrast {by}",
            "make the contrast {more} weaker",
            "give {it} {more} less contrast",
            "{it} should have {more} less contrast",
            "{more} less contrast",
        ),
        held_out=("reduce the contrast of {it} {by}", "turn the contrast down {by}", "i want {more} less contrast"),
    ),
    "more_saturation": _Templates(
        train=(
            "increase the saturation {by}",
            "raise the saturation {by}",
            "boost the saturation {by}",
            "boost the {colour}s {by}",
            "make {it} {more} more {colour}ful",
            "make {it} {more} more saturated",
            "make the {colour}s {more} more vivid",
            "make the {colour}s {more} more intense",
            "make {it} {more} more vibrant",
            "make the {colour}s {more} stronger",
            "{it} should be {more} more {colour}ful",
            "{more} more saturation",
        ),
        held_out=(
            "turn the saturation up {by}",
            "i want {it} {more} more saturated",
            "give {it} {more} more vivid {colour}s",
        ),
    ),
    "less_saturation": _Templates(
        train=(
            "decrease the saturation {by}",
            "reduce the saturation {by}",
            "lower the saturation {by}",
            "tone the {colour}s down {by}",
            "make {it} {more} less {colour}ful",
            "make {it} {more} less saturated",
            "make the {colour}s {more} less vivid",
            "make the {colour}s {more} less intense",
            "mute the {colour}s {by}",
            "make the {colour}s {more} weaker",
            "i want {it} {more} less {colour}ful",
            "{more} less saturation",
        ),
        held_out=(
            "turn the saturation down {by}",
            "{it} should be {more} less saturated",
            "give {it} {more} less vivid {colour}s",
        ),
    ),
    "warmer": _Templates(
        train=(
            "make {it} {more} warmer",
            "warm {it} up {by}",
            "warm the {colour}s up {by}",
            "make the {colour}s {more} warmer",
            "give {it} a {more} warmer tone",
            "make {it} look {more} warmer",
            "give {it} a {more} warmer look",
            "i want {it} {more} warmer",
            "{more} warmer",
        ),
        held_out=("{it} should be {more} warmer", "give {it} {more} warmer {colour}s", "{more} warmer {colour}s"),
    ),
    "cooler": _Templates(
        train=(
            "make {it} {more} cooler",
            "make {it} {more} colder",
            "cool {it} down {by}",
            "cool the {colour}s down {by}",
            "make the {colour}s {more} cooler",
            "give {it} a {more} cooler tone",
            "make {it} look {more} cooler",
            "{it} should be {more} cooler",
            "{more} cooler",
        ),
        held_out=("i want {it} {more} cooler", "give {it} a {more} colder look", "{more} cooler {colour}s"),
    ),
}

_NOTHING = _Templates(
    train=(
        "leave {it} as it is",
        "keep {it} as it is",
        "leave {it} unchanged",
        "change nothing",
        "do nothing",
        "do not change {it}",
        "do not change anything",
        "no change",
    ),
    held_out=("keep {it} unchanged", "do not change the {colour}s", "{it} should be as it is"),
)


def instruction(adjustment: Adjustment | None, random: np.random.Generator, phrasing: Phrasing = "train") -> str:
    """One random way to ask for the adjustment (None: for no change at all), with or without "please" and full stop."""
    text = _pick(_phrasings_by_template(adjustment, phrasing), random)
    manner = random.random()
    if manner < 0.1:
        text = f"please {text}"
    elif manner < 0.2:
        text = f"{text}, please" if manner < 0.15 else f"{text} please"
    if random.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text + "." if random.random() < 0.25 else text


def phrasings(adjustment: Adjustment | None, phrasing: Phrasing) -> tuple[str, ...]:
    """Every way to ask for the adjustment (None: for no change), in lower case, without "please" or full stop."""
    return tuple(text for texts in _phrasings_by_template(adjustment, phrasing) for text in texts)


def words(text: str) -> list[str]:
    """The words of an instruction, in lower case, without punctuation."""
    return re.findall(r"[a-z]+", text.lower())


def vocabulary() -> tuple[str, ...]:
    """All words that training instructions are made of, sorted."""
    texts = [text for adjustment in (*ALL_ADJUSTMENTS, None) for text in phrasings(adjustment, "train")]
    return tuple(sorted({word for text in [*texts, "please"] for word in words(text)}))


def _pick(choices: tuple[tuple[str, ...], ...], random: np.random.Generator) -> str:
    """A random template first, then one of its fillings: a template with many slots is not more frequent for it."""
    texts = choices[int(random.integers(len(choices)))]
    return texts[int(random.integers(len(texts)))]


@cache
def _phrasings_by_template(adjustment: Adjustment | None, phrasing: Phrasing) -> tuple[tuple[str, ...], ...]:
    templates = _NOTHING if adjustment is None else _TEMPLATES[adjustment.kind]
    strength = "plain" if adjustment is None else adjustment.strength
    chosen = templates.train if phrasing == "train" else templates.held_out
    return tuple(_filled(template, strength) for template in chosen)


def _filled(template: str, strength: Strength) -> tuple[str, ...]:
    """Every filling of the template's slots; no slot leaves a double space behind."""
    options = {"it": _IT, "more": _MORE[strength], "by": _BY[strength], **_SPELLINGS}
    slots = [slot for slot in options if f"{{{slot}}}" in template]
    fillings = (dict(zip(slots, values, strict=True)) for values in product(*(options[slot] for slot in slots)))
    return tuple(_mended(template.format(**filling)) for filling in fillings)


def _mended(text: str) -> str:
    """One space between words, and one article: "a slightly warmer tone", "a much warmer tone"."""
    text = " ".join(text.split())
    return re.sub(r"\ba (a (?:little|bit|lot))\b", r"\1", text)

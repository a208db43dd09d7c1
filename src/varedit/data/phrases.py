"""How people ask for a photo adjustment, and the words of that small language.

The templates are in `wordings`. Their slots: `{it}` names the picture or a part of it, `{more}` grades a comparison ("a
lot" brighter), `{by}` a verb (brighten it "a little"), `{adjective}` a noun (a "strong" blur), `{colour}` and `{grey}`
are spelt both ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from varedit.data.adjustments import ALL_ADJUSTMENTS, Adjustment, Strength
from varedit.data.draws import one_of
from varedit.data.language import SPELLINGS, Phrasing, fillings, picked, spoken
from varedit.data.places import Region
from varedit.data.wordings import NOTHING, TEMPLATES

_IT = ("it", "the image", "the photo", "the picture", "this image", "this photo", "this picture")
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
_ADJECTIVE: dict[Strength, tuple[str, ...]] = {
    "slight": ("slight", "light", "faint"),
    "plain": ("",),
    "strong": ("strong", "heavy"),
}
_PLACES: dict[Region, tuple[str, ...]] = {
    "left": ("the left half", "the left side", "the left"),
    "right": ("the right half", "the right side", "the right"),
    "top": ("the top half", "the upper half", "the top"),
    "bottom": ("the bottom half", "the lower half", "the bottom"),
    "centre": ("the centre", "the center", "the middle"),
    "top_left": ("the top left", "the top left corner", "the upper left corner"),
    "top_right": ("the top right", "the top right corner", "the upper right corner"),
    "bottom_left": ("the bottom left", "the bottom left corner", "the lower left corner"),
    "bottom_right": ("the bottom right", "the bottom right corner", "the lower right corner"),
}
# How a sentence begins that cannot follow an "and".
_STANDS_ALONE = ("i want", "{it}", "{more}", "{adjective}", "mirror image", "black and white", "sepia", "negative")


def instruction(adjustment: Adjustment | None, random: np.random.Generator, phrasing: Phrasing = "train") -> str:
    """One random way to ask for the adjustment (None: for no change at all), with or without "please" and full stop."""
    return spoken(picked(_phrasings_by_template(adjustment, phrasing), random), random)


def pair_instruction(
    first: Adjustment, second: Adjustment, random: np.random.Generator, phrasing: Phrasing = "train"
) -> str:
    """One random way to ask for two adjustments, one after the other, in one sentence."""
    texts = [picked(commands(adjustment, phrasing), random) for adjustment in (first, second)]
    return spoken(one_of((" and ", " and then ", ", then "), random).join(texts), random)


def local_instruction(
    adjustment: Adjustment, region: Region, random: np.random.Generator, phrasing: Phrasing = "train"
) -> str:
    """One random way to ask for the adjustment in one part of the picture."""
    return spoken(picked(local_phrasings(adjustment, region, phrasing), random), random)


def phrasings(adjustment: Adjustment | None, phrasing: Phrasing) -> tuple[str, ...]:
    """Every way to ask for the adjustment (None: for no change), in lower case, without "please" or full stop."""
    return tuple(text for texts in _phrasings_by_template(adjustment, phrasing) for text in texts)


def adjustment_texts() -> Iterator[str]:
    """Texts that hold every word of the training instructions about adjustments."""
    for adjustment in (*ALL_ADJUSTMENTS, None):
        yield from phrasings(adjustment, "train")
    for texts in _PLACES.values():
        yield from texts
    yield "and then"


@cache
def _phrasings_by_template(adjustment: Adjustment | None, phrasing: Phrasing) -> tuple[tuple[str, ...], ...]:
    return tuple(_filled(template, adjustment, _IT) for template in _templates(adjustment, phrasing))


@cache
def commands(adjustment: Adjustment, phrasing: Phrasing) -> tuple[tuple[str, ...], ...]:
    """By template, the ways to ask for an adjustment that can stand on either side of an "and"."""
    templates = [text for text in _templates(adjustment, phrasing) if not text.startswith(_STANDS_ALONE)]
    return tuple(_filled(template, adjustment, _IT) for template in templates)


@cache
def local_phrasings(adjustment: Adjustment, region: Region, phrasing: Phrasing) -> tuple[tuple[str, ...], ...]:
    """By template, the ways to ask for it in a place: the templates that name the picture, naming a part instead."""
    templates = [text for text in _templates(adjustment, phrasing) if "{it}" in text]
    return tuple(_filled(template, adjustment, _PLACES[region]) for template in templates)


def _templates(adjustment: Adjustment | None, phrasing: Phrasing) -> tuple[str, ...]:
    templates = NOTHING if adjustment is None else TEMPLATES[adjustment.kind]
    return templates.of(phrasing)


def _filled(template: str, adjustment: Adjustment | None, it: tuple[str, ...]) -> tuple[str, ...]:
    """Every filling of the template's slots."""
    strength = "plain" if adjustment is None else adjustment.strength
    slots = {"it": it, "more": _MORE[strength], "by": _BY[strength], "adjective": _ADJECTIVE[strength], **SPELLINGS}
    return fillings(template, slots)

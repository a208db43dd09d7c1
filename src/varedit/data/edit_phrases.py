"""How people ask for edits of colours and of objects.

Slots: `{from}` and `{to}` are colours of a photograph's parts, `{the}` refers to an object in the picture ("the red
circle"), `{a}` describes a new one, `{at}` is a place ("in the top left"), `{to_place}` a destination.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from varedit.data.colours import COLOUR_NAMES, ColourName
from varedit.data.draws import one_of
from varedit.data.language import SPELLINGS, Phrasing, Templates, fillings, spoken
from varedit.data.places import Region
from varedit.data.shapes import PAINT_NAMES, SHAPES

ColourEdit = Literal["recolour_part", "keep_only", "drain_part"]
ObjectEdit = Literal["add", "remove", "replace", "recolour", "bigger", "smaller", "move", "background"]

COLOUR_TEMPLATES: dict[ColourEdit, Templates] = {
    "recolour_part": Templates(
        train=(
            "make the {from} parts {to}",
            "turn the {from} parts {to}",
            "turn {from} into {to}",
            "change {from} to {to}",
            "replace {from} with {to}",
            "paint the {from} parts {to}",
            "make everything {from} {to}",
            "change the {colour} from {from} to {to}",
            "the {from} parts should be {to}",
        ),
        held_out=("turn everything {from} {to}", "change the {from} parts to {to}", "i want the {from} parts {to}"),
    ),
    "keep_only": Templates(
        train=(
            "keep only the {from}, everything else black and white",
            "keep only {from}",
            "make everything black and white except the {from} parts",
            "everything black and white except {from}",
            "leave only the {from} parts in {colour}",
            "only the {from} parts should keep their {colour}",
            "keep only the {from} parts in {colour}",
        ),
        held_out=(
            "leave only {from} in {colour}",
            "turn everything black and white except the {from}",
            "only the {from} should be in {colour}",
        ),
    ),
    "drain_part": Templates(
        train=(
            "make the {from} parts {grey}",
            "turn the {from} parts {grey}",
            "turn {from} into {grey}",
            "make the {from} parts black and white",
            "take the {colour} out of the {from} parts",
            "remove the {from} {colour}",
            "change {from} to {grey}",
        ),
        held_out=(
            "make everything {from} {grey}",
            "remove the {colour} from the {from} parts",
            "the {from} parts should be {grey}",
        ),
    ),
}

OBJECT_TEMPLATES: dict[ObjectEdit, Templates] = {
    "add": Templates(
        train=(
            "add {a} {at}",
            "put {a} {at}",
            "draw {a} {at}",
            "place {a} {at}",
            "i want {a} {at}",
            "add {a} to the picture {at}",
        ),
        held_out=("{at} i want {a}", "{at} add {a}", "put {a} into the picture {at}"),
    ),
    "remove": Templates(
        train=(
            "remove {the}",
            "delete {the}",
            "erase {the}",
            "take {the} away",
            "take away {the}",
            "get rid of {the}",
            "make {the} disappear",
            "remove {the} from the picture",
        ),
        held_out=("i want {the} to disappear", "erase {the} from the picture", "take {the} out of the picture"),
    ),
    "replace": Templates(
        train=(
            "replace {the} with {a}",
            "replace {the} by {a}",
            "turn {the} into {a}",
            "swap {the} for {a}",
            "change {the} into {a}",
            "put {a} in place of {the}",
            "make {the} into {a}",
        ),
        held_out=("i want {a} in place of {the}", "swap {the} with {a}", "{the} should be {a}"),
    ),
    "recolour": Templates(
        train=(
            "make {the} {to}",
            "turn {the} {to}",
            "paint {the} {to}",
            "change {the} to {to}",
            "change the {colour} of {the} to {to}",
            "{the} should be {to}",
            "make the {colour} of {the} {to}",
        ),
        held_out=("i want {the} {to}", "turn the {colour} of {the} into {to}", "the {colour} of {the} should be {to}"),
    ),
    "bigger": Templates(
        train=(
            "make {the} bigger",
            "make {the} larger",
            "enlarge {the}",
            "increase the size of {the}",
            "{the} should be bigger",
            "grow {the}",
        ),
        held_out=("i want {the} bigger", "{the} should be larger", "make the size of {the} larger"),
    ),
    "smaller": Templates(
        train=(
            "make {the} smaller",
            "shrink {the}",
            "reduce the size of {the}",
            "decrease the size of {the}",
            "{the} should be smaller",
            "make the size of {the} smaller",
        ),
        held_out=("i want {the} smaller", "lower the size of {the}", "i want {the} to be smaller"),
    ),
    "move": Templates(
        train=(
            "move {the} {to_place}",
            "shift {the} {to_place}",
            "bring {the} {to_place}",
            "put {the} {at}",
            "place {the} {at}",
            "{the} should be {at}",
        ),
        held_out=("i want {the} {at}", "take {the} {to_place}", "i want {the} to be {at}"),
    ),
    "background": Templates(
        train=(
            "make the background {to}",
            "turn the background {to}",
            "change the background to {to}",
            "paint the background {to}",
            "replace the background with {to}",
            "i want a {to} background",
            "{to} background",
        ),
        held_out=("the background should be {to}", "give it a {to} background", "turn the background into {to}"),
    ),
}

PLACE_NAMES: dict[Region, tuple[str, ...]] = {
    "top_left": ("in the top left", "in the top left corner", "in the upper left corner"),
    "top": ("at the top",),
    "top_right": ("in the top right", "in the top right corner", "in the upper right corner"),
    "left": ("on the left",),
    "centre": ("in the centre", "in the center", "in the middle"),
    "right": ("on the right",),
    "bottom_left": ("in the bottom left", "in the bottom left corner", "in the lower left corner"),
    "bottom": ("at the bottom",),
    "bottom_right": ("in the bottom right", "in the bottom right corner", "in the lower right corner"),
}


def colour_instruction(
    kind: ColourEdit,
    source: ColourName,
    target: ColourName | None,
    random: np.random.Generator,
    phrasing: Phrasing = "train",
) -> str:
    """One random way to ask for an edit of the parts that have a colour; ``target`` only for "recolour_part"."""
    slots = {"from": (source,), "to": (target or "",), **SPELLINGS}
    return _said(COLOUR_TEMPLATES[kind], slots, random, phrasing)


def object_instruction(
    kind: ObjectEdit,
    random: np.random.Generator,
    phrasing: Phrasing = "train",
    *,
    the: str = "",
    a: str = "",
    to: str = "",
    place: Region | None = None,
) -> str:
    """One random way to ask for an edit of an object.

    Args:
        the: how the object in the picture is called, without article.
        a: how the new object is called, without article.
        to: the new colour.
        place: where the object shall be.
    """
    at = PLACE_NAMES[place] if place else ("",)
    slots = {
        "the": (f"the {the}",),
        "a": (f"a {a}",),
        "to": (to,),
        "at": at,
        "to_place": tuple("to " + text.split(maxsplit=1)[1] for text in at if text),
        **SPELLINGS,
    }
    return _said(OBJECT_TEMPLATES[kind], slots, random, phrasing)


def edit_texts() -> Iterator[str]:
    """Texts that hold every word of the training instructions of both families, but for the nouns of cut-outs."""
    slots = {slot: ("",) for slot in ("from", "to", "the", "a", "at", "to_place")} | SPELLINGS
    for templates in (*COLOUR_TEMPLATES.values(), *OBJECT_TEMPLATES.values()):
        for template in templates.train:
            yield from fillings(template, slots)
    for names in (COLOUR_NAMES, PAINT_NAMES, SHAPES, ("the a an to",), *PLACE_NAMES.values()):
        yield from names


def _said(
    templates: Templates, slots: dict[str, tuple[str, ...]], random: np.random.Generator, phrasing: Phrasing
) -> str:
    template = one_of(templates.of(phrasing), random)
    return spoken(one_of(fillings(template, slots), random), random)

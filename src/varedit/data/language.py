"""What the instructions of all families share: templates with slots, their fillings, and ways of saying a sentence.

Some templates of each kind are held out: their words are all known from training, their wording is not, so that they
tell whether a model has learnt the language or the sentences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from varedit.data.draws import one_of

Phrasing = Literal["train", "held_out"]

SPELLINGS: dict[str, tuple[str, ...]] = {"colour": ("colour", "color"), "grey": ("grey", "gray")}


@dataclass(frozen=True)
class Templates:
    """The wordings of one kind of edit."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]

    def of(self, phrasing: Phrasing) -> tuple[str, ...]:
        """The wordings of training, or those that training never uses."""
        return self.train if phrasing == "train" else self.held_out


def fillings(template: str, slots: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Every filling of the template's slots; an empty filling leaves no double space behind."""
    present = [slot for slot in slots if f"{{{slot}}}" in template]
    choices = (dict(zip(present, values, strict=True)) for values in product(*(slots[slot] for slot in present)))
    return tuple(mended(template.format(**choice)) for choice in choices)


def mended(text: str) -> str:
    """One space between words, and the right article: "a slightly warmer tone", "a much warmer tone", "an apple"."""
    text = re.sub(r"\ba (a (?:little|bit|lot))\b", r"\1", " ".join(text.split()))
    return re.sub(r"\ba (?=[aeio]|umbrella)", "an ", text)


def picked(choices: Sequence[Sequence[str]], random: np.random.Generator) -> str:
    """A random template first, then one of its fillings: a template with many slots is not more frequent for it."""
    return one_of(one_of(choices, random), random)


def spoken(text: str, random: np.random.Generator) -> str:
    """The text as people type it: with or without "please", capital letter and full stop."""
    manner = random.random()
    if manner < 0.1:
        text = f"please {text}"
    elif manner < 0.2:
        text = f"{text}, please" if manner < 0.15 else f"{text} please"
    if random.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text + "." if random.random() < 0.25 else text


def words(text: str) -> list[str]:
    """The words of an instruction, in lower case, without punctuation."""
    return re.findall(r"[a-z]+", text.lower())

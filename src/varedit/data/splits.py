"""Which photographs are for training, validation or the test, and which nouns are held out: fixed by names alone."""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "validation", "test"]
NounSplit = Literal["train", "held_out"]

# These ship as examples, so a model that has seen them would flatter itself in every demonstration.
EXAMPLES = ("chelsea", "coffee", "rocket", "astronaut", "seeding", "wesaturate", "blossom", "bliznaca")


def split_of(name: str) -> Split:
    """The split of the photograph whose file stem is ``name``: 80 % train, 10 % validation, 10 % test.

    A hash of the name decides, so that a photograph keeps its split when others come or go. Whatever carries the
    name of a shipped example (`EXAMPLES`) is in the test split.
    """
    if any(example in name.lower() for example in EXAMPLES):
        return "test"
    tenth = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 10
    if tenth == 0:
        return "test"
    return "validation" if tenth == 1 else "train"


def noun_split(noun: str) -> NounSplit:
    """Whether scenes may show the object named ``noun`` in training: one noun in eight is held out.

    The held-out ones are for the generalisation test alone. All other scenes, whatever their split, share the rest:
    they differ by their photographs.
    """
    eighth = int.from_bytes(hashlib.sha256(f"noun:{noun}".encode()).digest()[:8], "big") % 8
    return "held_out" if eighth == 0 else "train"

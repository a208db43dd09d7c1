"""Random draws out of a sequence, which all families of scenes make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def one_of(items: Sequence[Item], random: np.random.Generator) -> Item:
    """One of the items, all alike likely."""
    return items[int(random.integers(len(items)))]


def shuffled(items: Sequence[Item], random: np.random.Generator) -> list[Item]:
    """All items in random order."""
    return [items[index] for index in random.permutation(len(items))]

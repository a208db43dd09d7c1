"""What raters see: the edits that all editors made, and their pictures under addresses that tell nothing.

A picture reaches a rater as the judge is shown it: in the source's size, as PNG, without metadata. Neither its format
nor its dimensions nor its address say whose it is.
"""

from __future__ import annotations

import hashlib
import hmac
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from varedit.errors import ImageError, InputMissing, UsageError
from varedit.evaluation.judges.pictures import sent_pictures
from varedit.evaluation.judges.questions import EditToJudge, edits_of
from varedit.evaluation.run_folder import RunFolder
from varedit.evaluation.study.plan import RUINED, SOURCE
from varedit.output import encode_image

_KEPT_PICTURES = 64  # encoded ones in memory; raters see the same items at about the same time

Edits = Mapping[str, Mapping[str, EditToJudge]]  # by editor, then by item


def edits_by_editor(folders: Sequence[Path]) -> dict[str, dict[str, EditToJudge]]:
    """The edits of each folder, whose name is the editor's, by item.

    Raises: InputMissing; UsageError where one item has two instructions.
    """
    edits = {folder.resolve().name: {edit.id: edit for edit in edits_of(RunFolder(folder))} for folder in folders}
    first, *others = edits.values()
    for other in others:
        for item, edit in first.items():
            if item in other and other[item].instruction != edit.instruction:
                raise UsageError(
                    f"item {item} has different instructions in these folders. Give runs of one benchmark."
                )
    return edits


def shared_items(edits: Edits, on_item: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
    """Items that every editor made a readable result of, in the order of the first folder.

    Args:
        on_item: told (items looked at, items in all).
    """
    first = next(iter(edits.values()))
    shared = []
    for done, item in enumerate(first, start=1):
        if all(item in own and _is_readable(own[item]) for own in edits.values()):
            shared.append(item)
        on_item(done, len(first))
    return shared


def spread_items(items: Iterable[EditToJudge], count: int | None, seed: int) -> tuple[str, ...]:
    """Ids of ``count`` items, of all if None, in random order, with categories taking turns by their sizes."""
    draws = random.Random(f"{seed}/items")
    groups: dict[str, list[str]] = defaultdict(list)
    for item in items:
        groups[item.category].append(item.id)
    placed = []
    for group in groups.values():
        draws.shuffle(group)
        start = draws.random()
        placed += [((place + start) / len(group), item) for place, item in enumerate(group)]
    return tuple(item for _, item in sorted(placed)[:count])


@dataclass(frozen=True)
class Shown:
    """A picture of an item: an editor's result, `SOURCE` or `RUINED`."""

    item: str
    of: str


class PictureBook:
    """Pictures of items by token.

    Args:
        items: ids.
        key: a secret; the same one gives the same tokens.
    """

    def __init__(self, edits: Edits, items: Sequence[str], key: str) -> None:
        self._edits = edits
        self._key = key.encode()
        shown = [Shown(item, of) for item in items for of in (*edits, SOURCE, RUINED)]
        self._by_token = {self.token(each): each for each in shown}
        self._encoded = lru_cache(_KEPT_PICTURES)(self._encode)

    def token(self, shown: Shown) -> str:
        """A name of 32 letters that only the key's owner can trace back."""
        return hmac.new(self._key, f"{shown.item}\0{shown.of}".encode(), hashlib.sha256).hexdigest()[:32]

    def png(self, token: str) -> bytes:
        """The picture's file. Raises InputMissing, ImageError."""
        if token not in self._by_token:
            raise InputMissing("there is no such picture.")
        return self._encoded(self._by_token[token])

    def _encode(self, shown: Shown) -> bytes:
        is_edit = shown.of in self._edits
        edits = self._edits[shown.of] if is_edit else next(iter(self._edits.values()))
        rgb = sent_pictures(edits[shown.item])["result" if is_edit else "source"].rgb
        return encode_image(ruined(rgb) if shown.of == RUINED else rgb, "PNG", provenance=None)


def ruined(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) as coarse tiles, two in five of them of a random colour: damage that nobody who looks can miss."""
    height, width = rgb.shape[:2]
    columns, rows = max(1, round(width * 24 / max(width, height))), max(1, round(height * 24 / max(width, height)))
    tiles = np.array(Image.fromarray(rgb).resize((columns, rows), Image.Resampling.BOX))
    draws = np.random.default_rng(0)
    is_hit = draws.random((rows, columns)) < 0.4
    tiles[is_hit] = draws.integers(0, 256, (int(is_hit.sum()), 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(tiles).resize((width, height), Image.Resampling.NEAREST))


def _is_readable(edit: EditToJudge) -> bool:
    try:
        sent_pictures(edit)
    except (ImageError, InputMissing):
        return False
    return True

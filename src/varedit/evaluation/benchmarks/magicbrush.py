"""The test split of MagicBrush (2306.10012), from its zip file: sessions of one to three turns, with true results.

Of the split "test", every turn is an item of its own that starts from the true result of the turn before
("single-turn" in the paper). Of the split "multi-turn", it starts from the editor's own result; the paper's numbers for
this are those of the last turns, which are a category.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from varedit.data.readers.fields import Place, Row, mapping, optional_text, rows, text
from varedit.evaluation.benchmarks.files import file_below, json_object, json_rows
from varedit.evaluation.benchmarks.items import Benchmark, Item

MULTI_TURN, LAST_TURN = "multi-turn", "last turn"


def read(folder: Path, split: str) -> Iterator[Item]:
    """All turns; results are named as in the paper's evaluation, ID/ID_1, and ID/ID_inde_2 or ID/ID_iter_2."""
    file = file_below(folder, "edit_sessions.json")
    captions = json_rows(file_below(folder, "local_descriptions.json"))
    sessions = json_object(file)
    for session in sessions:
        place = Place(session, file, (file.parent / "images" / session,))
        turns = sorted(rows(sessions, session), key=_turn_number)
        items = [_item(session, turn, place, captions.get(session, {})) for turn in turns]
        yield from _chained(items) if split == MULTI_TURN else items


def _chained(items: Sequence[Item]) -> Iterator[Item]:
    """The turns of a session, each of which goes on from the result of the one before."""
    before = None
    for number, item in enumerate(items):
        name = item.id.replace("_inde_", "_iter_")
        yield dataclasses.replace(
            item,
            id=name,
            after=before,
            source=item.source if before is None else None,
            category=LAST_TURN if number == len(items) - 1 else item.category,
        )
        before = name


def _item(session: str, turn: Row, place: Place, captions: Row) -> Item:
    number = _turn_number(turn)
    return Item(
        id=f"{session}/{session}_1" if number == 1 else f"{session}/{session}_inde_{number}",
        category=f"turn {number}",
        instruction=text(turn, "instruction"),
        source=place.picture(text(turn, "input")),
        target=place.picture(text(turn, "output")),
        mask=place.picture(text(turn, "mask")),
        target_caption=optional_text(mapping(captions), text(turn, "output")),
        meta={"session": session, "turn": number},
    )


def _turn_number(turn: Row) -> int:
    """The number in the name of the turn's result: `242679-output2.png` is turn 2; their order is not that of texts."""
    found = re.search(r"-output(\d+)\.", text(mapping(turn), "output"))
    return int(found[1]) if found else 1


MAGICBRUSH = Benchmark("magicbrush", {"test": 1053, MULTI_TURN: 1053}, read)

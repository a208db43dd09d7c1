"""The test split of MagicBrush (2306.10012), from its zip file: sessions of one to three turns, with true results.

Every turn is an item of its own that starts from the true result of the turn before ("single-turn" in the paper).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from varedit.data.readers.fields import Place, Row, mapping, optional_text, rows, text
from varedit.evaluation.benchmarks.files import file_below, json_object, json_rows
from varedit.evaluation.benchmarks.items import Benchmark, Item


def read(folder: Path, split: str) -> Iterator[Item]:
    """All turns; results are named as in the paper's evaluation, ID/ID_1 and ID/ID_inde_2."""
    file = file_below(folder, "edit_sessions.json")
    captions = json_rows(file_below(folder, "local_descriptions.json"))
    sessions = json_object(file)
    for session in sessions:
        place = Place(session, file, (file.parent / "images" / session,))
        for turn in sorted(rows(sessions, session), key=_turn_number):
            yield _item(session, turn, place, captions.get(session, {}))


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


MAGICBRUSH = Benchmark("magicbrush", {"test": 1053}, read)

"""What a judge is asked about one edit, and how its answer is read: strictly, or not at all.

Knows nothing of endpoints and of the schemes that put questions together.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from varedit.errors import InputMissing
from varedit.evaluation.run_folder import RunFolder

Shown = Literal["source", "result"]
LABELS: Mapping[Shown, str] = {"source": "Original picture:", "result": "Edited picture:"}

MAX_BRACES = 50  # in an answer; each costs a look at all that follows


@dataclass(frozen=True, kw_only=True)
class EditToJudge:
    """One edit in a folder of results.

    Attributes:
        id: unique in the folder.
        category: of the benchmark; numbers are told by it.
        instruction: what was asked of the editor.
        source, result: picture files; the result is None if the editor made none.
    """

    id: str
    category: str
    instruction: str
    source: Path
    result: Path | None


def edits_of(run: RunFolder) -> list[EditToJudge]:
    """All edits of a run, in the benchmark's order. Raises InputMissing, also where two items have one id."""
    items = run.items()
    twice = [item_id for item_id, times in Counter(item.id for item in items).items() if times > 1]
    if twice:
        raise InputMissing(
            f"{run.path} has {len(twice)} ids more than once, such as {twice[0]}. Give each item its own."
        )
    return [
        EditToJudge(
            id=item.id,
            category=item.category,
            instruction=item.instruction,
            source=run.source(item),
            result=run.result(item),
        )
        for item in items
    ]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One call.

    Attributes:
        name: unique in its scheme.
        text: what the judge reads before the pictures.
        shown: the pictures, in order.
        fields: what is asked for, each a whole number from low to high.
    """

    name: str
    text: str
    shown: tuple[Shown, ...]
    fields: tuple[str, ...]
    low: int
    high: int

    @property
    def prompt(self) -> str:
        """The text and the form that the answer must have."""
        form = ", ".join(f'"{name}": <{self.low} to {self.high}>' for name in self.fields)
        return (
            f"{self.text}\n\nAnswer with one JSON object and nothing else. Give the reason first, in at most 40 words, "
            f'then whole numbers:\n{{"reasoning": "<why>", {form}}}'
        )

    @property
    def schema(self) -> dict[str, Any]:
        """The form as a JSON schema, for endpoints that can enforce one."""
        number = {"type": "integer", "minimum": self.low, "maximum": self.high}
        names = ["reasoning", *self.fields]
        properties = {"reasoning": {"type": "string"}, **dict.fromkeys(self.fields, number)}
        return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}

    def read(self, text: str) -> Answer:
        """The numbers of an answer. What a model thought aloud, a fence or words around the object are ignored.

        Numbers are never bent into range.

        Raises: MalformedAnswer, which says what is wrong.
        """
        said = text.rpartition("</think>")[2]
        found = [values for values in _objects(said) if all(name in values for name in self.fields)]
        if not found:
            raise MalformedAnswer("there is no JSON object with " + ", ".join(self.fields))
        answers = [Answer(self._numbers(values), str(values.get("reasoning", ""))) for values in found]
        if any(answer.numbers != answers[0].numbers for answer in answers):
            raise MalformedAnswer("it holds several JSON objects that contradict each other")
        return answers[-1]

    def _numbers(self, values: Mapping[str, Any]) -> dict[str, int]:
        numbers = {}
        for name in self.fields:
            value = values[name]
            is_whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
            if not is_whole or not self.low <= value <= self.high:
                wanted = f"a whole number from {self.low} to {self.high}"
                raise MalformedAnswer(f"{name} is {json.dumps(value)[:40]} and not {wanted}")
            numbers[name] = int(value)
        return numbers


@dataclass(frozen=True)
class Answer:
    """What a judge said."""

    numbers: Mapping[str, int]
    reasoning: str


class MalformedAnswer(ValueError):
    """An answer that is not what was asked for; the message is a clause."""


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, outermost ones only; the first `MAX_BRACES` places where one may begin are tried."""
    decoder, start = json.JSONDecoder(), text.find("{")
    for _ in range(MAX_BRACES):
        if start < 0:
            return
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield value
        start = text.find("{", end)

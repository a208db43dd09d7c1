"""A study while it runs: who comes gets their trials, and what they say is kept. Knows nothing of HTTP."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from varedit.errors import UsageError
from varedit.evaluation.study.contents import Edits, PictureBook, Shown, edits_by_editor, shared_items, spread_items
from varedit.evaluation.study.plan import CHOICES, QUESTIONS, SOURCE, StudyPlan, Trial
from varedit.evaluation.study.store import Answer, StudyStore

_CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CODE_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that are read as another
_LONGEST = 3600.0  # seconds of one answer; who leaves the table does not think for a day


@dataclass(frozen=True, kw_only=True)
class StudyChoice:
    """What who makes a study may choose; a study that goes on has to be called with the same.

    Attributes:
        pairs: comparisons a rater.
        items: how many, spread over the categories; None is all.
    """

    pairs: int = 60
    items: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Study:
    """A plan, its pictures and its store."""

    plan: StudyPlan
    edits: Edits
    pictures: PictureBook
    store: StudyStore

    @classmethod
    def open(
        cls,
        folders: Sequence[Path],
        store: StudyStore,
        choice: StudyChoice,
        on_item: Callable[[int, int], None] = lambda done, total: None,
    ) -> Self:
        """Go on with the study in a store, or begin one.

        Args:
            folders: of editors' results, two or more.
            on_item: told (items looked at, items in all) while a new study is made.

        Raises: UsageError where the store holds another study, or there is nothing to compare; InputMissing.
        """
        edits = edits_by_editor(folders)
        plan, facts = store.plan(), _facts(folders, choice)
        if plan is None:
            found = shared_items(edits, on_item)
            first = next(iter(edits.values()))
            items = spread_items([first[item] for item in found], choice.items, choice.seed)
            names = tuple(folder.resolve().name for folder in folders)
            plan = store.begin(StudyPlan(editors=names, items=items, pairs=choice.pairs, seed=choice.seed), facts)
        kept = store.facts()
        if kept != facts:
            differing = ", ".join(name for name in facts if facts[name] != kept.get(name))
            raise UsageError(
                f"{store.name} holds another study ({differing} differ). Repeat its command, or give another --store."
            )
        gone = [item for item in plan.items if any(item not in own for own in edits.values())]
        if gone:
            raise UsageError(f"item {gone[0]} of the study is no longer in every folder. Put it back.")
        return cls(plan, edits, PictureBook(edits, plan.items, store.key), store)

    def session(self, code: str) -> dict[str, Any]:
        """Everything that a rater's page needs, with what they have answered so far; a new rater is entered.

        Args:
            code: the rater's; a new one is drawn if it is empty.

        Raises: UsageError, OutputError.
        """
        code = code or "".join(secrets.choice(_CODE_LETTERS) for _ in range(10))
        if not _CODE.fullmatch(code):
            raise UsageError("a code is made of 1 to 64 letters, digits, - and _. Check yours.")
        trials = self.plan.trials(self.store.joined(code))
        answers: list[dict[str, str]] = [{} for _ in trials]
        for answer in self.store.answers(code):
            answers[answer.number][answer.question] = answer.choice
        shown = [self._shown(trial) | {"answers": given} for trial, given in zip(trials, answers, strict=True)]
        return {"code": code, "questions": QUESTIONS, "choices": CHOICES, "trials": shown}

    def keep(self, code: str, number: int, question: str, choice: str, seconds: float) -> None:
        """Keep an answer; on the disk when this returns, and counted once however often it comes.

        Raises: UsageError for what was never asked; OutputError where it cannot be kept.
        """
        rater = self.store.number(code)
        if rater is None:
            raise UsageError("this code has not begun. Open the page again.")
        trials = self.plan.trials(rater)
        if not (0 <= number < len(trials) and question in QUESTIONS and choice in CHOICES):
            raise UsageError("this is no answer to a question of this study. Open the page again.")
        taken = min(max(seconds, 0.0), _LONGEST)
        answer = Answer(code=code, number=number, question=question, choice=choice, seconds=taken, trial=trials[number])
        self.store.keep(answer)

    def _shown(self, trial: Trial) -> dict[str, Any]:
        """A trial without the names of those who take part."""
        sides = {"source": SOURCE, "left": trial.left, "right": trial.right}
        tokens = {side: self.pictures.token(Shown(trial.item, of)) for side, of in sides.items()}
        return {"instruction": next(iter(self.edits.values()))[trial.item].instruction, **tokens}


def _facts(folders: Sequence[Path], choice: StudyChoice) -> dict[str, Any]:
    return {"folders": {folder.resolve().name: str(folder.resolve()) for folder in folders}, **asdict(choice)}

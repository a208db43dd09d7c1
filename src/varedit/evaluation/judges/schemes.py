"""Three ways to judge an edit: the paper's, that of ImgEdit-Bench and that of GEdit-Bench.

Scores and their combination are those of the publications; the questions are worded anew, so absolute numbers compare
with published ones only in so far as a judge minds the meaning and not the wording (docs/judges.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from varedit.errors import UsageError
from varedit.evaluation.judges.questions import Answer, EditToJudge, Question

Answers = Mapping[str, Answer]  # by the question's name


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Questions and what their answers come to.

    Attributes:
        ask: the questions about an edit. Raises UsageError for a category that the scheme does not know.
        combine: scores of an edit from all its answers, each the better the higher.
        score_names: of `combine`, the last one is the headline.
        overall: the mean over all edits, or the plain mean of the categories' means.
        apart: categories that have no part in the overall numbers.
    """

    name: str
    ask: Callable[[EditToJudge], tuple[Question, ...]]
    combine: Callable[[Answers], dict[str, float]]
    score_names: tuple[str, ...]
    overall: Literal["edits", "categories"]
    apart: frozenset[str] = frozenset()


def balance(success: float, over_editing: float) -> float:
    """Harmonic mean of both scores of one edit, 0 if either is 0 (VAREdit, 2508.15772, GPT-Bal.)."""
    return 2 * success * over_editing / (success + over_editing) if success and over_editing else 0.0


PAPER_QUESTION = """You judge the work of a photo editor. You see the original picture, then the picture after the \
edit; if the edit failed, the two may be the same. The editor was told: {instruction}

"success": does the edited picture show what was asked for? 0: nothing of it, or the thing that the instruction names \
is not in the original; 3: a trace; 5: half of it; 7: nearly, with visible flaws; 10: completely.
"over_editing": was everything else left alone? 0: the picture is another one; 3: much was changed that nobody asked \
for; 5: several such changes; 7: small ones; 10: only what the instruction needs was changed."""


def _ask_paper(edit: EditToJudge) -> tuple[Question, ...]:
    return (_about_both("edit", PAPER_QUESTION, edit, ("success", "over_editing"), 0, 10),)


def _combine_paper(answers: Answers) -> dict[str, float]:
    numbers = answers["edit"].numbers
    success, over_editing = float(numbers["success"]), float(numbers["over_editing"])
    return {"success": success, "over_editing": over_editing, "balance": balance(success, over_editing)}


CONSISTENCY_QUESTION = """You judge an edit of a picture: first comes the original, then the edited one. \
The instruction was: {instruction}

"success": how well does the edited picture follow the instruction? 0: not at all; 5: in part; 10: entirely.
"over_editing": how much of the original that should have stayed did stay? 0: nothing, it is another picture; \
5: a part; 10: all of it, with no needless change."""

QUALITY_QUESTION = """You judge how well a picture is made, and nothing else; it may have been made by a machine.

"naturalness": do light, shadows, distances and the scene as a whole make sense? 0: not at all; 5: something is off; \
10: like a photograph, or like a flawless work of its style.
"artifacts": is it free of distortion, blur, seams, broken bodies and unreadable letters? 0: full of them; 5: some; \
10: none."""


def _ask_gedit(edit: EditToJudge) -> tuple[Question, ...]:
    consistency = _about_both("consistency", CONSISTENCY_QUESTION, edit, ("success", "over_editing"), 0, 10)
    fields = ("naturalness", "artifacts")
    quality = Question(name="quality", text=QUALITY_QUESTION, shown=("result",), fields=fields, low=0, high=10)
    return consistency, quality


def _combine_gedit(answers: Answers) -> dict[str, float]:
    """VIEScore (2312.14867): the smallest of each kind, and the geometric mean of the two for each edit."""
    consistency, quality = (float(min(answers[name].numbers.values())) for name in ("consistency", "quality"))
    return {"consistency": consistency, "quality": quality, "overall": math.sqrt(consistency * quality)}


COMPLIANCE = "is what the instruction asks for there, complete and in the right place?"
NATURAL = "does the changed part look as if it had always been there: edges, light, colour, grain?"
PHYSICS = "are shadows, perspective, contact, texture and small details right?"
UNTOUCHED = "is everything that the instruction does not name as it was?"

IMGEDIT_FIELDS: Mapping[str, Mapping[str, str]] = {  # the three scores of each type of ImgEdit-Bench (2505.20275)
    "replace": {"prompt_compliance": COMPLIANCE, "visual_naturalness": NATURAL, "physical_detail_integrity": PHYSICS},
    "remove": {
        "prompt_compliance": "is the named thing gone, all of it, and nothing else?",
        "visual_naturalness": "is the place where it was filled so that nobody would see it?",
        "physical_detail_integrity": "are shadows and reflections of it gone too, and is the texture right?",
    },
    "add": {"prompt_compliance": COMPLIANCE, "visual_naturalness": NATURAL, "physical_detail_coherence": PHYSICS},
    "adjust": {
        "prompt_compliance": "has the named thing the named colour, material, size or other property?",
        "visual_seamlessness": NATURAL,
        "physical_detail_fidelity": "are its shape and its details kept, and is everything else as it was?",
    },
    "style": {
        "style_fidelity": "is the picture in the style that was asked for?",
        "content_preservation": "are all things of the original there, in their places and shapes?",
        "rendering_quality": "is it well made, without artefacts, the style even over the whole picture?",
    },
    "action": {
        "action_fidelity": "does the subject do, or express, what was asked for?",
        "identity_preservation": "is it the same subject: face, clothes, marks?",
        "visual_anatomical_coherence": "are body, limbs and contact with the scene right?",
    },
    "extract": {
        "object_identity": "is it the named thing, unchanged?",
        "mask_precision": "is all of it there, nothing of its surroundings, with clean edges?",
        "visual_quality": "is it as sharp and free of flaws as in the original?",
    },
    "background": {
        "instruction_compliance": "is the background what was asked for, and the foreground as it was?",
        "visual_seamlessness": "is the border between both clean?",
        "physical_consistency": "do light, shadows and perspective of both agree?",
    },
    "compose": {
        "instruction_compliance": "is every part of the instruction carried out?",
        "visual_naturalness": NATURAL,
        "physical_consistency_fine_detail": PHYSICS,
    },
}
UGE = "uge"  # the suite of hard edits, one score each, reported beside the nine types

IMGEDIT_QUESTION = """You judge an edit of the kind "{category}": first comes the original, then the edited picture. \
The instruction was: {instruction}

Give each of these 1 (bad), 2 (poor), 3 (fair), 4 (good) or 5 (faultless). No later number may be higher than the first.
{criteria}"""

UGE_QUESTION = """You judge a difficult edit of a picture: first comes the original, then the edited one. \
The instruction was: {instruction}

"score": 1: the edit failed; 2: little of it; 3: half of it, or all of it while parts were changed that should have \
stayed; 4: good with small flaws; 5: faultless. If anything was changed that should have stayed, at most 3."""


def _ask_imgedit(edit: EditToJudge) -> tuple[Question, ...]:
    if edit.category == UGE:
        return (_about_both("edit", UGE_QUESTION, edit, ("score",), 1, 5),)
    if edit.category not in IMGEDIT_FIELDS:
        known = ", ".join((*IMGEDIT_FIELDS, UGE))
        raise UsageError(f"{edit.id} is of the category {edit.category!r}; the scheme imgedit judges {known}.")
    criteria = IMGEDIT_FIELDS[edit.category]
    lines = "\n".join(f'"{name}": {meaning}' for name, meaning in criteria.items())
    text = IMGEDIT_QUESTION.replace("{criteria}", lines).replace("{category}", edit.category)
    return (_about_both("edit", text, edit, tuple(criteria), 1, 5),)


def _combine_imgedit(answers: Answers) -> dict[str, float]:
    """The mean of an edit's scores, to two decimals as the benchmark keeps it."""
    numbers = answers["edit"].numbers.values()
    return {"score": round(sum(numbers) / len(numbers), 2)}


def _about_both(name: str, text: str, edit: EditToJudge, fields: tuple[str, ...], low: int, high: int) -> Question:
    text = text.replace("{instruction}", edit.instruction)  # last, so that braces in an instruction stay what they are
    return Question(name=name, text=text, shown=("source", "result"), fields=fields, low=low, high=high)


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(
            name="paper",
            ask=_ask_paper,
            combine=_combine_paper,
            score_names=("success", "over_editing", "balance"),
            overall="edits",
        ),
        Scheme(
            name="imgedit",
            ask=_ask_imgedit,
            combine=_combine_imgedit,
            score_names=("score",),
            overall="categories",
            apart=frozenset({UGE}),
        ),
        Scheme(
            name="gedit",
            ask=_ask_gedit,
            combine=_combine_gedit,
            score_names=("consistency", "quality", "overall"),
            overall="categories",
        ),
    )
}

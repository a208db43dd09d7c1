"""What of a recipe may change while a run is under way: what only concerns the steps to come.

A run can so be made longer, in pieces over many days: each piece raises `steps`, until the last one lets the rate fall.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from varedit.errors import UsageError
from varedit.training.recipe import OptimizerSettings

FUTURE = frozenset(
    {
        "steps",
        "coarse_share",
        "coarse_scales",
        "decay_fraction",
        "decay_steps",
        "learning_rate",
        "validate_every",
        "checkpoint_every",
        "data_workers",
    }
)
_MEND = "Give another folder for a run of its own, or undo the change."


def check_changes(folder: Path, earlier: str, later: str) -> None:
    """Compare the recipe text that a run has with the one it is to go on with.

    Raises:
        UsageError: a field differs that the steps done so far depended on.
    """
    before, after = _flat(tomllib.loads(earlier)), _flat(tomllib.loads(later))
    for path in sorted(before.keys() | after.keys()):
        is_future = path[0] == "training" and len(path) == 3 and path[2] in FUTURE
        if before.get(path) != after.get(path) and not is_future:
            raise UsageError(
                f"the run in {folder} has another recipe: {'.'.join(path)} was {_told(before.get(path))} and is now "
                f"{_told(after.get(path))}. {_MEND}"
            )


def check_extension(folder: Path, earlier: str, settings: OptimizerSettings, step: int) -> None:
    """Refuse another schedule once the rate has begun to fall, under the earlier recipe or under the new one.

    Args:
        earlier: the text of the recipe that the run has.
        settings: of the recipe that it is to go on with.
        step: where the run stands.

    Raises: UsageError.
    """
    old = type(settings).from_dict(tomllib.loads(earlier)["training"][settings.section])
    schedules = [(each.steps, each.decay_length, each.learning_rate) for each in (old, settings)]
    if schedules[0] == schedules[1]:
        return
    for each, words in ((old, "began to fall"), (settings, "would have begun to fall")):
        first = math.floor(each.steps - each.decay_length) + 1  # step, counted from 0, below the full rate
        if step > first:
            raise UsageError(
                f"the run in {folder} stands at step {step}, and its learning rate {words} at step {first}, so "
                f"steps, decay and learning_rate stay as they were. {_MEND}"
            )


def _flat(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Nested tables as one table of paths."""
    flat: dict[tuple[str, ...], Any] = {}
    for key, value in values.items():
        flat |= _flat(value, (*path, key)) if isinstance(value, Mapping) else {(*path, key): value}
    return flat


def _told(value: Any) -> str:
    return "not there" if value is None else repr(value)

"""Editing a benchmark: its items become a run's folder, and a model's edits its results.

Both halves go on where they were stopped. Edits are a job of `varedit.batch`, so that they are batched, and may run on
many machines. Knows nothing of scores.
"""

from __future__ import annotations

import datetime
import itertools
import json
import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from varedit import __version__
from varedit.batch.edits import Edit
from varedit.batch.job import Summary, Workforce, run_job
from varedit.batch.journal import Outcome
from varedit.batch.stream import EditSettings
from varedit.content_hash import folder_hash
from varedit.errors import InputMissing, UsageError
from varedit.evaluation.benchmarks.items import Benchmark, Item
from varedit.evaluation.files import make_report_folder, write_report
from varedit.evaluation.run_folder import BENCHMARK, EDITOR, ITEMS, PICTURES, RESULTS, RunFolder, RunItem
from varedit.file_kinds import kind_of
from varedit.hub import find_dataset, find_model
from varedit.images import file_bytes
from varedit.output import write_whole

LOG = logging.getLogger(__name__)

SEED = 20261124
_SUFFIXES = {"a PNG picture": ".png", "a JPEG picture": ".jpg", "a WebP picture": ".webp"}

OnProgress = Callable[[int, int], None]  # items done, items in all


@dataclass(frozen=True)
class Choice:
    """Which items are measured.

    Attributes:
        benchmark: by its name.
        split: of the benchmark.
        count: the first so many; None for all.
    """

    benchmark: Benchmark
    split: str
    count: int | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What tells one choice from another, as JSON values."""
        return {"name": self.benchmark.name, "split": self.split, "count": self.count}


def prepare(choice: Choice, source: str, out: Path, on_progress: OnProgress = lambda done, total: None) -> RunFolder:
    """Write a run's folder but for its results; one that is there already is taken as it is.

    Args:
        choice: which items.
        source: the benchmark's folder as it comes from its publisher, or its name on the hub.
        out: the run's folder.
        on_progress: called after each item.

    Raises:
        UsageError: the folder holds a run of something else.
        InputMissing, ModelError: the benchmark is not there, or not as published.
        OutputError: the folder cannot be written.
    """
    run = RunFolder(out)
    if (out / ITEMS).exists():
        known = run.benchmark()
        if {name: known.get(name) for name in choice.facts} != choice.facts:
            held = f"{known.get('name')}, split {known.get('split')}, {known.get('count') or 'all'} items"
            raise UsageError(f"{out} holds a run of {held}; give -o another folder")
        return run
    folder = find_dataset(source, choice.benchmark.hub_patterns)
    make_report_folder(out / PICTURES)
    published = choice.benchmark.splits[choice.split]
    total = published if choice.count is None else min(choice.count, published)
    items: dict[str, RunItem] = {}
    repeated = 0
    for item in itertools.islice(choice.benchmark.items(folder, choice.split), choice.count):
        repeated += item.id in items
        items.setdefault(item.id, _stored(item, out))
        on_progress(len(items), max(total, len(items)))
    if not items:
        raise InputMissing(f"{folder} has no items of the split {choice.split} of {choice.benchmark.name}.")
    if choice.count is None and len(items) + repeated != published:
        LOG.warning("%s has %d items, %d are published", folder, len(items) + repeated, published)
    facts = {**choice.facts, "items": len(items), "repeated": repeated, "published": published}
    write_report(out / BENCHMARK, json.dumps(facts, indent=1) + "\n")
    write_report(out / ITEMS, "".join(item.to_json() + "\n" for item in items.values()))
    return run


def edit_run(
    run: RunFolder,
    settings: EditSettings,
    workforce: Workforce,
    command: str,
    *,
    seed: int = SEED,
    on_start: Callable[[int, int], None] = lambda todo, skipped: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> Summary:
    """Let a model make every result of a run that is not there yet; the mask is not told to it.

    Items that go on from results are jobs of their own, one after the other, as each has to find its source.

    Args:
        run: as `prepare` made it.
        settings: the model, and how it draws.
        workforce: who makes the edits.
        command: what repeats this, for the record.
        seed: of the whole run; each item's own follows from it and the item's id.
        on_start, on_outcome: as for `run_job`; the former is called for each job.

    Raises: what `run_job` does.
    """
    summaries = []
    for items in _rounds(run.items()):
        edits = [
            Edit(
                id=item.id,
                image=run.source(item).absolute(),
                instruction=item.instruction,
                output=f"{item.id}.png",
            )
            for item in items
        ]
        summaries.append(
            run_job(edits, run.results, settings, workforce, seed=seed, on_start=on_start, on_outcome=on_outcome)
        )
    summary = Summary(
        done=sum(each.done for each in summaries),
        skipped=sum(each.skipped for each in summaries),
        failed=sum(each.failed for each in summaries),
        seconds=sum(each.seconds for each in summaries),
        seed=seed,
    )
    facts = editor_facts(settings, command, seed=summary.seed, failed=summary.failed)
    write_report(run.path / EDITOR, json.dumps(facts, indent=1) + "\n")
    return summary


def _rounds(items: Sequence[RunItem]) -> list[list[RunItem]]:
    """Items that edit the benchmark's own pictures, then those that go on from their results, and so on."""
    rounds: list[list[RunItem]] = []
    number_of: dict[str, int] = {}
    for item in items:  # a benchmark names an item before those that go on from it
        number = 0 if item.after is None else number_of[item.after] + 1
        number_of[item.id] = number
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(item)
    return rounds


def editor_facts(settings: EditSettings, command: str, *, seed: int, failed: int) -> dict[str, Any]:
    """What stands beside numbers that are measured on the results, as JSON values."""
    found = find_model(settings.model)
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "model": {
            "name": settings.model or "mini",
            "revision": found.revision,
            "sha256": folder_hash(found.folder),
        },
        "settings": {**settings.loading, **settings.call},
        "seed": seed,
        "failed": failed,
        "versions": {"varedit": __version__, "python": platform.python_version(), "torch": torch.__version__},
    }


def _stored(item: Item, out: Path) -> RunItem:
    """Write an item's pictures, where they are not there yet, and describe it."""
    name = PurePosixPath(item.id)
    if name.is_absolute() or not name.parts or any(part.startswith(".") for part in name.parts) or "\0" in item.id:
        raise InputMissing(f"{item.id!r} cannot name a file; the benchmark is damaged")
    given = {"source": item.source, "target": item.target, "mask": item.mask}
    stored: dict[str, Any] = {
        kind: _copied(picture, out, f"{item.id}.{kind}") for kind, picture in given.items() if picture is not None
    }
    if item.after is not None:
        stored["source"] = f"{RESULTS}/{item.after}.png"
    return RunItem(
        id=item.id,
        category=item.category,
        instruction=item.instruction,
        language=item.language,
        source_caption=item.source_caption,
        target_caption=item.target_caption,
        meta=item.meta,
        after=item.after,
        **stored,
    )


def _copied(picture: bytes | Path, out: Path, name: str) -> str:
    """The picture's file below the run's folder, unchanged; its suffix says what it is."""
    data = picture if isinstance(picture, bytes) else file_bytes(picture)
    suffix = _SUFFIXES.get(kind_of(data) or "", ".picture")
    path = out / PICTURES / f"{name}{suffix}"
    if not path.exists() or path.stat().st_size != len(data):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    return path.relative_to(out).as_posix()

"""The folder that every measurement reads: a benchmark's items, their pictures, and the results of one editor.

```
DIR/
  benchmark.json      which benchmark this is
  items.jsonl         one item a line, see `RunItem`
  pictures/           sources, targets and masks
  results/ID.png      what an editor made of item ID; .jpg, .jpeg and .webp do as well
  editor.json         how the results were made, where `varedit eval run` made them
  scores.json         what `varedit eval score` measured, and scores.jsonl, an item a line
```

Nothing here knows who made the results: those of any editor are measured alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from varedit.errors import InputMissing

BENCHMARK, ITEMS, EDITOR = "benchmark.json", "items.jsonl", "editor.json"
SCORES, SCORE_ROWS = "scores.json", "scores.jsonl"
PICTURES, RESULTS = "pictures", "results"
RESULT_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, kw_only=True)
class RunItem:
    """One item of a benchmark, as a line of items.jsonl has it.

    Attributes:
        id: unique in the run; may hold slashes, as results/ID.png may lie in folders.
        category: the benchmark's word for the kind of edit.
        instruction: what to do.
        language: of the instruction, such as "en".
        source: picture to edit, relative to the folder.
        after: the item whose result is the source, results/ID.png; None where the source is the benchmark's.
        target: the true result; None where the benchmark has none.
        mask: white where the edit may change the source; None where the benchmark has none.
        source_caption, target_caption: what the two pictures show; None where the benchmark does not tell.
        meta: whatever else the benchmark says.
    """

    id: str
    category: str
    instruction: str
    language: str = "en"
    source: str
    target: str | None = None
    mask: str | None = None
    source_caption: str | None = None
    target_caption: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    after: str | None = None

    @property
    def origin(self) -> str | None:
        """What several items may come from, so that they are not independent: a session, or a photograph.

        None where the benchmark does not tell; then it is the source picture itself.
        """
        return self.meta.get("session") or self.meta.get("photograph") or None

    def to_json(self) -> str:
        """A line, without its end."""
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass(frozen=True)
class RunFolder:
    """A run on disk."""

    path: Path

    @property
    def results(self) -> Path:
        """Where results lie."""
        return self.path / RESULTS

    def benchmark(self) -> dict[str, Any]:
        """What benchmark.json says. Raises InputMissing."""
        facts: dict[str, Any] = json.loads(self._text(BENCHMARK))
        return facts

    def editor(self) -> dict[str, Any] | None:
        """What editor.json says; None if other hands made the results."""
        return json.loads(self._text(EDITOR)) if (self.path / EDITOR).exists() else None

    def items(self) -> list[RunItem]:
        """All items, in the benchmark's order. Raises InputMissing where this is no such folder, or a line is none."""
        items = []
        for number, line in enumerate(self._text(ITEMS).split("\n"), start=1):
            if line.strip():
                try:
                    items.append(RunItem(**json.loads(line)))
                except (ValueError, TypeError) as error:
                    raise InputMissing(f"{self.path / ITEMS}, line {number}, is no item: {error}.") from error
        return items

    def picture(self, relative: str) -> Path:
        """The file of a source, target or mask."""
        return self.path / relative

    def source(self, item: RunItem) -> Path:
        """The picture that an item edits; of one that goes on from a result, the place where that has to be."""
        before = None if item.after is None else self._result(item.after)
        return before or self.picture(item.source)

    def result(self, item: RunItem) -> Path | None:
        """The editor's picture of an item; None if there is none."""
        return self._result(item.id)

    def _result(self, name: str) -> Path | None:
        candidates = (self.results / f"{name}{suffix}" for suffix in RESULT_SUFFIXES)
        return next((path for path in candidates if path.is_file()), None)

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise InputMissing(
                f"{self.path / name} cannot be read: {reason}. Make a run's folder with: varedit eval run."
            ) from error

"""Small studies for tests: folders of three editors' results, and a server of the real command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from varedit.evaluation.run_folder import RunItem

EDITORS = ("hidden-alpha", "hidden-beta", "hidden-gamma")
COLOURS = {"hidden-alpha": (200, 40, 40), "hidden-beta": (40, 160, 40), "hidden-gamma": (40, 40, 200)}
SUFFIXES = {"hidden-alpha": ".png", "hidden-beta": ".jpg", "hidden-gamma": ".webp"}
SIZES = {"hidden-alpha": (48, 36), "hidden-beta": (96, 72), "hidden-gamma": (24, 18)}  # (width, height)


def study_folders(folder: Path, items: int = 6) -> list[Path]:
    """A run an editor, ids "0", "1", ...; editors differ in the kind, the size and the colour of their results."""
    runs = []
    for editor in EDITORS:
        run = folder / editor
        for name in ("pictures", "results"):
            (run / name).mkdir(parents=True)
        lines = []
        for index in range(items):
            Image.new("RGB", (48, 36), (90, 90 + index, 90)).save(run / "pictures" / f"{index}.png")
            result = Image.new("RGB", SIZES[editor], COLOURS[editor])
            result.save(run / "results" / f"{index}{SUFFIXES[editor]}")
            category = "colour" if index % 2 else "shape"
            item = RunItem(id=str(index), category=category, instruction=f"do {index}", source=f"pictures/{index}.png")
            lines.append(item.to_json())
        (run / "items.jsonl").write_text("\n".join(lines) + "\n")
        (run / "benchmark.json").write_text(json.dumps({"benchmark": "toy"}))
        runs.append(run)
    return runs


@dataclass
class StudyServer:
    """`varedit eval study` as a process of its own, which can be killed and started again at the same address."""

    folders: Sequence[Path]
    store: str
    pairs: int
    port: int = 0
    url: str = ""
    said: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        options = ["--store", self.store, "--pairs", str(self.pairs), "--port", str(self.port)]
        command = [sys.executable, "-m", "varedit", "eval", "study", *map(str, self.folders), *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
            if found:
                self.url, self.port = found[0], int(found[1])
                return
        self.kill()
        raise AssertionError("".join(self.said))

    def kill(self) -> None:
        """End it at once, without a chance to tidy up."""
        assert self.process is not None and self.process.stderr is not None
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        self.process = None

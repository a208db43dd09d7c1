"""The documentation's page on how the embedded model does on scenes, made of the evaluations' own files.

    varedit eval scenes --model mini --split test --count 600 --material material -o scenes
    varedit eval scenes --model mini --split generalisation --count 600 --material material -o scenes
    python benchmarks/scenes_page.py

Reads benchmarks/results/scenes-mini-{test,generalisation}-cpu.json (the JSON of those two), writes docs/embedded.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from varedit.output import write_whole

ROOT = Path(__file__).resolve().parents[1]
SPLITS = ("test", "generalisation")
LEAST_SUPPORTED = 0.5


def main() -> None:
    reports = [json.loads((ROOT / _path(split)).read_text("utf-8")) for split in SPLITS]
    write_whole(ROOT / "docs" / "embedded.md", page(reports).encode())


def page(reports: list[dict[str, Any]]) -> str:
    """The page of both splits."""
    test = reports[0]
    weak = [row["name"] for row in _rows(test) if row["level"] == "category" and _share(row) < LEAST_SUPPORTED]
    lines = [
        "# The embedded model on scenes",
        "",
        "What `mini`, the model inside the package, does on 600 held-out scenes of each split: photographs that no",
        "training saw, and in the split *generalisation* also objects, pairs of colour and object, and wordings that",
        "none saw. *Ceiling*: the true target through the autoencoder, restored as any result is. It was trained with",
        "`sar`; [references](references.md) lays the three reference modes side by side.",
        "",
        f"*Success* {test['definition'].removeprefix('Success: ')}",
        "",
        f"Device: {test['device']}, {test['precision']}, {test['date']}. Doing nothing succeeds in no scene. Commands:",
        "",
        *(f"    {report['command']}" for report in reports),
        "",
        "| | scenes | success, test | generalisation | kept outside, test | dB to the target, test | ceiling |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    other, ceiling = _by_name(_rows(reports[1])), _by_name(_rows(test, "target through the autoencoder"))
    for row in _rows(test):
        second = other.get(_key(row))
        name = row["name"].replace("_", " ")
        cells = [
            f"**{name}**" if row["level"] != "category" else name,
            str(row["scenes"]),
            _success(row),
            "-" if second is None else _success(second),
            f"{row['preserved']['share']:.2f}",
            f"{row['target_psnr']:.1f}",
            f"{_share(ceiling[_key(row)]):.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Not supported (success below {LEAST_SUPPORTED}): {', '.join(name.replace('_', ' ') for name in weak)}.",
        "",
        "All numbers, scene by scene: "
        + ", ".join(f"[{split}](../{_path(split)})" for split in SPLITS)
        + ". Where its tokens look: [attention](attention.md).",
        "",
    ]
    return "\n".join(lines)


def _path(split: str) -> str:
    return f"benchmarks/results/scenes-mini-{split}-cpu.json"


def _rows(report: dict[str, Any], contestant: str = "model") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = report["results"][contestant]
    return rows


def _by_name(rows: list[dict[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
    return {_key(row): row for row in rows}


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return row["level"], row["family"], row["name"]


def _share(row: dict[str, Any]) -> float:
    return float(row["success"]["share"])


def _success(row: dict[str, Any]) -> str:
    low, high = row["success"]["interval"]
    return f"{_share(row):.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()

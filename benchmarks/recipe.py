"""What every benchmark's file says beside its numbers, so that others can make them again."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any


def recipe(*packages: str) -> dict[str, Any]:
    """Command, commit, date and device of the script that runs, and the versions of Python and of packages."""
    return {
        "command": f"python benchmarks/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}",
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": f"CPU, {os.cpu_count()} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def commit() -> str:
    """The commit that the working tree is on."""
    command = ["git", "rev-parse", "HEAD"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    return found.stdout.strip()


def load_average() -> list[float]:
    """Other work on the machine over 1, 5 and 15 minutes."""
    return [round(load, 1) for load in os.getloadavg()]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Their middle and their ends, to two digits."""
    numbers = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(number, 2) for name, number in numbers.items()}


def tell(text: str) -> None:
    """A line to whoever waits."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()

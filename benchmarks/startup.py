"""What one `varedit edit` costs from nothing: time until all imports are finished, the whole command, peak memory.

Every figure is of a process of its own, started anew; `torch alone` is the share that no change here can save. Kinds
are interleaved and repeated, after one round that is not counted. Beside seconds on the clock stand seconds of
processor time, which other work on the machine changes less. This script itself imports nothing large: the peak of a
new process begins with that of its parent.

    python benchmarks/startup.py -o benchmarks/results/startup-cpu.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from recipe import load_average, recipe, spread

IMAGE = Path(__file__).resolve().parents[1] / "examples" / "coffee.jpg"
INSTRUCTION = "make it black and white"
IMPORTS = """
from varedit.cli import prepare_process
prepare_process()
import varedit.cli.edit, varedit.output, varedit.pipeline
"""
LEAVE = "\nimport os; os._exit(0)"  # at once: how long Python takes to end is no part of it


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        edit = ["edit", str(IMAGE), INSTRUCTION, "--seed", "1", "--force", "--quiet", "-o", f"{folder}/result.png"]
        commands = {
            "python alone": ["-c", ""],
            "torch alone": ["-c", "import torch" + LEAVE],
            "imports": ["-c", IMPORTS + LEAVE],
            "edit": ["-m", "varedit", *edit],
        }
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
        for round_number in range(arguments.repeats + 1):
            for name, command in commands.items():
                figures = _measured([sys.executable, *command])
                if round_number > 0:
                    runs[name].append(figures)
            print(f"{round_number}/{arguments.repeats}", flush=True)
    report = recipe("torch") | {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "load": load_average(),
        "edit": f"{IMAGE.name}: {INSTRUCTION}",
        "runs": {name: _summary(figures) for name, figures in runs.items()},
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report["runs"], indent=1))


def _measured(command: list[str]) -> dict[str, float]:
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    kilobyte = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
    return {
        "seconds": seconds,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * kilobyte / 1e6,
    }


def _summary(figures: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {key: spread([run[key] for run in figures]) for key in figures[0]}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Five hundred images, five of them damaged: one command, killed in the middle and given again; here and through Ray.

Each of the two jobs is started, killed (SIGKILL) after --kill-after results, and started again. Then it is checked that
the resumed job kept what was done, that no edit stands in the journal twice, that every good image has its result and
every damaged one its sentence. Images a second are those of the resumed command, loading included; beside them stands
the same command on single images, one after the other.

    python benchmarks/many_edits.py -o benchmarks/results/many-edits-cpu.json

Needs the extra `ray`. Takes a few minutes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from recipe import load_average, recipe, tell

from varedit.batch.journal import NAME

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
INSTRUCTION = "make it black and white"
SEED = 1
EXIT_CODE = 65  # some images failed
SINGLE = 24  # images for the comparison
SUMMARY = re.compile(r"(\d+) edited, (\d+) done before, (\d+) failed; ([\d.]+) s, ([\d.]+) images/s")


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        damaged = make_images(folder / "images", arguments.count)
        jobs: dict[str, Any] = {}
        for kind, options in (("one process", []), ("ray, 2 workers", ["--ray", "--workers", "2"])):
            out = folder / kind.replace(" ", "-")
            jobs[kind] = killed_and_resumed(folder / "images", out, options, damaged, arguments)
            tell(f"{kind}: {jobs[kind]}")
        jobs["ray, 2 workers"]["results_identical_to_one_process"] = identical(
            folder / "one-process", folder / "ray,-2-workers"
        )
        single = one_by_one(folder / "images", folder / "single", damaged)
    report = _recipe(arguments) | {"single_images_one_by_one": single, "jobs": jobs}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    tell(json.dumps(report, indent=1))


def make_images(folder: Path, count: int) -> set[str]:
    """Crops of the example photographs, 160 to 480 pixels a side, in three formats; returns the names of five that are
    damaged, each in its own way.
    """
    folder.mkdir()
    photographs = [Image.open(path).convert("RGB") for path in sorted(EXAMPLES.glob("*.jpg"))]
    random = np.random.default_rng(0)
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        width, height = (int(random.integers(160, min(480, side))) for side in photograph.size)
        left = int(random.integers(0, photograph.width - width + 1))
        top = int(random.integers(0, photograph.height - height + 1))
        suffix = (".jpg", ".jpg", ".png", ".webp")[index % 4]
        photograph.crop((left, top, left + width, top + height)).save(folder / f"{index:03d}{suffix}")
    paths = sorted(folder.iterdir())
    chosen = [paths[index * count // 5] for index in range(5)]
    chosen[0].write_bytes(b"")
    chosen[1].write_bytes(chosen[1].read_bytes()[: chosen[1].stat().st_size // 2])
    chosen[2].write_text("this is no picture", encoding="utf-8")
    chosen[3].write_bytes(bytes(1000))
    chosen[4].write_bytes(chosen[4].read_bytes()[:30])
    return {path.name for path in chosen}


def killed_and_resumed(
    images: Path, out: Path, options: list[str], damaged: set[str], arguments: argparse.Namespace
) -> dict[str, Any]:
    command = [sys.executable, "-m", "varedit", "edit", str(images), INSTRUCTION, "-o", str(out), *options]
    command += ["--seed", str(SEED), "--batch-size", str(arguments.batch_size)]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None, "it was asked for"
        for _ in range(arguments.kill_after):
            if not process.stdout.readline():
                raise SystemExit(f"{command} ended before it could be killed")
        process.kill()
    seconds_until_killed = time.perf_counter() - started
    finished, before = done(out), times(out)
    resumed = subprocess.run(command, capture_output=True, text=True)
    if resumed.returncode != EXIT_CODE:
        raise SystemExit(f"the resumed command gave {resumed.returncode}: {resumed.stderr}")
    found = SUMMARY.search(resumed.stderr)
    if found is None:
        raise SystemExit(f"the resumed command did not tell what it did: {resumed.stderr}")
    check(images, out, damaged, finished, before, resumed.stderr)
    return {
        "killed_after_results": len(finished),
        "seconds_until_killed": round(seconds_until_killed, 1),
        "done_by_the_resumed_command": int(found[1]),
        "skipped_as_done": int(found[2]),
        "failed": int(found[3]),
        "seconds": float(found[4]),
        "images_per_second": float(found[5]),
    }


def check(images: Path, out: Path, damaged: set[str], finished: list[str], before: dict[str, int], said: str) -> None:
    """Stop if anything was lost, done twice or not told."""
    good = {path.name for path in images.iterdir()} - damaged
    outputs, after = done(out), times(out)
    problems = {
        "finished twice": len(outputs) != len(set(outputs)),
        "lost or too much": set(outputs) != good or set(after) != good,
        "made again": any(after[name] != before[name] for name in finished if name in before),
        "finished before is not kept": not set(finished) <= set(outputs),
        "damaged but not told": any(said.count(f"/{name} ") != 1 for name in damaged),
    }
    if found := [problem for problem, is_true in problems.items() if is_true]:
        raise SystemExit(f"{out.name}: {', '.join(found)}")


def done(out: Path) -> list[str]:
    """Results that the journal calls done; a result of the last line may still wait for its name."""
    text = (out / NAME).read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text[: text.rfind("\n")].splitlines()]
    return [line["output"] for line in lines if line.get("state") == "done"]


def times(out: Path) -> dict[str, int]:
    """When each result was written, in ns."""
    return {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file() and path.name != NAME}


def identical(one: Path, other: Path) -> int:
    return sum((one / name).read_bytes() == (other / name).read_bytes() for name in times(one))


def one_by_one(images: Path, out: Path, damaged: set[str]) -> dict[str, Any]:
    names = [str(path) for path in sorted(images.iterdir()) if path.name not in damaged][:SINGLE]
    command = [sys.executable, "-m", "varedit", "edit", *names, INSTRUCTION, "-o", f"{out}/", "--seed", str(SEED)]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    return {"images": len(names), "seconds": round(seconds, 1), "images_per_second": round(len(names) / seconds, 2)}


def _recipe(arguments: argparse.Namespace) -> dict[str, Any]:
    return recipe("torch", "ray") | {
        "what": f"{arguments.count} images of 160 to 480 pixels a side, 5 damaged, embedded model, {INSTRUCTION!r}",
        "note": arguments.note,
        "precision": "float32",
        "batch_size": arguments.batch_size,
        "load_average": load_average(),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--kill-after", type=int, default=200, help="results of the first command")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--note", default="", help="what else the machine did meanwhile")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "many-edits-cpu.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()

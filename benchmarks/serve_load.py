"""Bounded load on a server on this machine: many clients, some of whom leave early and some of whom send rubbish.

A server is started with the embedded model. First single edits are timed through it, one after the other; then the load
is: of all edits one in ten is left after its first event, one in twenty is damaged. Clients that are told to come back
later do. It is checked that every edit has exactly one answer, that every result equals that of the same edit made
alone in another process, that every bad input was told so, and that the server's own counts agree. The load
comes twice: the first round is the warm-up, and the server's memory is sampled through the second.

    python benchmarks/serve_load.py -o benchmarks/results/serve-load-cpu.json

Needs the extras `serve` and `dev`. Takes some minutes.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import queue
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2
import numpy as np
from PIL import Image
from recipe import load_average, recipe, tell

from varedit.pipeline import VAREditPipeline

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
INSTRUCTIONS = ("make it black and white", "a lot warmer", "slightly darker", "make the picture much brighter")
SINGLE_EDITS = 15
SAMPLE_SECONDS = 0.25
MAX_TRIES = 200
SAID = re.compile(r"open (http://[^ ]+) ")

Kind = Literal["good", "left", "bad"]


@dataclass(frozen=True)
class Job:
    """One edit that a client wants."""

    kind: Kind
    image: bytes
    fields: dict[str, str]


@dataclass
class Answer:
    """What became of a job."""

    statuses: list[int] = field(default_factory=list)  # of the answers that were no request to come back later
    tries: int = 0
    seconds: float = 0.0  # of the try that was answered
    picture: bytes | None = None
    code: str | None = None


def main() -> None:
    arguments = _arguments()
    jobs = planned(arguments.edits, photographs(), (160, 480))
    expected = alone(VAREditPipeline.from_pretrained(device="cpu"), jobs)
    tell(f"{len(jobs)} edits planned, and made alone")
    with serving() as (url, process), memory_of(process) as memory:
        single = single_seconds(url, jobs)
        tell(f"a single edit takes {statistics.median(single):.3f} s")
        drive(url, jobs, arguments.clients)
        before = settled(url)
        started, started_at = time.perf_counter(), len(memory)
        answers = drive(url, jobs, arguments.clients)
        seconds = time.perf_counter() - started
        loaded = memory[started_at:]
        after = settled(url)
    problems = compared(jobs, answers, expected) + counted(jobs, answers, before, after)
    report = _recipe(arguments) | figures(jobs, answers, single, seconds, arguments.clients) | flatness(loaded)
    report["problems"] = problems
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    tell(json.dumps(report, indent=1))
    if problems:
        raise SystemExit("; ".join(problems[:5]))


def photographs() -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(EXAMPLES.glob("*.jpg"))]


def planned(count: int, pictures: list[Image.Image], sides: tuple[int, int]) -> list[Job]:
    """Jobs of unlike pictures, instructions, seeds and settings; always the same ones."""
    random = np.random.default_rng(0)
    kinds: list[Kind] = ["good"] * count
    for place in random.permutation(count)[: count // 10]:
        kinds[place] = "left"
    rest = [place for place in range(count) if kinds[place] == "good"]
    for place in random.permutation(rest)[: max(1, count // 20)]:
        kinds[place] = "bad"
    jobs = []
    for number, kind in enumerate(kinds):
        picture = pictures[number % len(pictures)]
        width, height = (int(random.integers(min(sides[0], side), min(sides[1], side) + 1)) for side in picture.size)
        left, top = (
            int(random.integers(0, old - new + 1)) for old, new in zip(picture.size, (width, height), strict=True)
        )
        buffer = io.BytesIO()
        picture.crop((left, top, left + width, top + height)).save(buffer, "PNG")
        fields = {
            "prompt": INSTRUCTIONS[number % len(INSTRUCTIONS)],
            "seed": str(number),
            "guidance_scale": ("1", "2.5", "4")[number % 3],
        }
        data = buffer.getvalue()
        if kind == "bad":
            data, fields = [(data[: len(data) // 2], fields), (b"rubbish", fields), (data, fields | {"n": "0"})][
                number % 3
            ]
        jobs.append(Job(kind, data, fields))
    return jobs


def alone(pipeline: VAREditPipeline, jobs: list[Job]) -> dict[int, np.ndarray]:
    """The pixels that each good job should give, by its place."""
    expected = {}
    for place, job in enumerate(jobs):
        if job.kind == "good":
            settings = {"seed": int(job.fields["seed"]), "guidance_scale": float(job.fields["guidance_scale"])}
            expected[place] = np.asarray(pipeline(job.image, job.fields["prompt"], **settings).images[0])
    return expected


def drive(url: str, jobs: list[Job], clients: int) -> list[Answer]:
    """Let clients take jobs until none is left; what became of each, in the order of the jobs."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for place in range(len(jobs)):
        waiting.put(place)
    answers = [Answer() for _ in jobs]

    def work() -> None:
        with httpx2.Client(base_url=url, timeout=600) as client:
            while True:
                try:
                    place = waiting.get_nowait()
                except queue.Empty:
                    return
                carry(client, jobs[place], answers[place])

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def carry(client: httpx2.Client, job: Job, answer: Answer) -> None:
    """Ask until there is an answer."""
    form: dict[str, Any] = {"files": {"image": job.image}, "data": job.fields}
    while answer.tries < MAX_TRIES:
        answer.tries += 1
        started = time.perf_counter()
        if job.kind == "left":
            form["data"] = job.fields | {"stream": "true", "partial_images": "1"}
            with client.stream("POST", "/v1/images/edits", **form) as response:
                status, headers = response.status_code, response.headers
                if status == 200:
                    next(response.iter_bytes(), None)  # a preview; then the client has seen enough
        else:
            response = client.post("/v1/images/edits", **form)
            status, headers = response.status_code, response.headers
            if status != 429:
                body = response.json()
                answer.code = body.get("error", {}).get("code")
                if status == 200:
                    answer.picture = base64.b64decode(body["data"][0]["b64_json"])
        if status != 429:
            answer.seconds = time.perf_counter() - started
            answer.statuses.append(status)
            return
        time.sleep(min(2.0, float(headers["retry-after"])))


def compared(jobs: list[Job], answers: list[Answer], expected: dict[int, np.ndarray]) -> list[str]:
    """What is wrong with the answers."""
    problems = []
    for place, (job, answer) in enumerate(zip(jobs, answers, strict=True)):
        wanted = 400 if job.kind == "bad" else 200
        if answer.statuses != [wanted]:
            problems.append(f"job {place} ({job.kind}) was answered {answer.statuses} {answer.code}")
        elif job.kind == "good":
            assert answer.picture is not None, "an answer of 200 has a picture"
            if not np.array_equal(np.asarray(Image.open(io.BytesIO(answer.picture))), expected[place]):
                problems.append(f"job {place} differs from the same edit alone")
    return problems


def counted(jobs: list[Job], answers: list[Answer], before: dict[str, int], after: dict[str, int]) -> list[str]:
    """What is wrong with the server's own counts: every edit that was let in ended once, as it should."""
    good = sum(job.kind == "good" for job in jobs)
    left = sum(job.kind == "left" for job in jobs)
    grown = {name: after[name] - before[name] for name in after}
    problems = []
    if grown["failed"] or grown["late"]:
        problems.append(f"{grown['failed']} edits failed and {grown['late']} were late")
    if grown["finished"] + grown["cancelled"] != good + left or grown["finished"] < good:
        problems.append(f"the server counts {grown}, but {good} edits were wanted and {left} left")
    return problems


def counts(url: str) -> dict[str, int]:
    """Ends of edits by their outcome, from the server's metrics."""
    text = httpx2.get(f"{url}/metrics").text
    found = dict(re.findall(r'^varedit_edits_total\{outcome="(\w+)"\} (\d+)', text, re.MULTILINE))
    return {name: int(found.get(name, 0)) for name in ("finished", "failed", "cancelled", "late")}


def settled(url: str) -> dict[str, int]:
    """The counts, once nothing is under way."""
    while "\nvaredit_active_edits 0.0\n" not in httpx2.get(f"{url}/metrics").text:
        time.sleep(0.05)
    return counts(url)


def single_seconds(url: str, jobs: list[Job]) -> list[float]:
    """Seconds of good edits, one after the other."""
    good = [job for job in jobs if job.kind == "good"][: SINGLE_EDITS + 2]
    with httpx2.Client(base_url=url, timeout=600) as client:
        answers = [Answer() for _ in good]
        for job, answer in zip(good, answers, strict=True):
            carry(client, job, answer)
    return [answer.seconds for answer in answers[2:]]


def figures(
    jobs: list[Job], answers: list[Answer], single: list[float], seconds: float, clients: int
) -> dict[str, Any]:
    """Times. At saturation an edit waits for those of all other clients, which the cores share."""
    took = sorted(answer.seconds for job, answer in zip(jobs, answers, strict=True) if job.kind == "good")
    p95, one, cores = took[int(0.95 * (len(took) - 1))], statistics.median(single), os.cpu_count() or 1
    return {
        "edits": {kind: sum(job.kind == kind for job in jobs) for kind in ("good", "left", "bad")},
        "seconds": round(seconds, 1),
        "good_edits_per_second": round(len(took) / seconds, 2),
        "told_to_come_back": sum(answer.tries - 1 for answer in answers),
        "single_edit_s": {"median": round(one, 3), "min": round(min(single), 3), "max": round(max(single), 3)},
        "edit_under_load_s": {"median": round(statistics.median(took), 3), "p95": round(p95, 3)},
        "p95_over_single_edit": round(p95 / one, 2),
        "p95_over_single_edit_times_clients_over_cores": round(p95 / (one * clients / cores), 2),
    }


def flatness(samples: list[tuple[float, int]]) -> dict[str, Any]:
    """How the server's memory moved under load: the change of a straight line through it."""
    times, sizes = np.array([at for at, _ in samples]), np.array([size for _, size in samples], dtype=float)
    slope = float(np.polyfit(times - times[0], sizes, 1)[0])
    change = slope * float(times[-1] - times[0]) / float(sizes.mean())
    return {
        "memory_mb": {
            "start": round(samples[0][1] / 1e6),
            "end": round(samples[-1][1] / 1e6),
            "max": round(max(sizes) / 1e6),
        },
        "memory_change_after_warm_up": round(change, 4),
    }


@contextmanager
def serving() -> Iterator[tuple[str, int]]:
    """A server in a process of its own: (address, process id)."""
    command = [sys.executable, "-m", "varedit", "serve", "--port", "0", "--drain-delay", "0", "--device", "cpu"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None, "it was asked for"
        found = SAID.search(process.stderr.readline())
        if found is None:
            raise SystemExit("the server did not start")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        while httpx2.get(f"{found[1]}/ready", timeout=60).status_code != 200:
            time.sleep(0.1)
        try:
            yield found[1], process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            if process.wait(60) != 0:
                raise SystemExit(f"the server ended with {process.returncode}")


@contextmanager
def memory_of(process: int) -> Iterator[list[tuple[float, int]]]:
    """Samples of (seconds, resident bytes), taken while the block runs."""
    samples: list[tuple[float, int]] = []
    is_over = threading.Event()

    def sample() -> None:
        while not is_over.wait(SAMPLE_SECONDS):
            pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
            samples.append((time.perf_counter(), pages * os.sysconf("SC_PAGE_SIZE")))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        is_over.set()
        thread.join()


def _recipe(arguments: argparse.Namespace) -> dict[str, Any]:
    return recipe("torch", "fastapi", "uvicorn") | {
        "what": f"{arguments.edits} edits from {arguments.clients} clients, embedded model, 160 to 480 pixels a side",
        "note": arguments.note,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "precision": "float32",
        "load_average": load_average(),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--note", default="", help="what else the machine did meanwhile")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "serve-load-cpu.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""The container's recipe: what it promises, and its own steps run in a plain virtual environment."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import site
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KEEP_OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index")  # what pip would fetch is there already


@dataclass(frozen=True)
class Step:
    """One instruction of the recipe."""

    word: str
    text: str


def stages() -> list[list[Step]]:
    """The steps of every stage; what stands before the first FROM is left out."""
    text = re.sub(r"^#.*\n", "", (ROOT / "container" / "Containerfile").read_text(), flags=re.MULTILINE)
    steps = [Step(*line.split(maxsplit=1)) for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    starts = [place for place, step in enumerate(steps) if step.word == "FROM"]
    return [steps[start:end] for start, end in zip(starts, [*starts[1:], len(steps)], strict=True)]


def texts(stage: list[Step], word: str) -> list[str]:
    return [step.text for step in stage if step.word == word]


def command(text: str) -> list[str]:
    words: list[str] = json.loads(text[text.index("[") :])
    return words


def test_the_result_is_slim_has_no_root_and_stops_gracefully():
    _, final = stages()
    assert re.fullmatch(r"python:\S+-slim", texts(final, "FROM")[0])
    (user,) = texts(final, "USER")
    assert int(user) >= 1000
    order = [step.word for step in final]
    assert "RUN" not in order[order.index("USER") :]
    assert texts(final, "STOPSIGNAL") == ["SIGTERM"]
    (health,) = texts(final, "HEALTHCHECK")
    port = command(texts(final, "CMD")[0])[-1]
    assert f"http://127.0.0.1:{port}/health" in health and texts(final, "EXPOSE") == [port]
    assert command(texts(final, "CMD")[0])[:2] == ["varedit", "serve"]
    (environment,) = texts(final, "ENV")
    assert "HF_HOME=/models" in environment and texts(final, "VOLUME") == ["/models"]
    assert "KEY" not in environment


def test_what_is_copied_exists_and_the_builder_may_see_it():
    build, _ = stages()
    copied = [name for text in texts(build, "COPY") for name in text.split()[:-1]]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / name).exists() for name in copied)


def test_torch_without_cuda_is_the_default_and_cuda_an_argument():
    build, _ = stages()
    assert texts(build, "ARG") == ["TORCH=cpu"]
    (torch_step,) = [text for text in texts(build, "RUN") if "index-url" in text]
    for kind, installs in (("cpu", True), ("cuda", False)):
        dry = torch_step.replace("/opt/varedit/bin/pip", "echo")
        done = subprocess.run(["sh", "-ec", dry], env={**os.environ, "TORCH": kind}, capture_output=True, text=True)
        assert done.returncode == 0 and ("whl/cpu torch" in done.stdout) == installs


@pytest.mark.slow
def test_the_steps_make_an_environment_whose_default_command_starts(tmp_path):
    """Packages that pip would fetch are taken from the environment of the tests; all else is as the recipe says."""
    pytest.importorskip("hatchling")
    build, final = stages()
    for text in texts(build, "COPY"):
        *names, target = text.split()
        for name in names:
            place = tmp_path / "src" / (target if (ROOT / name).is_dir() else name)
            place.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, place)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for text in texts(build, "RUN"):
        if "index-url" in text:
            continue
        words = [word.replace("/opt/varedit", str(tmp_path / "opt")) for word in shlex.split(text)]
        if words[0] == "python":
            words[0] = sys.executable
        if words[0].endswith("pip"):
            borrowed = next((tmp_path / "opt").glob("lib/python*/site-packages"))
            (borrowed / "borrowed.pth").write_text("\n".join(site.getsitepackages()))
            words += KEEP_OFFLINE
        done = subprocess.run(words, cwd=tmp_path / "src", env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{text}: {done.stderr}"
    environment["PATH"] = f"{tmp_path}/opt/bin:{environment['PATH']}"
    words = command(texts(final, "CMD")[0])
    assert shutil.which(words[0], path=environment["PATH"]) == str(tmp_path / "opt" / "bin" / "varedit")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    shown = run(*words, "--help")
    assert shown.returncode == 0 and all(word in shown.stdout for word in words if word.startswith("--"))
    weights = run("python", "-c", "from varedit.hub import find_model; print(find_model(None).folder)")
    folder = Path(weights.stdout.strip())
    assert folder.is_relative_to(tmp_path / "opt") and (folder / "transformer" / "model.safetensors").is_file()
    refused = run(*words)  # without a key
    assert refused.returncode == 2 and "VAREDIT_API_KEY" in refused.stderr

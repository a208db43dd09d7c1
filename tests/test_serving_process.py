"""`varedit serve` as operators meet it: a process that says where it is, drains, exits with 0, and comes back."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from tests.served import png
from varedit.cli import cli
from varedit.errors import ModelError
from varedit.pipeline import VAREditPipeline
from varedit.serving.server import Server, service_of
from varedit.serving.settings import ServerSettings

UNFINISHED = ("varedit_queue_depth ", "varedit_active_edits ")
SAID = re.compile(r"open (http://[^ ]+) ")


@dataclass
class Process:
    """A running command; what it has written to stderr so far."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]

    def ready(self) -> None:
        """Wait until it is."""
        while httpx2.get(f"{self.url}/ready", timeout=60).status_code != 200:
            assert self.process.poll() is None, self.lines
            time.sleep(0.05)

    def edit(self, **fields: str) -> httpx2.Response:
        return httpx2.post(
            f"{self.url}/v1/images/edits",
            files={"image": png()},
            data={"prompt": "make it warmer", "seed": "7", **fields},
            timeout=60,
        )

    def unfinished_edits(self) -> float:
        """Edits that wait or are under way."""
        numbers = httpx2.get(f"{self.url}/metrics", timeout=60).text.splitlines()
        return sum(float(line.split()[1]) for line in numbers if line.startswith(UNFINISHED))

    def end(self) -> int:
        """Wait for its exit code."""
        return self.process.wait(60)


@contextmanager
def serving(model: str, *options: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "varedit", "serve", "-m", model, "--device", "cpu", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = None
        lines: list[str] = []
        while found is None:
            line = process.stderr.readline()
            assert line, lines
            lines.append(line)
            found = SAID.search(line)
        stderr = process.stderr
        reader = threading.Thread(target=lambda: lines.extend(iter(stderr.readline, "")))
        reader.start()
        try:
            yield Process(process, found[1], lines)
        finally:
            process.kill()
            process.wait()
            reader.join(60)


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


def test_a_server_killed_in_the_middle_of_an_edit_serves_again(toy):
    with serving(toy, "--port", "0") as first:
        first.ready()
        before = first.edit().json()["data"]
        caller = threading.Thread(target=failing_edit, args=(first,))
        caller.start()
        while b"varedit_active_edits 1.0" not in httpx2.get(f"{first.url}/metrics").content and caller.is_alive():
            pass
        first.process.send_signal(signal.SIGKILL)
        assert first.end() == -signal.SIGKILL
        caller.join(60)
        port = port_of(first.url)
    with serving(toy, "--port", port) as second:
        second.ready()
        assert second.edit().json()["data"] == before


def failing_edit(process: Process) -> None:
    try:
        process.edit(n="10")
    except httpx2.TransportError:
        return


def test_sigterm_finishes_what_runs_and_exits_with_0(toy):
    with serving(toy, "--port", "0", "--drain-delay", "3") as running:
        running.ready()
        answers: list[httpx2.Response] = []
        callers = [threading.Thread(target=lambda: answers.append(running.edit(n="10"))) for _ in range(2)]
        for caller in callers:
            caller.start()
        while running.unfinished_edits() <= 10:  # until both are in, each with ten
            assert all(caller.is_alive() for caller in callers)
        running.process.send_signal(signal.SIGTERM)
        refused = httpx2.get(f"{running.url}/ready")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert running.edit().status_code == 503
        for caller in callers:
            caller.join(60)
        assert running.end() == 0
        assert [answer.status_code for answer in answers] == [200, 200]
    logged: list[dict[str, Any]] = [json.loads(line) for line in running.lines if line.startswith("{")]
    edits = [line for line in logged if line.get("outcome") == "finished"]
    assert len(edits) == 2
    assert all(line["status"] == 200 and line["n"] == 10 and line["queue_ms"] >= 0 for line in edits)
    assert not any("warmer" in line for line in running.lines)  # instructions are personal


BAD_SETTINGS = {
    "an open address without a key": (
        ["--host", "192.0.2.1"],
        "set VAREDIT_API_KEY or --api-key-file, or say --no-auth",
    ),
    "no port": (["--port", "70000"], "from 0 to 65535"),
    "no origin": (["--cors-origin", "example.com"], "https://example.com"),
    "a short key": (["--api-key-file", "KEY"], "shorter than 8 characters"),
    "no key file": (["--api-key-file", "missing"], "cannot be read from missing"),
    "no upload": (["--max-upload-mb", "0"], "max_upload_bytes"),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_settings_are_refused_with_a_sentence(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAREDIT_API_KEY", raising=False)
    (tmp_path / "KEY").write_text("short", encoding="utf-8")
    options, part = BAD_SETTINGS[case]
    result = CliRunner().invoke(cli, ["serve", *options], standalone_mode=False)
    assert result.return_value in (2, 66)
    assert result.stderr.count("\n") == 1 and part in result.stderr


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(cli, ["serve", "--port", port], standalone_mode=False)
    assert result.return_value == 2 and "choose another --port" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_model_that_cannot_be_loaded_ends_the_server():
    def load() -> VAREditPipeline:
        raise ModelError("there is no model")

    said: list[str] = []
    server = Server(service_of(load, ServerSettings(port=0)), said.append)
    assert server.serve_here() == 70
    assert said[0].startswith("http://127.0.0.1:")

"""Many machines: what the front makes of losses between machines, and a local Ray that loses a replica under load."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.served import opened, png
from tests.test_serving_process import SAID
from tests.toys import toy_editor, toy_pipeline
from varedit.adapters import merge_adapters
from varedit.cli import cli
from varedit.errors import InputMissing, UsageError
from varedit.pipeline import VAREditPipeline
from varedit.serving.cluster import ANYWHERE, ClusterSettings
from varedit.serving.forwarding import WholeRequest, messages
from varedit.serving.settings import ServerSettings

pytest.importorskip("ray", reason="Ray is not installed: pip install 'varedit[ray]'")
PROMPT = "make it warmer"
WHOLE_SECONDS = 150.0  # until a lost replica must be made good: 17 on two idle cores, and tests run beside others
REPLICA = "ray::ServeReplica:varedit:replica"


# The front, without a cluster


@pytest.fixture(scope="module")
def serving_ray() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, of the libraries that it uses
        import varedit.serving.ray
    return varedit.serving.ray


class Replicas:
    """Stands for Ray's handle: each call is answered by the next of some scripts, of messages and errors."""

    def __init__(self, *scripts: list[Any]) -> None:
        self.scripts = list(scripts)
        self.named: list[str] = []
        self.calls: list[WholeRequest] = []

    def options(self, *, multiplexed_model_id: str = "", **_: Any) -> Replicas:
        self.named.append(multiplexed_model_id)
        return self

    async def remote(self, request: WholeRequest) -> AsyncIterator[Any]:
        self.calls.append(request)
        for step in self.scripts.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step


def started(kind: str) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind.encode())]}


def part(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


GOOD = [started("application/json"), part(b'{"data": 1}')]


def asked(serving_ray: Any, replicas: Replicas, method: str = "POST", path: str = "/v1/images/edits", **content: Any):
    """A front's answer; settings may come with it."""
    settings = content.pop("settings", ClusterSettings())
    app = serving_ray.Front(settings, replicas).__serve_build_asgi_app__()

    async def ask() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **content)

    return asyncio.run(ask())


def lost() -> Exception:
    from ray.exceptions import ActorDiedError

    return ActorDiedError()


@pytest.mark.parametrize("before", [[], [GOOD[0]], [GOOD[0], part(b'{"da', more=True)]])
def test_a_request_whose_replica_is_lost_is_answered_by_another(serving_ray, before):
    replicas = Replicas([*before, lost()], GOOD)
    answer = asked(serving_ray, replicas, content=b"{}", headers={"x-request-id": "abc"})
    assert (answer.status_code, answer.content) == (200, b'{"data": 1}')
    assert [call.body for call in replicas.calls] == [b"{}", b"{}"]
    assert all((b"x-request-id", b"abc") in call.scope["headers"] for call in replicas.calls)


def test_a_request_that_takes_two_replicas_down_takes_no_third(serving_ray):
    answer = asked(serving_ray, Replicas([lost()], [lost()], GOOD), content=b"{}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert answer.headers["x-should-retry"] == "false"


def test_a_stream_whose_replica_is_lost_ends_with_an_error(serving_ray):
    replicas = Replicas([started("text/event-stream; charset=utf-8"), part(b"data: 1\n\n", more=True), lost()], GOOD)
    answer = asked(serving_ray, replicas, content=b"{}")
    first, last = answer.text.strip().split("\n\n")
    assert (answer.status_code, first, len(replicas.calls)) == (200, "data: 1", 1)
    assert last.startswith("event: error\ndata: ")
    assert json.loads(last.partition("data: ")[2])["error"]["code"] == "not_ready"


def test_where_all_replicas_are_full_callers_are_told_to_come_back(serving_ray):
    from ray.serve.exceptions import BackPressureError

    error = BackPressureError(num_queued_requests=1, max_queued_requests=1)
    answer = asked(serving_ray, Replicas([error]), content=b"{}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_a_bug_in_a_replica_tells_nothing_but_the_id(serving_ray):
    from ray.exceptions import RayTaskError

    error = RayTaskError("answer", "a trace with secrets", ValueError("secret"))
    answer = asked(serving_ray, Replicas([error]), content=b"{}", headers={"x-request-id": "abc"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "abc" in answer.text and "secret" not in answer.text


def test_what_may_not_enter_reaches_no_replica(serving_ray):
    replicas = Replicas()
    settings = ClusterSettings(server=ServerSettings(api_key="12345678", max_upload_bytes=10))
    assert asked(serving_ray, replicas, settings=settings, content=b"{}").status_code == 401
    key = {"authorization": "Bearer 12345678"}
    assert asked(serving_ray, replicas, settings=settings, content=bytes(10**7), headers=key).status_code == 413
    assert replicas.calls == []


def test_counts_of_one_replica_are_not_told_as_those_of_all(serving_ray):
    assert asked(serving_ray, Replicas(), "GET", "/metrics").json()["error"]["code"] == "not_found"


FILES = {"image": ("a.png", png(), "image/png")}
ASKED_FOR: dict[str, tuple[dict[str, Any], str]] = {
    "in a form": ({"data": {"prompt": "x", "model": "bold"}, "files": FILES}, "bold"),
    "in JSON": ({"json": {"prompt": "x", "model": "bold"}}, "bold"),
    "in Ray's header": (
        {"data": {"prompt": "x"}, "files": FILES, "headers": {"serve_multiplexed_model_id": "b/c"}},
        "b/c",
    ),
    "by path": ({"method": "GET", "path": "/v1/models/b/c"}, "b/c"),
    "the base": ({"json": {"prompt": "x", "model": "toy"}}, ""),
    "a damaged form": ({"content": b"--x", "headers": {"content-type": "multipart/form-data"}}, ""),
    "damaged JSON": ({"content": b"{", "headers": {"content-type": "application/json"}}, ""),
    "nothing": ({"json": {"prompt": "x"}}, ""),
    "another page": ({"method": "GET", "path": "/bold"}, ""),
}


@pytest.mark.parametrize("how", ASKED_FOR)
def test_adapters_are_asked_for_by_name(serving_ray, how):
    request, name = ASKED_FOR[how]
    replicas = Replicas(GOOD)
    answer = asked(serving_ray, replicas, settings=ClusterSettings(adapters={"bold": "x", "b/c": "y"}), **request)
    assert answer.status_code == 200 and replicas.named[-1] == name
    if "files" in request:
        assert png() in replicas.calls[0].body


def test_leaving_an_answer_stops_the_app():
    ends: list[str] = []

    async def app(scope, receive, send):
        assert (await receive())["body"] == b"body"
        await send({"type": "first"})
        try:
            await receive()
        except asyncio.CancelledError:
            ends.append("stopped")
            raise

    async def leave() -> None:
        answer = messages(app, WholeRequest(scope={"type": "http"}, body=b"body"))
        assert (await anext(answer))["type"] == "first"
        await answer.aclose()

    asyncio.run(leave())
    assert ends == ["stopped"]


# Settings


def test_the_committed_config_is_one_that_serve_takes(serving_ray, monkeypatch, tmp_path):
    from ray.serve.schema import ServeDeploySchema

    yaml: Any = pytest.importorskip("yaml")
    text = Path(__file__).parents[1].joinpath("examples", "serve.yaml").read_text(encoding="utf-8")
    config = ServeDeploySchema(**yaml.safe_load(text))
    (application,) = config.applications
    assert application.import_path == "varedit.serving.ray:build"
    with pytest.raises(InputMissing, match="varedit-api-key"):
        serving_ray.build(application.args)
    (tmp_path / "key").write_text("a long enough key", encoding="utf-8")
    built = serving_ray.build({**application.args, "api_key_file": str(tmp_path / "key")})
    settings = built._bound_deployment.init_args[0]
    assert (settings.server.api_key, settings.server.host) == ("a long enough key", ANYWHERE)
    assert (settings.gpus, settings.max_replicas) == (1, 8)


BAD_ARGS: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({}, "0.0.0.0 can be reached from other machines"),
    "unknown": ({"modle": "x"}, "unknown key 'modle'"),
    "unknown of the server": ({"server": {"prot": 1}}, "unknown key 'prot'"),
    "a key in the file": ({"server": {"api_key": "12345678"}}, "unknown key 'api_key'"),
    "fewer at most than at least": ({"min_replicas": 3}, "max_replicas"),
    "no edits": ({"max_edits": 0}, "max_edits"),
}


@pytest.mark.parametrize("case", BAD_ARGS)
def test_a_bad_config_is_refused_with_a_sentence(case):
    args, part = BAD_ARGS[case]
    environment = {} if case == "no key" else {"VAREDIT_API_KEY": "12345678"}
    with pytest.raises(UsageError, match=part):
        ClusterSettings.of_file(args, environment)


@pytest.mark.parametrize(
    "options, part",
    [
        (["--replicas", "2"], "need --ray"),
        (["--ray", "--compile"], "--compile does not go with --ray"),
        (["--ray", "--host", "192.0.2.1"], "set VAREDIT_API_KEY"),
        (["--ray", "--adapter", "bold"], "NAME=FOLDER"),
    ],
)
@pytest.mark.usefixtures("serving_ray")  # imported before: a warning that Ray gives is no refusal
def test_bad_options_are_refused_with_a_sentence(options, part, monkeypatch):
    monkeypatch.delenv("VAREDIT_API_KEY", raising=False)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED", "RAY_BACKEND_LOG_LEVEL"):
        monkeypatch.setenv(name, "kept")  # what the command sets is taken back after the test
    result = CliRunner().invoke(cli, ["serve", *options], standalone_mode=False)
    assert result.return_value == 2 and part in result.stderr and result.stderr.count("\n") == 1


# A local Ray


@pytest.fixture(scope="module")
def bold(tmp_path_factory: pytest.TempPathFactory, toy: str) -> Path:
    """A folder of adapters of the toy model that change a lot."""
    from varedit.training.lora import add_adapters, save_adapters
    from varedit.training.recipe import LoraSettings

    settings = LoraSettings(rank=2, targets=("query_key_value",))
    transformer = toy_editor().transformer
    add_adapters(transformer, settings)
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    folder = tmp_path_factory.mktemp("adapters") / "bold"
    save_adapters(transformer, settings, Path(toy), folder)
    return folder


@contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    """`varedit serve --ray` and a client."""
    command = [sys.executable, "-m", "varedit", "serve", "--ray", "--device", "cpu", "--port", "0", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        lines: list[str] = []
        try:
            while (found := SAID.search(lines[-1] if lines else "")) is None:
                lines.append(process.stderr.readline())
                assert lines[-1], lines
            with httpx2.Client(base_url=found[1], timeout=120) as client:
                yield process, client
        finally:
            process.terminate()
            process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="replicas are found in /proc")
def test_a_local_ray_edits_as_the_pipeline_does_and_makes_a_lost_replica_good(toy, bold):
    """One test, so that one Ray is started, whatever runs tests in parallel."""
    options = ["-m", toy, "--replicas", "2", "--max-queue", "100", "--adapter", f"bold={bold}"]
    with serving(*options) as (process, client):
        check_answers(client)
        check_adapters(client, bold)
        check_a_killed_replica(process, client)
        cluster = descendants(process.pid)
        process.terminate()
        assert process.wait(60) == 0
        left(cluster)


def check_answers(client: httpx2.Client) -> None:
    assert client.get("/ready").json() == {"status": "ready", "model": "toy"}
    assert np.array_equal(edited(edit(client, 7)), expected(7))
    streamed = edit(client, 8, stream="true", partial_images="2")
    assert streamed.headers["content-type"].startswith("text/event-stream")
    told = events(streamed)
    assert [event["type"].rpartition(".")[2] for event in told] == ["partial_image", "partial_image", "completed"]
    assert np.array_equal(image(told[-1]), expected(8))
    bad = client.post("/v1/images/edits", data={"prompt": PROMPT}, files={"image": b"no image"})
    assert (bad.status_code, bad.json()["error"]["code"]) == (400, "invalid_image")
    assert client.get("/nothing").json()["error"]["code"] == "not_found"


def check_adapters(client: httpx2.Client, bold: Path) -> None:
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["toy", "bold"]
    assert client.get("/v1/models/bold").json()["id"] == "bold"
    editor = toy_editor()
    merge_adapters(editor.transformer, bold)
    bolder = np.asarray(VAREditPipeline(editor)(opened(png()), PROMPT, seed=7).images[0])
    assert not np.array_equal(bolder, expected(7)), "or it would not be seen which model has edited"
    answer = edit(client, 7, model="bold")
    assert answer.json()["model"] == "bold" and np.array_equal(edited(answer), bolder)
    assert np.array_equal(edited(edit(client, 7, model="toy")), expected(7))
    assert edit(client, 7, model="bald").json()["error"]["code"] == "model_not_found"


def check_a_killed_replica(process: subprocess.Popen[str], client: httpx2.Client) -> None:
    """Every request in flight gets its result or an error of ours; then there are as many replicas as before."""
    large = png(600, 400)  # so that all are under way when the replica goes
    before = replicas(process.pid)
    assert len(before) == 2
    with ThreadPoolExecutor(12) as callers:
        under_way = [callers.submit(edit, client, seed, large, stream=str(seed % 2 == 1).lower()) for seed in range(12)]
        wait(under_way, return_when=FIRST_COMPLETED)
        os.kill(before[0], signal.SIGKILL)
        killed = time.monotonic()
        answers = [each.result(timeout=120) for each in under_way]
    for seed, answer in enumerate(answers):
        check_answer_under_loss(answer, expected(seed, large))
    while len(set(replicas(process.pid)) - {before[0]}) < 2 or client.get("/ready").status_code != 200:
        assert time.monotonic() < killed + WHOLE_SECONDS, "the service is not whole again"
        time.sleep(0.1)
    assert np.array_equal(edited(edit(client, 7)), expected(7))


def check_answer_under_loss(answer: httpx2.Response, wanted: np.ndarray) -> None:
    if answer.headers["content-type"].startswith("text/event-stream"):
        last = events(answer)[-1]
        if last["type"] == "error":
            assert last["error"]["code"] == "not_ready"
        else:
            assert np.array_equal(image(last), wanted)
    elif answer.status_code == 200:
        assert np.array_equal(edited(answer), wanted)
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) in ((503, "not_ready"), (429, "queue_full"))


def edit(client: httpx2.Client, seed: int, picture: bytes | None = None, **more: str) -> httpx2.Response:
    fields = {"prompt": PROMPT, "seed": str(seed), **more}
    return client.post("/v1/images/edits", data=fields, files={"image": picture or png()})


def events(answer: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


def image(data: dict[str, Any]) -> np.ndarray:
    return np.asarray(opened(base64.b64decode(data["b64_json"])).convert("RGB"))


def edited(answer: httpx2.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return image(answer.json()["data"][0])


def expected(seed: int, picture: bytes | None = None) -> np.ndarray:
    return np.asarray(toy_pipeline()(opened(picture or png()), PROMPT, seed=seed).images[0])


def descendants(ancestor: int) -> dict[int, str]:
    """Processes that a process has started, and their titles."""
    parents: dict[int, int] = {}
    titles: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            titles[int(folder.name)] = (folder / "cmdline").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has just ended
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]
        if state != "Z":
            parents[int(folder.name)] = int(parent)
    found = {ancestor}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {child: titles.get(child, "") for child in found - {ancestor}}


def replicas(ancestor: int) -> list[int]:
    """Processes of replicas that hold a model."""
    return sorted(pid for pid, title in descendants(ancestor).items() if title.startswith(REPLICA))


def left(cluster: dict[int, str]) -> None:
    """See that the processes of a cluster end, which they do a moment after the command."""
    for _ in range(300):
        alive = {pid: title for pid, title in cluster.items() if Path(f"/proc/{pid}").exists()}
        if not alive:
            return
        time.sleep(0.1)
    raise AssertionError(alive)

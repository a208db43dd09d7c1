"""What stands around the edit endpoint: who may call, what every answer has, and what operators ask."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.served import Served, opened, png, served
from tests.toys import toy_pipeline
from varedit import __version__
from varedit.errors import UsageError
from varedit.generation import Generation
from varedit.serving.service import preview_scales
from varedit.serving.settings import ServerSettings

EDITS = "/v1/images/edits"
PROMPT = "make it warmer"


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(max_upload_bytes=2**20) as running:
        yield running


@pytest.fixture(scope="module")
def http(server) -> Iterator[httpx2.Client]:
    with server.http() as client:
        yield client


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def as_json(http: httpx2.Client, **fields: Any) -> httpx2.Response:
    body = {"images": [{"image_url": data_url(png())}], "prompt": PROMPT, "seed": 7} | fields
    return http.post(EDITS, content=json.dumps(body), headers={"content-type": "application/json"})


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", answer.headers["x-request-id"])
    return dict(error)


# The JSON form


def test_the_json_form_gives_what_the_pipeline_gives(http):
    answer = as_json(http, n=1, mask={"image_url": data_url(png())}, metadata=False, partial_images=None)
    assert answer.status_code == 200
    result = np.asarray(opened(base64.b64decode(answer.json()["data"][0]["b64_json"])))
    alone = toy_pipeline()(png(), PROMPT, seed=7, mask=opened(png())).images[0]
    assert np.array_equal(result, np.asarray(alone))


BAD_JSON: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "no images": ({"images": []}, "image", "missing_required_parameter"),
    "images of no list": ({"images": "x"}, "images", "invalid_value"),
    "a file id": ({"images": [{"file_id": "x"}]}, "images", "unsupported_parameter"),
    "an address": ({"images": [{"image_url": "https://example.com/a.png"}]}, "images", "unsupported_parameter"),
    "no base64": ({"images": [{"image_url": "data:image/png;base64,%%%"}]}, "images", "invalid_value"),
    "letters beyond ASCII": ({"images": [{"image_url": "data:image/png;base64,é"}]}, "images", "invalid_value"),
    "a data URL without data": ({"images": [{"image_url": "data:image/png"}]}, "images", "invalid_value"),
    "no prompt": ({"prompt": None}, "prompt", "missing_required_parameter"),
    "a prompt that is no text": ({"prompt": 5}, "prompt", "invalid_value"),
    "half a character": ({"prompt": "\ud800"}, "prompt", "invalid_value"),
    "n is a boolean": ({"n": True}, "n", "invalid_value"),
    "n is a fraction": ({"n": 1.5}, "n", "invalid_value"),
    "a negative seed": ({"seed": -1}, "seed", "invalid_value"),
    "a seed beyond 63 bits": ({"seed": 2**63}, "seed", "invalid_value"),
    "guidance beyond all bounds": ({"guidance_scale": 10**400}, "guidance_scale", "invalid_value"),
    "guidance too large": ({"guidance_scale": 31}, "guidance_scale", "invalid_value"),
    "temperature of nothing": ({"temperature": 0}, "temperature", "invalid_value"),
    "a list as format": ({"output_format": ["png"]}, "output_format", "invalid_value"),
    "an object as model": ({"model": {}}, "model", "invalid_value"),
    "frames": ({"frame_count": 2}, "frame_count", "unsupported_parameter"),
    "a long side": ({"size": "64x4097"}, "size", "invalid_value"),
    "a thin size": ({"size": "64x512"}, "size", "invalid_value"),
    "previews beyond the scales": ({"stream": True, "partial_images": 5}, "partial_images", "invalid_value"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json_is_told_with_its_parameter(http, case):
    fields, param, code = BAD_JSON[case]
    answer = as_json(http, **fields)
    error = error_of(answer)
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"n": NaN}', b"[" * 100_000, b"\xff", b'{"n": 1' + b"0" * 5000])
def test_what_is_no_json_object_is_a_bad_request(http, body):
    answer = http.post(EDITS, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and error_of(answer)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"x", "text/plain", 415),
        (b"x", "multipart/form-data", 400),
        (b"rubbish", "multipart/form-data; boundary=x", 400),
        (b"".join(b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n1\r\n' % n for n in range(99)), "", 400),
        (b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + b"y" * 70000 + b"\r\n--x--\r\n", "", 400),
    ],
)
def test_a_body_of_the_wrong_kind_is_told(http, body, kind, status):
    answer = http.post(EDITS, content=body, headers={"content-type": kind or "multipart/form-data; boundary=x"})
    assert answer.status_code == status
    error_of(answer)


def test_compressed_bodies_are_refused(http):
    answer = http.post(EDITS, content=b"x", headers={"content-encoding": "gzip", "content-type": "application/json"})
    assert answer.status_code == 415 and error_of(answer)["code"] == "unsupported_media_type"


def test_unknown_parameters_are_named_and_cannot_reach_into_the_headers(http):
    answer = as_json(http, surprise=1, **{"bad\r\nSet-Cookie: a=b": 1, "\ud800": 2})
    assert answer.status_code == 200
    assert answer.headers["x-varedit-ignored"] == "surprise" and "set-cookie" not in answer.headers


def test_transparency_is_kept_where_the_format_has_it(http):
    image = opened(png()).convert("RGBA")
    image.putpixel((3, 4), (9, 9, 9, 0))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    reference = {"images": [{"image_url": data_url(buffer.getvalue())}]}
    kept = as_json(http, **reference, background="transparent").json()
    result = opened(base64.b64decode(kept["data"][0]["b64_json"]))
    assert kept["background"] == "transparent" and np.asarray(result)[4, 3, 3] == 0
    flat = as_json(http, **reference, output_format="jpeg").json()
    assert flat["background"] == "opaque" and opened(base64.b64decode(flat["data"][0]["b64_json"])).mode == "RGB"


# Who may call


def test_pages_of_other_sites_are_refused(http, server):
    for origin in ("http://evil.example", "null", f"{server.url}.evil.example"):
        answer = http.post(EDITS, headers={"origin": origin})
        assert (answer.status_code, error_of(answer)["code"]) == (403, "forbidden_origin")
    assert http.post(EDITS, headers={"origin": server.url}).status_code == 415  # its own page gets further


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1", "a b"])
def test_names_that_the_server_does_not_have_are_refused(http, host):
    answer = http.get("/v1/models", headers={"host": host})
    assert answer.status_code in (400, 403)  # 400: the web server's own word for a header that is none


def test_its_own_names_are_taken(http):
    for host in ("localhost", "LOCALHOST:81", "127.0.0.1:9", "[::1]:80"):
        assert http.get("/v1/models", headers={"host": host}).status_code == 200


def test_other_sites_may_be_allowed():
    with served(cors_origins=("https://friend.example",)) as running, running.http() as client:
        asked = {"origin": "https://friend.example", "access-control-request-method": "POST"}
        assert client.options(EDITS, headers=asked).headers["access-control-allow-origin"] == asked["origin"]
        assert client.post(EDITS, headers={"origin": "https://friend.example"}).status_code == 415
        assert client.post(EDITS, headers={"origin": "https://evil.example"}).status_code == 403


def test_addresses_that_others_reach_need_a_key_or_a_word():
    with pytest.raises(UsageError, match="--no-auth"):
        ServerSettings(host="192.0.2.1")
    assert ServerSettings(host="192.0.2.1", no_auth=True).hosts is None
    assert ServerSettings(host="192.0.2.1", api_key="long enough").hosts is None
    assert ServerSettings(host="::1").is_loopback and ServerSettings(host="127.8.9.1").is_loopback


# Every answer


def test_every_answer_has_its_headers(http):
    for path in ("/", "/health", "/v1/models", "/nowhere"):
        headers = http.get(path, headers={"x-request-id": "mine-1"}).headers
        assert headers["x-request-id"] == "mine-1"
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'self'" in policy
    odd = http.get("/health", headers={"x-request-id": "a\tb"}).headers["x-request-id"]
    assert odd.startswith("req_")


def test_wrong_ways_have_the_same_body(http):
    missing = http.get("/v1/nowhere")
    assert (missing.status_code, error_of(missing)["code"]) == (404, "not_found")
    wrong = http.get(EDITS)
    assert (wrong.status_code, error_of(wrong)["code"]) == (405, "method_not_allowed")


# Operators


def test_health_version_and_metrics(http):
    assert http.get("/health").json() == http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/version").json() == {"version": __version__}
    as_json(http, stream=True, partial_images=1).read()
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    numbers = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert float(numbers['varedit_edits_total{outcome="finished"}']) >= 1
    assert float(numbers['varedit_requests_total{endpoint="/version",status="200"}']) >= 1
    assert numbers["varedit_queue_depth"] == numbers["varedit_active_edits"] == "0.0"
    assert float(numbers["varedit_edit_seconds_count"]) >= 1
    assert float(numbers['varedit_scale_seconds_count{scale="4"}']) >= 1
    assert float(numbers["varedit_time_to_first_preview_seconds_count"]) >= 1
    assert numbers[f'varedit_build_info{{version="{__version__}"}}'] == "1.0"
    assert PROMPT not in answer.text


def test_readiness_is_a_real_edit(server, http, monkeypatch):
    service = server.server.service
    monkeypatch.setattr(service, "_proof", None)
    drawn = server.engine.state().outcomes["finished"]
    assert http.get("/ready").json() == {"status": "ready", "model": "toy"}
    assert server.engine.state().outcomes["finished"] == drawn + 1
    http.get("/ready")
    assert server.engine.state().outcomes["finished"] == drawn + 1  # the proof still holds

    def broken(generation: Generation) -> Any:
        raise UsageError("the model is broken")

    monkeypatch.setattr(Generation, "__next__", broken)
    monkeypatch.setattr(service, "_proof", None)
    answer = http.get("/ready")
    assert (answer.status_code, error_of(answer)["code"]) == (503, "not_ready")
    assert http.get("/health").status_code == 200


def test_strict_servers_refuse_what_they_do_not_know():
    with served(strict=True, docs=False) as running, running.http() as client:
        assert error_of(as_json(client, surprise=1))["code"] == "unsupported_parameter"
        assert client.get("/docs").status_code == 404


# Previews


def test_previews_are_spread_evenly_in_cost():
    assert preview_scales((1, 4, 9, 25), 0) == frozenset()
    assert preview_scales((1, 4, 9, 25), 1) == {2}
    assert preview_scales((1, 4, 9, 25), 2) == {1, 2}
    assert preview_scales((1, 4, 9, 25), 9) == {0, 1, 2}
    lengths = (1, 4, 16, 36, 64, 144, 256, 400, 576, 1024)
    assert preview_scales(lengths, 3) == {6, 7, 8}

"""The official client of the field's API, unmodified, against our server."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import openai
import pytest

from tests.served import Served, opened, png, served
from tests.toys import toy_pipeline
from varedit.generation import Generation
from varedit.requests import derived_seed

PROMPT = "make it warmer"
KEY = "a-key-of-the-tests"


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(max_queue=4, max_upload_bytes=2**20, model_aliases=("gpt-image-2",)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with server.openai() as found:
        yield found


def pixels(item: Any) -> np.ndarray:
    """Of one result of the client."""
    return np.asarray(opened(base64.b64decode(item.b64_json)).convert("RGB"))


def alone(**settings: Any) -> np.ndarray:
    return np.asarray(toy_pipeline()(opened(png()), PROMPT, **settings).images[0])


def edited(client: openai.OpenAI, **more: Any) -> Any:
    extra = {"seed": 7} | more.pop("extra_body", {})
    return client.images.edit(**{"image": png(), "prompt": PROMPT, "extra_body": extra} | more)


def test_one_image(client):
    answer = edited(client)
    assert np.array_equal(pixels(answer.data[0]), alone(seed=7))
    assert (answer.size, answer.output_format, answer.background) == ("40x40", "png", "opaque")
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.usage.output_tokens == 1 + 4 + 9 + 25
    assert answer.model_extra["seeds"] == [7] and answer.model_extra["model"] == "toy"
    assert answer._request_id.startswith("req_")


def test_a_list_of_one_image_and_a_file(client):
    assert np.array_equal(pixels(edited(client, image=[png()]).data[0]), alone(seed=7))
    assert np.array_equal(pixels(edited(client, image=("my.png", io.BytesIO(png()))).data[0]), alone(seed=7))


def test_several_results_are_those_of_their_seeds(client):
    answer = edited(client, n=2)
    assert answer.model_extra["seeds"] == [7, derived_seed(7, 1)]
    for item, seed in zip(answer.data, answer.model_extra["seeds"], strict=True):
        assert np.array_equal(pixels(item), alone(seed=seed))


def test_a_mask_keeps_what_it_covers(client):
    hole = opened(png()).convert("RGBA")
    hole.paste((0, 0, 0, 0), (10, 10, 30, 30))
    buffer = io.BytesIO()
    hole.save(buffer, "PNG")
    result, source = pixels(edited(client, mask=buffer.getvalue()).data[0]), np.asarray(opened(png()))
    changed = (result != source).any(axis=2)
    assert changed[10:30, 10:30].any()
    changed[10:30, 10:30] = False
    assert not changed.any()


def test_formats_sizes_and_our_own_settings(client):
    answer = edited(
        client,
        output_format="jpeg",
        output_compression=50,
        size="64x96",
        quality="high",
        user="somebody",
        model="gpt-image-2",
        extra_body={"guidance_scale": 1.5, "temperature": 0.4, "num_inference_steps": 50, "surprise": "x"},
    )
    image = opened(base64.b64decode(answer.data[0].b64_json))
    assert (image.format, image.size, answer.size) == ("JPEG", (64, 96), "64x96")
    other = edited(client, extra_body={"guidance_scale": 1.5, "temperature": 0.4})
    assert np.array_equal(pixels(other.data[0]), alone(seed=7, guidance_scale=1.5, temperature=0.4))
    raw = client.images.with_raw_response.edit(image=png(), prompt=PROMPT, user="x", extra_body={"surprise": "x"})
    assert raw.headers["x-varedit-ignored"] == "user, surprise"


def test_streaming_shows_previews_before_the_result(client):
    events = list(edited(client, stream=True, partial_images=2))
    assert [event.type for event in events] == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert [event.model_extra["scale"] for event in events[:2]] == [2, 3]  # even in cost: 4 and 14 of 39 tokens
    assert np.array_equal(pixels(events[-1]), alone(seed=7))
    assert events[-1].usage.output_tokens == 39
    for event in events:
        assert (event.size, event.output_format, event.background) == ("40x40", "png", "opaque")
        assert event.quality == "auto" and event.created_at > 1_000_000_000


def test_streaming_several_images_completes_each(client):
    events = list(edited(client, n=2, stream=True))
    seeds = {event.model_extra["image_index"]: event.model_extra["seed"] for event in events}
    assert len(events) == 2 and seeds == {0: 7, 1: derived_seed(7, 1)}


def test_models(client):
    assert [model.id for model in client.models.list()] == ["toy", "gpt-image-2"]
    assert client.models.retrieve("toy").owned_by == "varedit"


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no picture": ({"image": b"this is no picture"}, "image", "invalid_image"),
    "cut": ({"image": png()[:200]}, "image", "invalid_image"),
    "two pictures": ({"image": [png(), png()]}, "image", "too_many_images"),
    "blank prompt": ({"prompt": "  "}, "prompt", "invalid_value"),
    "long prompt": ({"prompt": "x" * 2001}, "prompt", "prompt_too_long"),
    "n": ({"n": 11}, "n", "invalid_value"),
    "size": ({"size": "10x10"}, "size", "invalid_value"),
    "format": ({"output_format": "gif"}, "output_format", "invalid_value"),
    "seed": ({"extra_body": {"seed": "7abc"}}, "seed", "invalid_value"),
    "guidance": ({"extra_body": {"guidance_scale": "nan"}}, "guidance_scale", "invalid_value"),
    "mask of another size": ({"mask": png(20, 20)}, "mask", "invalid_mask"),
    "addresses": ({"response_format": "url"}, "response_format", "unsupported_parameter"),
    "transparency": ({"background": "transparent"}, "background", "invalid_value"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_bad_request(client, case):
    arguments, param, code = BAD[case]
    with pytest.raises(openai.BadRequestError) as told:
        edited(client, **arguments)
    assert (told.value.param, told.value.code, told.value.type) == (param, code, "invalid_request_error")
    assert told.value.request_id is not None


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as told:
        edited(client, model="gpt-image-9")
    assert told.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-image-9")


def test_a_large_upload_is_refused_whether_its_length_is_told_or_not(client, server):
    with pytest.raises(openai.APIStatusError) as told:
        edited(client, image=bytes(12 * 2**20))
    assert (told.value.status_code, told.value.code) == (413, "request_too_large")
    with pytest.raises(openai.APIStatusError) as told:
        edited(client, image=bytes(2**20 + 1))
    assert told.value.status_code == 413
    with server.http() as http:
        answer = http.post("/v1/images/edits", content=endless_form(), headers=FORM)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


FORM = {"content-type": "multipart/form-data; boundary=x"}


def endless_form() -> Iterator[bytes]:
    """A form whose length is not told beforehand."""
    yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    for _ in range(200):
        yield bytes(2**16)


def test_a_key_is_asked_for():
    with served(api_key=KEY) as running:
        for key in ("wrong", KEY[:-1]):
            with running.openai(key) as wrong, pytest.raises(openai.AuthenticationError) as told:
                edited(wrong)
            assert told.value.code == "invalid_api_key"
        with running.openai(KEY) as right:
            assert edited(right).data
        with running.http() as http:
            answers = {path: http.get(path).status_code for path in ("/health", "/ready", "/metrics", "/v1/models")}
        assert answers == {"/health": 200, "/ready": 200, "/metrics": 401, "/v1/models": 401}


class Held:
    """Keeps the model from drawing until it is released, or lets one scale fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_draw = threading.Event()
        self.is_drawing = threading.Event()
        draw = Generation.__next__

        def held(generation: Generation) -> Any:
            self.is_drawing.set()
            assert self.may_draw.wait(60)
            return draw(generation)

        monkeypatch.setattr(Generation, "__next__", held)


def test_a_full_queue_is_told_and_the_client_comes_back(client, server, monkeypatch):
    held = Held(monkeypatch)
    callers = [threading.Thread(target=edited, args=(client,))]
    callers += [threading.Thread(target=edited, args=(client,), kwargs={"n": count}) for count in (1, 3)]
    try:
        callers[0].start()
        assert held.is_drawing.wait(60)
        for caller in callers[1:]:
            caller.start()
        while server.engine.state().waiting < 4:
            assert all(caller.is_alive() for caller in callers)
            time.sleep(0.01)
        with pytest.raises(openai.RateLimitError) as told:
            edited(client)
        assert told.value.code == "queue_full"
        assert 1 <= int(told.value.response.headers["retry-after"]) <= 60
        threading.Timer(0.2, held.may_draw.set).start()
        with server.openai(max_retries=5) as patient:
            assert edited(patient).data
    finally:
        held.may_draw.set()
        for caller in callers:
            caller.join(60)


def test_a_failure_in_mid_stream_is_an_error_of_the_client(client, monkeypatch):
    draw = Generation.__next__

    def failing(generation: Generation) -> Any:
        if generation.cache.next_scale == 3:
            raise RuntimeError("a secret of the inside")
        return draw(generation)

    monkeypatch.setattr(Generation, "__next__", failing)
    seen = []
    with pytest.raises(openai.APIError) as told:
        for event in edited(client, stream=True, partial_images=2):
            seen.append(event.type)
    assert seen == ["image_edit.partial_image"] * 2
    assert told.value.code == "internal_error" and "secret" not in str(told.value)
    with pytest.raises(openai.InternalServerError) as whole:
        edited(client)
    assert whole.value.response.headers["x-should-retry"] == "false"
    assert str(whole.value.request_id) in whole.value.message


def test_a_deadline_ends_an_edit(client, server, monkeypatch):
    held = Held(monkeypatch)
    threading.Timer(0.3, held.may_draw.set).start()
    with pytest.raises(openai.InternalServerError) as told:
        edited(client, extra_body={"deadline_ms": 100})
    assert (told.value.status_code, told.value.code) == (504, "deadline_exceeded")


def patient(is_so: Callable[[], bool]) -> None:
    """Wait for something, but not for ever."""
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come about within 30 s")


@pytest.mark.parametrize("stream", [False, True])
def test_an_edit_stops_when_its_client_goes_away(server, monkeypatch, stream):
    held = Held(monkeypatch)
    before = server.engine.state().outcomes["cancelled"]
    with server.openai(timeout=2) as hasty, pytest.raises(openai.APITimeoutError):
        list(edited(hasty, stream=stream))
    patient(lambda: all(edit.is_cancelled for edit in set(server.engine._unfinished)))  # told, while the model waits
    held.may_draw.set()
    patient(lambda: server.engine.state().outcomes["cancelled"] > before)

"""The ComfyUI pack against a stub of ComfyUI: layouts, ranges, sizes, progress, interruption, both registrations."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.comfy_stub import InterruptProcessingException, Seen, comfy_modules
from tests.toys import CONFIG, picture, toy_pipeline
from varedit.images import read_image
from varedit.output import encode_image

PACK = Path(__file__).parents[1] / "integrations" / "comfyui"
NUM_SCALES = CONFIG.num_scales
NODES = {"VAREditLoad": "Load VAREdit", "VAREditEdit": "VAREdit Edit", "VAREditEditByServer": "VAREdit Edit by Server"}
OWN = {"seed": 4, "guidance": 0.0, "temperature": 0.0, "width": 0, "height": 0}


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seen: Seen) -> Callable[..., Any]:
    """Imports the pack as ComfyUI does, from its folder."""

    def loaded(*, has_api: bool) -> Any:
        for name, module in comfy_modules(tmp_path / "models", seen, has_api=has_api).items():
            monkeypatch.setitem(sys.modules, name, module)
        for name in [name for name in sys.modules if name.startswith("comfyui_varedit")]:
            monkeypatch.delitem(sys.modules, name)
        spec = importlib.util.spec_from_file_location(
            "comfyui_varedit", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "comfyui_varedit", module)
        spec.loader.exec_module(module)
        return module

    return loaded


def new_nodes(pack: Any) -> dict[str, Any]:
    """Node classes by their id."""
    extension = asyncio.run(pack.comfy_entrypoint())
    return {node.define_schema().node_id: node for node in asyncio.run(extension.get_node_list())}


def images(*sizes: tuple[int, int], channels: int = 3) -> torch.Tensor:
    """IMAGE (B, H, W, C)."""
    arrays = [np.asarray(picture(*size, seed)).astype(np.float32) / 255 for seed, size in enumerate(sizes)]
    batch = torch.from_numpy(np.stack(arrays))
    return torch.cat((batch, torch.full((*batch.shape[:3], channels - 3), 0.3)), dim=3)


# Registration


def test_the_present_schema_is_used_where_there_is_one_and_the_old_one_elsewhere(load):
    new = load(has_api=True)
    assert not hasattr(new, "NODE_CLASS_MAPPINGS")
    schemas = {name: node.define_schema() for name, node in new_nodes(new).items()}
    assert {name: schema.display_name for name, schema in schemas.items()} == NODES
    old = load(has_api=False)
    assert not hasattr(old, "comfy_entrypoint")
    assert old.NODE_DISPLAY_NAME_MAPPINGS == NODES and set(old.NODE_CLASS_MAPPINGS) == set(NODES)
    for name, node in old.NODE_CLASS_MAPPINGS.items():
        kinds = node.INPUT_TYPES()
        inputs = kinds["required"] | kinds.get("optional", {})
        assert list(inputs) == [slot.id for slot in schemas[name].inputs]
        assert callable(getattr(node(), node.FUNCTION)) and schemas[name].category == node.CATEGORY
        assert list(node.RETURN_TYPES) == [slot.kind for slot in schemas[name].outputs]
        for slot in schemas[name].inputs:
            options = inputs[slot.id][1] if len(inputs[slot.id]) > 1 else {}
            given = {key: value for key, value in slot.options.items() if key not in ("optional", "options")}
            assert given == options, f"{name}.{slot.id}"
            assert slot.options.get("optional", False) == (slot.id in kinds.get("optional", {}))


def test_the_example_workflow_uses_nodes_and_inputs_that_exist(load):
    nodes = load(has_api=False).NODE_CLASS_MAPPINGS
    workflow = json.loads((PACK / "workflow.json").read_text())
    ours = {key: step for key, step in workflow.items() if step["class_type"] in nodes}
    assert {step["class_type"] for step in ours.values()} == {"VAREditLoad", "VAREditEdit"}
    for step in ours.values():
        assert set(step["inputs"]) == set(nodes[step["class_type"]].INPUT_TYPES()["required"])
    for step in workflow.values():
        for value in step["inputs"].values():
            assert not isinstance(value, list) or value[0] in workflow


# Loading


def test_models_below_comfyuis_folder_are_offered_and_loaded(load, seen, tmp_path):
    toy_pipeline().save_pretrained(tmp_path / "models" / "varedit" / "my toy")
    (tmp_path / "models" / "varedit" / "no model").mkdir()
    node = new_nodes(load(has_api=True))["VAREditLoad"]
    names = next(slot for slot in node.define_schema().inputs if slot.id == "model").options["options"]
    assert names == ["mini", "my toy"]
    (loaded,) = node.execute("my toy", "", "float32").result
    assert loaded.config.name == "toy" and seen.unloaded == 1
    (embedded,) = node.execute("mini", "", "auto").result
    assert embedded.config.name == "mini"


# Editing here


@pytest.mark.parametrize("has_api", [True, False])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_batch_goes_in_and_comes_out_with_layout_range_and_size(load, seen, has_api, channels):
    pipeline = toy_pipeline()
    batch = images((41, 36), (41, 36), channels=channels)
    pack = load(has_api=has_api)
    if has_api:
        (result,) = new_nodes(pack)["VAREditEdit"].execute(pipeline, batch, "a lot warmer", **OWN).result
    else:
        (result,) = pack.NODE_CLASS_MAPPINGS["VAREditEdit"]().edit(pipeline, batch, "a lot warmer", **OWN)
    assert result.shape == (2, 36, 41, 3) and result.dtype == torch.float32
    assert result.min() >= 0 and result.max() <= 1
    pictures = [picture(41, 36, seed) for seed in range(2)]
    expected = pipeline(pictures, "a lot warmer", seed=4, output_type="pt").images.permute(0, 2, 3, 1)
    assert torch.equal(result, expected)
    assert not torch.equal(result, batch[..., :3])
    assert seen.progress == [(scale, NUM_SCALES) for scale in range(1, NUM_SCALES + 1)]
    assert all(kind == "JPEG" and isinstance(image, Image.Image) and side == 512 for kind, image, side in seen.previews)
    assert seen.emptied == 1


def test_settings_reach_the_pipeline_and_zero_is_the_models_own(load):
    pipeline = toy_pipeline()
    node = new_nodes(load(has_api=True))["VAREditEdit"]
    settings = {"seed": 9, "guidance": 4.0, "temperature": 1.5, "width": 60, "height": 50}
    (result,) = node.execute(pipeline, images((41, 36)), "warmer", **settings).result
    expected = pipeline(
        picture(41, 36), "warmer", seed=9, guidance_scale=4.0, temperature=1.5, width=60, height=50, output_type="np"
    )
    assert np.array_equal(result.numpy(), expected.images)


@pytest.mark.parametrize("size", [{}, {"width": 20, "height": 18}])
def test_the_mask_says_where_the_picture_may_change(load, size):
    node = new_nodes(load(has_api=True))["VAREditEdit"]
    mask = torch.zeros(1, 36, 40)
    mask[:, :, 20:] = 1
    batch = images((40, 36), (40, 36))
    (result,) = node.execute(toy_pipeline(), batch, "warmer", **{**OWN, **size}, mask=mask).result
    width, height = size.get("width", 40), size.get("height", 36)
    sources = [picture(40, 36, seed).resize((width, height), Image.Resampling.LANCZOS) for seed in range(2)]
    expected = torch.from_numpy(np.stack([np.asarray(source) for source in sources]).astype(np.float32) / 255)
    edge = width // 2
    assert result.shape == expected.shape
    assert torch.equal(result[:, :, : edge - 1], expected[:, :, : edge - 1])
    assert not torch.equal(result[:, :, edge + 1 :], expected[:, :, edge + 1 :])


def test_cancel_stops_before_the_next_scale(load, seen):
    seen.interrupt_after = 2
    node = new_nodes(load(has_api=True))["VAREditEdit"]
    with pytest.raises(InterruptProcessingException):
        node.execute(toy_pipeline(), images((41, 36)), "warmer", **OWN)
    assert seen.progress == [(1, NUM_SCALES), (2, NUM_SCALES)] and seen.emptied == 1


# Editing by a server


class Server(BaseHTTPRequestHandler):
    """Inverts what it is sent; keeps what it was asked."""

    asked: list[dict[str, Any]] = []  # noqa: RUF012  # emptied by the fixture
    refusal: tuple[int, bytes] | None = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
        content: dict[Any, Any] = {name: part.get_payload(decode=True) for name, part in parts.items()}
        Server.asked.append({"path": self.path, "key": self.headers["Authorization"], **content})
        if Server.refusal is not None:
            status, answer = Server.refusal
        else:
            inverted = encode_image(255 - read_image(content["image"]).rgb, "PNG", provenance=None)
            status, answer = 200, json.dumps({"data": [{"b64_json": base64.b64encode(inverted).decode()}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def address() -> Iterator[str]:
    Server.asked, Server.refusal = [], None
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_edits_every_image_of_the_batch(load, seen, address, monkeypatch):
    monkeypatch.setenv("VAREDIT_API_KEY", "secret")
    node = new_nodes(load(has_api=True))["VAREditEditByServer"]
    batch = images((41, 36), (41, 36), channels=4)
    settings = {"seed": 9, "guidance": 4.0, "temperature": 0.0, "width": 60, "height": 50}
    (result,) = node.execute(f"{address}/", batch, "wärmer", **settings).result
    assert torch.equal((result * 255).round(), ((1 - batch[..., :3]) * 255).round())
    assert seen.progress == [(1, 2), (2, 2)]
    first = Server.asked[0]
    assert (first["path"], first["key"]) == ("/v1/images/edits", "Bearer secret")
    assert first["prompt"].decode() == "wärmer" and "temperature" not in first and "mask" not in first
    assert (first["seed"], first["guidance_scale"], first["size"]) == (b"9", b"4.0", b"60x50")
    assert np.array_equal(read_image(first["image"]).rgb, np.asarray(picture(41, 36, 0)))


def test_the_servers_mask_is_transparent_where_to_edit(load, address, monkeypatch):
    monkeypatch.delenv("VAREDIT_API_KEY", raising=False)
    node = new_nodes(load(has_api=True))["VAREditEditByServer"]
    mask = torch.zeros(1, 36, 41)
    mask[:, 5:, :7] = 1
    node.execute(address, images((41, 36), (41, 36)), "warmer", **OWN, mask=mask)
    assert len(Server.asked) == 2
    for asked in Server.asked:
        assert asked["key"] is None and "size" not in asked
        alpha = read_image(asked["mask"]).alpha
        assert alpha is not None
        assert np.array_equal(alpha == 0, mask[0].numpy() == 1) and set(np.unique(alpha)) == {0, 255}


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        ((429, b'{"error": {"message": "The queue is full."}}'), r"refused the edit \(429\): The queue is full"),
        ((500, b"<html>"), r"refused the edit \(500\)"),
        ((200, b"<html>"), "sent no picture"),
        ((200, b'{"data": []}'), "sent no picture"),
        ((200, b'{"data": [{"b64_json": "?"}]}'), "sent no picture"),
    ],
)
def test_what_the_server_says_is_one_sentence(load, address, refusal, sentence):
    Server.refusal = refusal
    node = new_nodes(load(has_api=True))["VAREditEditByServer"]
    with pytest.raises(RuntimeError, match=sentence):
        node.execute(address, images((9, 9)), "warmer", **OWN)


def test_an_address_that_is_none_is_refused_and_a_silent_one_told(load):
    node = new_nodes(load(has_api=True))["VAREditEditByServer"]
    with pytest.raises(RuntimeError, match="begins with http"):
        node.execute("file:///etc/passwd", images((9, 9)), "warmer", **OWN)
    with pytest.raises(RuntimeError, match="cannot be reached"):
        node.execute("http://127.0.0.1:9", images((9, 9)), "warmer", **OWN)


def test_cancel_stops_between_the_images(load, seen, address):
    seen.interrupt_after = 1
    node = new_nodes(load(has_api=True))["VAREditEditByServer"]
    with pytest.raises(InterruptProcessingException):
        node.execute(address, images((9, 9), (9, 9)), "warmer", **OWN)
    assert len(Server.asked) == 1

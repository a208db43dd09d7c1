"""A model goes up to the hub whole, as a folder that can be read again, or one sentence says why it does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError

from tests.toys import picture, toy_pipeline
from varedit.errors import ModelError
from varedit.pipeline import VAREditPipeline


class FakeHub:
    """Keeps what it is told; fails with ``error`` where that is set."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error: Exception | None = None
        self.pushed: VAREditPipeline | None = None

    def __call__(self, *, token: str | None) -> FakeHub:
        self.calls.append(("login", {"token": token}))
        return self

    def create_repo(self, repository: str, **settings: Any) -> None:
        if self.error is not None:
            raise self.error
        self.calls.append(("create_repo", {"repository": repository, **settings}))

    def create_branch(self, repository: str, **settings: Any) -> None:
        self.calls.append(("create_branch", {"repository": repository, **settings}))

    def upload_folder(self, *, folder_path: Path, **settings: Any) -> SimpleNamespace:
        self.pushed = VAREditPipeline.from_pretrained(folder_path)
        self.calls.append(("upload_folder", settings))
        return SimpleNamespace(commit_url="https://hub.example/owner/name/commit/1")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    hub = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", hub)
    return hub


def test_what_is_pushed_is_a_folder_that_edits_alike(hub: FakeHub):
    pipeline = toy_pipeline()
    address = pipeline.push_to_hub("owner/name", token="", private=True)
    assert address == "https://hub.example/owner/name/commit/1"
    assert hub.calls == [
        ("login", {"token": ""}),
        ("create_repo", {"repository": "owner/name", "private": True, "exist_ok": True}),
        (
            "upload_folder",
            {"repo_id": "owner/name", "revision": None, "commit_message": "Upload a model of varedit"},
        ),
    ]
    assert hub.pushed is not None
    results = [each(picture(20, 20), "warmer", seed=1).images[0].tobytes() for each in (pipeline, hub.pushed)]
    assert results[0] == results[1]


def test_a_branch_is_made_where_one_is_named(hub: FakeHub):
    toy_pipeline().push_to_hub("owner/name", revision="v2", message="second")
    assert ("create_branch", {"repository": "owner/name", "branch": "v2", "exist_ok": True}) in hub.calls
    assert hub.calls[-1][1] == {"repo_id": "owner/name", "revision": "v2", "commit_message": "second"}


@dataclass
class Refusal(Exception):
    """An answer of the hub, as its client passes it on."""

    response: SimpleNamespace


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (HFValidationError("no"), "owner/name is not a valid hub name"),
        (LocalTokenNotFoundError("no"), "the hub takes models from people it knows; log in with: hf auth login"),
        (
            Refusal(SimpleNamespace(status_code=403)),
            "the hub does not let you write to owner/name; log in with a token that may: hf auth login",
        ),
        (OSError("no route\nto the host"), "owner/name could not be pushed: no route"),
    ],
    ids=["name", "nobody", "no right", "no network"],
)
def test_a_push_that_fails_says_why(hub: FakeHub, error: Exception, sentence: str):
    hub.error = error
    with pytest.raises(ModelError) as raised:
        toy_pipeline().push_to_hub("owner/name")
    assert str(raised.value) == sentence


def test_a_name_without_an_owner_goes_nowhere(hub: FakeHub):
    with pytest.raises(ModelError, match="name is not a hub name such as owner/name"):
        toy_pipeline().push_to_hub("name")
    assert not hub.calls

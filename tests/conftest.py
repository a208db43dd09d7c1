"""What every test gets: no network, reproducible properties, a fair share of the cores, and the golden vectors."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one worker a core; read when torch is imported

import hypothesis
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests come first, so that what is left at the end can be shared evenly among the workers."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections lead to this machine or to an error that names the address."""
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The folder of vectors of the released implementation; VAREDIT_GOLDEN_DIR names another one."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "golden"
    folder = Path(os.environ.get("VAREDIT_GOLDEN_DIR", beside))
    if not folder.is_dir():
        pytest.skip(f"there are no golden vectors in {folder}; VAREDIT_GOLDEN_DIR can name their folder")
    return folder


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a toy model."""
    from tests.toys import toy_pipeline

    folder = tmp_path_factory.mktemp("model") / "toy"
    toy_pipeline().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for the tests of one module, see `tests.browser`."""
    from tests.browser import running_chromium

    with running_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """An empty page that fails the test on any complaint."""
    from tests.browser import watched_page

    with watched_page(chromium) as opened:
        yield opened


def _guarded(connect: Any) -> Any:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            raise AssertionError(f"a test tried to reach {address[0]}")
        return connect(self, address)

    return guarded


@pytest.fixture(params=[0, 1000], ids=["plain", "folded"])
def text_form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an edit is drawn no text is folded into cross-attention's matrices, then each is, however long."""
    monkeypatch.setattr("varedit.transformer.cross_attention.longest_folded", lambda *_: request.param)

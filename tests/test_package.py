"""The package as others see it: names, version, what an import costs, and what the project's files promise."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import varedit

ROOT = Path(__file__).resolve().parents[1]


def in_a_new_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_public_names_are_the_declared_ones():
    assert set(varedit.__all__) == {"EditOutput", "ScaleEvent", "VAREditError", "VAREditPipeline", "__version__"}
    assert set(dir(varedit)) == set(varedit.__all__)


@pytest.mark.parametrize("name", sorted(set(varedit.__all__) - {"__version__"}))
def test_every_public_name_can_be_imported_from_the_package(name):
    assert getattr(varedit, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'VAREditPipe'"):
        _ = varedit.VAREditPipe


def test_importing_the_package_loads_nothing_heavy():
    heavy = "{'torch', 'numpy', 'PIL', 'transformers', 'huggingface_hub', 'click', 'rich'}"
    assert in_a_new_python(f"import sys, varedit; print({heavy} & set(sys.modules))") == "set()"


def test_the_package_is_typed():
    assert (Path(varedit.__file__).parent / "py.typed").is_file()


def test_the_citation_names_the_version_of_the_package():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == varedit.__version__  # type: ignore[index]


def test_every_library_of_the_project_has_a_tested_version():
    """A dependency that is not pinned would be whatever is newest on the day of the test."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )
    needed = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = [re.match(r"[A-Za-z0-9_.-]+", requirement)[0] for requirement in needed]  # type: ignore[index]
    assert [name for name in names if name not in pinned] == []
    assert "+" not in "".join(pinned.values())  # a local version, such as a CPU build's, exists on one index only


def test_a_test_cannot_reach_the_network():
    with socket.socket() as connection, pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        connection.connect(("192.0.2.1", 80))


def test_a_test_can_reach_its_own_machine():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connection:
        assert connection.getpeername() == server.getsockname()

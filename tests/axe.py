"""The accessibility checker axe-core, fetched once by npm into the user's cache; tests are skipped where that fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from playwright.sync_api import Page

VERSION = "4.14.1"
_MEMBER = "package/axe.min.js"


def violations(page: Page) -> list[str]:
    """What the checker finds wrong in a page as it is now: a rule and the first element that breaks it."""
    page.evaluate(_source())  # by the debugger, which the page's content policy does not bind
    found = page.evaluate("axe.run().then((result) => result.violations)")
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]


def _source() -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "varedit-tests"
    file = cache / f"axe-core-{VERSION}.min.js"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            fetched = Path(folder) / "axe.min.js"
            fetched.write_bytes(_fetched(folder))
            fetched.replace(file)
    return file.read_text(encoding="utf-8")


def _fetched(folder: str) -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm, which fetches the accessibility checker axe-core, is not on this machine")
    command = [npm, "pack", f"axe-core@{VERSION}", "--silent", "--pack-destination", folder]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot fetch axe-core: {done.stderr.strip()[-200:]}")
    with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
        member = archive.extractfile(_MEMBER)
        assert member is not None, "the package has its script where it always was"
        return member.read()

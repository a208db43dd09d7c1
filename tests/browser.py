"""A real browser for tests of pages: Debian's Chromium, driven by Playwright, in which no complaint goes unheard.

The fixtures `chromium` and `page` (in conftest.py) rest on this. While a module's browser is open Playwright keeps an
event loop in the test's thread, so asynchronous code is tested in another module, or in a thread of its own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PHONE = {"width": 390, "height": 844}  # pixels of CSS
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_FLAGS = (
    "--no-sandbox",  # Chromium refuses to run as root with one, and continuous integration often is root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """A browser; the test is skipped where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium on this machine; Debian's package of that name has it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=[*_FLAGS])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched_page(browser: Browser, *, forgiven: str | None = None, **options: Any) -> Iterator[Page]:
    """A page in a context of its own, with no cookies from before.

    Fails the test at the end if the page wrote an error or a warning to its console, raised one, or asked another
    machine for anything.

    Args:
        forgiven: a regular expression of complaints that the test itself provokes.
        options: of Playwright's `Browser.new_context`: viewport, color_scheme, has_touch, reduced_motion.
    """
    complaints: list[str] = []
    context = browser.new_context(**options)
    context.set_default_timeout(20_000)  # milliseconds; a loaded machine is slow
    page = context.new_page()
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
    page.on("request", lambda request: complaints.extend(_elsewhere(request.url)))
    try:
        yield page
    finally:
        context.close()
    unforgiven = [said for said in complaints if forgiven is None or not re.search(forgiven, said)]
    assert not unforgiven, unforgiven


def sideways_scroll(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    width: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width


def _elsewhere(url: str) -> list[str]:
    """The address, if it is another machine's."""
    parts = urlsplit(url)
    return [] if parts.scheme in ("data", "blob") or parts.hostname in _LOOPBACK else [f"asked {url}"]

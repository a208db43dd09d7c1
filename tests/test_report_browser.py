"""Report pages in a real browser: nothing complains, everything is drawn, and nothing is wider than a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser import PHONE, sideways_scroll, watched_page
from tests.test_report import L1, scored_run
from varedit.evaluation.report_comparison import write_comparison
from varedit.evaluation.report_files import write_run_report
from varedit.evaluation.report_numbers import read_runs

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The page of a run, and that of three runs."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("ours", "a-run-with-a-very-long-name-of-one-word", "third"):
        scored_run(folder / name, L1, i0=1.0, i1=9.0, i2=7.0, i3=3.0)
    runs = read_runs(sorted(folder.iterdir()))
    written = [
        write_run_report(runs[0], folder / "one"),
        write_comparison(runs, folder / "all", by="l1", pictures=2),
    ]
    return [Path(path).read_text(encoding="utf-8") for path in written]


@pytest.mark.parametrize("options", [{"color_scheme": "light"}, {"color_scheme": "dark", "viewport": PHONE}])
def test_report_pages_are_drawn_whole(chromium, pages, options: dict[str, Any]):
    for number, text in enumerate(pages):
        with watched_page(chromium, **options) as page:
            page.set_content(text)
            assert sideways_scroll(page) == 0
            page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
            widths = page.evaluate(
                "Promise.all([...document.images].map(image => image.decode().then(() => image.naturalWidth)))"
            )
            assert widths == [8] * (8, 16)[number]  # of four items: source and result, or source and three results
            ground, ink = page.evaluate(
                "['background-color', 'color'].map(name => getComputedStyle(document.body).getPropertyValue(name))"
            )
            is_dark = options["color_scheme"] == "dark"
            assert (ground == "rgb(21, 23, 26)") == is_dark and ground != ink
            page.get_by_text("How this was measured").click()
            assert page.get_by_text("editor", exact=False).first.is_visible()
            page.keyboard.press("Home")
            link = page.locator("table a").first
            if link.count():
                link.click()
                assert page.evaluate("location.hash").startswith("#category-")

"""The page of a study in a real browser, served by the real command line."""

from __future__ import annotations

import io
import sqlite3

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser import PHONE, sideways_scroll, watched_page
from tests.studies import EDITORS, StudyServer, study_folders

pytestmark = pytest.mark.browser

PAIRS = 5  # with a check and a repeat: 7 trials, 21 answers
KEYS = ("1", "ArrowRight", "ArrowUp", "4", "ArrowLeft", "2", "3", "ArrowDown")
CHOICES = ("left", "right", "both good", "both bad", "left", "right", "both good", "both bad")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    running = StudyServer(study_folders(folder), str(folder / "study.sqlite"), PAIRS)
    running.start()
    yield running
    if running.process is not None:
        running.kill()


def begin(page, url, code):
    page.goto(url)
    page.fill("#code", code)
    page.keyboard.press("Enter")
    page.wait_for_selector("#trial:not([hidden]), #end:not([hidden])")


def ready(page, number):
    """Wait until the trial of a number, from 1, can be answered."""
    expect(page.locator("#where")).to_contain_text(f"Pair {number} of")
    page.wait_for_selector("#questions button:enabled")


def large_picture(page):
    return page.locator("#large-picture").get_attribute("src")


def stored(server, code):
    """(trial, question) and choice of a rater's answers."""
    with sqlite3.connect(server.store) as connection:
        rows = connection.execute(
            "SELECT trial, question, choice FROM study_answers WHERE code = ? ORDER BY trial", [code]
        ).fetchall()
    connection.close()
    return {(trial, question): choice for trial, question, choice in rows}


def test_by_keyboard_alone_with_the_server_killed_nothing_is_lost_and_nothing_doubled(chromium, server):
    questions = ("instruction", "preservation", "overall")
    given = {}
    with watched_page(chromium, forgiven="ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE") as page:
        begin(page, server.url, "anna")
        for trial in range(7):
            ready(page, trial + 1)
            for place, question in enumerate(questions):
                if (trial, place) == (3, 1):
                    expect(page.locator("#status")).to_have_text("Stored")
                    server.kill()
                page.keyboard.press(KEYS[(trial + 3 * place) % len(KEYS)])
                given[trial, question] = CHOICES[(trial + 3 * place) % len(KEYS)]
                if (trial, place) == (3, 2):
                    assert page.locator("#next").is_disabled()  # two answers wait for the server
                    expect(page.locator("#trouble")).to_contain_text("Trying again")
                    assert len(stored(server, "anna")) == 10
                    server.start()
            page.wait_for_selector("#next:enabled")
            assert stored(server, "anna") == given
            page.keyboard.press("Enter")
        page.wait_for_selector("#end:not([hidden])")
    assert len(given) == 21
    with watched_page(chromium) as page:
        begin(page, server.url, "anna")
        assert page.locator("#end").is_visible() and stored(server, "anna") == given


def test_a_rater_goes_on_where_they_stopped_and_may_change_their_mind(chromium, server):
    with watched_page(chromium) as page:
        begin(page, server.url, "ben")
        ready(page, 1)
        for key in "112":
            page.keyboard.press(key)
        page.wait_for_selector("#next:enabled")
        page.locator("[data-question=overall] button", has_text="Both bad").click()
        expect(page.locator("#status")).to_have_text("Stored")
        page.wait_for_selector("#next:enabled")
        page.keyboard.press("Enter")
        ready(page, 2)
        page.keyboard.press("2")
        expect(page.locator("#status")).to_have_text("Stored")
    expected = {(0, "instruction"): "left", (0, "preservation"): "left", (0, "overall"): "both bad"}
    assert stored(server, "ben") == {**expected, (1, "instruction"): "right"}
    with watched_page(chromium) as page:
        begin(page, server.url, "ben")
        ready(page, 2)
        assert page.locator("[data-question=instruction] [aria-pressed=true]").all_inner_texts() == ["Right"]
        page.click("#back")
        ready(page, 1)
        assert page.locator("#questions [aria-pressed=true]").all_inner_texts() == ["Left", "Left", "Both bad"]


def test_nothing_that_reaches_the_browser_names_an_editor(chromium, server):
    responses = []
    with watched_page(chromium) as page:
        page.on("response", lambda response: responses.append(response))
        begin(page, server.url, "")
        for trial in range(3):
            ready(page, trial + 1)
            for key in "123":
                page.keyboard.press(key)
            page.wait_for_selector("#next:enabled")
            page.keyboard.press("Enter")
        ready(page, 4)
        pictures = {}
        for response in responses:
            body = response.body()
            told = "\n".join([response.url, *(f"{name}: {value}" for name, value in response.all_headers().items())])
            for word in (*EDITORS, "hidden", "results", "check", "repeat", "ruined", "uvicorn"):
                assert word not in told.lower(), told
            if "/pictures/" in response.url:
                pictures[response.url] = Image.open(io.BytesIO(body))
                assert "etag" not in response.headers and "last-modified" not in response.headers
            elif "/api/" in response.url:
                for word in (*EDITORS, "hidden", "results", "check", "repeat", "ruined"):
                    assert word.encode() not in body.lower(), body
    assert len(pictures) >= 6
    assert {(image.format, image.size, image.mode, *image.info) for image in pictures.values()} == {
        ("PNG", (48, 36), "RGB")
    }
    tokens = [url.rpartition("/")[2] for url in pictures]
    assert all(len(token) == 32 and set(token) <= set("0123456789abcdef") for token in tokens)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_without_scrolling_sideways(chromium, server, scheme):
    with watched_page(chromium, viewport=PHONE, has_touch=True, is_mobile=True, color_scheme=scheme) as page:
        page.goto(server.url)
        assert sideways_scroll(page) == 0
        page.fill("#code", f"phone-{scheme}")
        page.tap("#arrival button")
        ready(page, 1)
        assert sideways_scroll(page) == 0
        heights = page.locator("#trial button:visible").evaluate_all("all => all.map(button => button.offsetHeight)")
        assert min(heights) >= 44  # pixels, what a thumb hits
        page.tap("#open-right")
        expect(page.locator("#large [aria-pressed=true]")).to_have_text("Right")
        assert large_picture(page).endswith(page.locator("#right").get_attribute("src"))
        page.tap("#large [data-side=left]")
        assert large_picture(page).endswith(page.locator("#left").get_attribute("src"))
        page.tap("#close")
        page.tap("[data-question=instruction] [data-choice=right]")
        expect(page.locator("#status")).to_have_text("Stored")
    assert stored(server, f"phone-{scheme}") == {(0, "instruction"): "right"}

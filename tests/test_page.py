"""The page in a real browser: a picture comes in, is edited scale by scale, and every version stays within reach."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser import watched_page
from tests.page_server import SCALES, page_server
from tests.page_steps import HEIGHT, PHOTO, WIDTH, choose, downloaded, edit, handed, pixels, press_enter, shown

pytestmark = pytest.mark.browser

STILL = {"reduced_motion": "reduce"}


@pytest.fixture(scope="module")
def server():
    with page_server() as running:
        yield running


@pytest.fixture
def page(chromium, server):
    server.calls.clear()
    with watched_page(chromium, **STILL) as opened:
        opened.goto(server.url)
        yield opened
    server.pace.free()


def test_previews_are_seen_in_place_before_the_result(page, server):
    choose(page)
    server.pace.hold()
    press_enter(page, "make it warmer")
    expect(page.locator("#stop")).to_be_visible()
    seen = [shown(page)]
    for scale in range(1, SCALES):
        server.pace.let(1)
        expect(page.locator("#status")).to_have_text(f"Scale {scale} of {SCALES}")
        expect(page.locator("#after")).to_have_attribute("src", re.compile("^data:image/png"))
        seen.append(shown(page))
        expect(page.locator("#stop")).to_be_visible()
    server.pace.free()
    expect(page.locator("#status")).to_have_text(re.compile(r"Done in \d"))
    expect(page.locator("#after")).to_have_attribute("src", re.compile("^blob:"))
    seen.append(shown(page))
    assert len({picture.tobytes() for picture in seen}) == SCALES + 1, "the photograph, three previews, the result"
    assert (server.calls[0].prompt, server.calls[0].partial_images) == ("make it warmer", 3)
    expect(page.locator("#announce")).to_have_text("Done. make it warmer.")


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_a_picture_comes_in_from_anywhere(page, way):
    handed(page, way)
    expect(page.locator("#status")).to_have_text(f"{WIDTH} × {HEIGHT} pixels")
    assert np.array_equal(shown(page), pixels(PHOTO))


def test_what_is_no_picture_is_told_in_a_sentence(page):
    handed(page, "drop", b"no picture", "text/plain")
    expect(page.locator("#image-error")).to_have_text(re.compile("cannot show that file"))
    expect(page.locator("#empty")).to_be_visible()


def test_nothing_is_sent_before_run_and_run_asks_for_what_is_missing(page, server):
    page.fill("#prompt", "warmer")
    page.click("#run")
    expect(page.locator("#image-error")).to_have_text("Choose a picture first.")
    choose(page)
    page.fill("#prompt", " ")
    page.click("#run")
    expect(page.locator("#prompt-error")).to_have_text("Say what should change.")
    assert page.evaluate("document.activeElement.id") == "prompt"
    assert not server.calls


def test_stop_leaves_the_picture_as_it_was_and_the_server_stops_too(page, server):
    choose(page)
    cancelled = server.engine.state().outcomes["cancelled"]
    server.pace.hold()
    press_enter(page, "warmer")
    server.pace.let(2)
    expect(page.locator("#status")).to_have_text("Scale 2 of 4")
    page.click("#stop")
    expect(page.locator("#status")).to_have_text("Stopped")
    expect(page.locator("#after")).to_have_attribute("src", re.compile("^blob:"))
    assert np.array_equal(shown(page), pixels(PHOTO))
    assert page.locator("#versions button").count() == 1, "the photograph"
    while not server.edits[-1].submitted[0].is_cancelled:
        page.wait_for_timeout(20)
    server.pace.free()
    while server.engine.state().active:
        page.wait_for_timeout(20)
    assert server.engine.state().outcomes["cancelled"] == cancelled + 1
    edit(page, "warmer", 1)


def test_a_chain_goes_on_from_codes_and_the_first_photograph_and_any_version_can_be_taken_up(page, server):
    choose(page)
    for number, words in enumerate(["warmer", "a lot darker", "black and white"], start=1):
        edit(page, words, number)
    assert [call.image for call in server.calls] == [PHOTO] * 3, "each turn restores against the photograph"
    assert [call.codes is not None for call in server.calls] == [False, True, True]
    last = shown(page)

    page.click("#undo")
    expect(page.locator("#prompt-label")).to_contain_text("version 2")
    page.locator("h1").click()
    page.keyboard.press("Control+z")
    expect(page.locator("#prompt-label")).to_contain_text("version 1")
    page.keyboard.press("Control+Shift+Z")
    page.keyboard.press("Control+y")
    expect(page.locator("#prompt-label")).to_contain_text("version 3")
    expect(page.locator("#after")).to_have_attribute("alt", "Version 3: black and white")
    assert np.array_equal(shown(page), last)

    page.get_by_role("button", name="Version 1: warmer").click()  # a branch
    edit(page, "slightly darker", 4)
    tree = page.locator("#versions").aria_snapshot()
    assert [re.sub(r".*button \"([^\"]*)\".*", r"\1", line) for line in tree.splitlines() if "button" in line] == [
        "The photograph",
        "Version 1: warmer",
        "Version 2: a lot darker",
        "Version 3: black and white",
        "Version 4: slightly darker",
    ]
    assert page.locator("#versions [aria-current] img").get_attribute("alt") == "Version 4: slightly darker"
    page.click("#undo")
    page.click("#redo")
    expect(page.locator("#prompt-label")).to_contain_text("version 4")  # redo follows the branch last taken


def test_text_that_someone_types_keeps_its_own_undo(page):
    choose(page)
    edit(page, "warmer", 1)
    page.locator("#prompt").press_sequentially("darker")
    page.keyboard.press("Control+z")
    assert page.input_value("#prompt") != "darker"
    expect(page.locator("#prompt-label")).to_contain_text("version 1")


def test_another_try_draws_anew_from_the_same_version(page, server):
    choose(page)
    edit(page, "warmer", 1)
    page.click("#again")
    expect(page.locator("#prompt-label")).to_contain_text("version 2")
    first, second = server.calls
    assert (first.prompt, first.image) == (second.prompt, second.image) and second.codes is None
    assert "seed" not in second.settings


def test_the_download_is_the_servers_file_with_a_name_that_tells(page, server):
    bodies = []
    page.on("response", lambda response: bodies.append(response) if "edits" in response.url else None)
    choose(page, name="My cup.jpeg")
    page.click("#show-settings")
    page.fill("#seed", "9007199254740993")  # more than a number of JavaScript can tell apart
    page.check("#seed-lock")
    edit(page, "Make it: warmer!", 1)
    name, data = downloaded(page)
    assert name == "My cup-make-it-warmer-9007199254740993.png"
    sent = re.findall(r'"type": "image_edit.completed", "b64_json": "([^"]+)"', bodies[0].text())
    assert data == base64.b64decode(sent[0])
    assert server.calls[0].settings["seed"] == 9007199254740993
    assert "9007199254740993" in Image.open(io.BytesIO(data)).info["varedit"]
    page.click("#undo")
    name, data = downloaded(page)
    assert (name, data) == ("My cup.jpeg", PHOTO)


def test_a_dropped_result_brings_its_settings_back(page, server):
    choose(page)
    page.click("#show-settings")
    page.fill("#seed", "123456789012345678")
    page.check("#seed-lock")
    page.fill("#guidance", "2.5")
    edit(page, "warmer", 1)
    _, data = downloaded(page)
    page.click("#undo")
    page.fill("#prompt", "")
    page.fill("#guidance", "")
    page.uncheck("#seed-lock")
    handed(page, "drop", data)
    expect(page.locator("#prompt")).to_have_value("warmer")
    edit(page, "warmer", 2)
    assert downloaded(page)[1] == data, "the same edit again"
    handed(page, "drop", data)
    page.get_by_role("button", name="Open that picture instead").click()
    expect(page.locator("#versions button")).to_have_count(1)
    assert np.array_equal(shown(page), pixels(data))
    page.get_by_role("button", name="Back to the one before").click()
    expect(page.locator("#prompt-label")).to_contain_text("version 2")

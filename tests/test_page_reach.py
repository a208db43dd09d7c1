"""The page for everyone: a phone, a magnified screen, keys alone, light and dark, and a checker of accessibility."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.axe import violations
from tests.browser import PHONE, sideways_scroll, watched_page
from tests.page_server import page_server
from tests.page_steps import PHOTO, arrived, choose, edit, press_enter, screenshot

pytestmark = pytest.mark.browser

THUMB = 44  # pixels of CSS, what a thumb hits
STILL = {"reduced_motion": "reduce"}


@pytest.fixture(scope="module")
def server():
    with page_server() as running:
        yield running


def small_targets(page):
    """Visible buttons and fields that are too low for a thumb."""
    found = page.locator("button:visible, .button:visible, select:visible, textarea:visible, input[type=text]:visible")
    return [each.inner_text() for each in found.all() if each.bounding_box()["height"] < THUMB]


def test_a_phone_shows_all_in_one_column(chromium, server):
    server.calls.clear()
    with watched_page(chromium, viewport=PHONE, has_touch=True, is_mobile=True, **STILL) as page:
        page.goto(server.url)
        assert sideways_scroll(page) == 0 and small_targets(page) == []
        expect(page.get_by_text("Take a photo")).to_be_visible()
        assert page.locator("#first-camera").get_attribute("capture") == "environment"
        choose(page)
        page.tap("#show-brush")
        box = page.locator("#brush").bounding_box()
        assert box is not None
        page.touchscreen.tap(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
        expect(page.locator("#brush-told")).to_contain_text("1 % is painted")
        assert sideways_scroll(page) == 0 and small_targets(page) == []
        page.fill("#prompt", "warmer")
        page.tap("#run")
        arrived(page, 1)
        alpha = np.asarray(Image.open(io.BytesIO(server.calls[0].mask)).convert("RGBA"))[..., 3]
        rows, columns = np.nonzero(alpha < 128)
        assert columns.mean() == pytest.approx(alpha.shape[1] / 4, abs=1)
        assert rows.mean() == pytest.approx(alpha.shape[0] / 2, abs=1)
        edit(page, "darker", 2)
        page.tap("#show-region")
        page.tap("#show-settings")
        assert sideways_scroll(page) == 0 and small_targets(page) == []
        page.tap("#show-settings")
        page.tap("#show-repeat")
        assert sideways_scroll(page) == 0 and small_targets(page) == []


def test_at_twice_the_size_nothing_is_out_of_reach(chromium, server):
    with watched_page(chromium, viewport={"width": 640, "height": 400}, device_scale_factor=2, **STILL) as page:
        page.goto(server.url)
        choose(page)
        edit(page, "warmer", 1)
        page.click("#show-settings")
        assert sideways_scroll(page) == 0
        for control in ("#run", "#download", "#undo", "#format", "#versions button >> nth=0"):
            page.locator(control).click(trial=True)  # it can be scrolled to, and nothing lies over it


def test_everything_is_done_by_keys_alone(chromium, server):
    with watched_page(chromium, **STILL) as page:
        page.goto(server.url)
        choose(page)
        reached = set()
        press_enter(page, "warmer")
        arrived(page, 1)
        page.locator("body").evaluate("document.activeElement.blur()")
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.alt || ''"))
        wanted = {"file", "split", "undo", "again", "show-brush", "show-region", "show-repeat", "download", "prompt"}
        assert wanted | {"run", "show-settings"} <= reached
        page.focus("#show-repeat")
        page.keyboard.press("Enter")
        expect(page.locator("#repeat")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#repeat")).to_be_hidden()
        assert page.evaluate("document.activeElement.id") == "show-repeat"
        page.locator("#versions button").first.focus()
        page.keyboard.press("Space")
        expect(page.locator("#undo")).to_be_disabled()
        assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "true"


def test_progress_is_said_in_words_at_start_half_and_end_and_no_oftener(chromium, server):
    with watched_page(chromium, **STILL) as page:
        page.goto(server.url)
        choose(page)
        page.evaluate(
            """() => { window.said = []; const announce = document.getElementById("announce");
            new MutationObserver(() => said.push(announce.textContent)).observe(announce, { childList: true }); }"""
        )
        edit(page, "warmer", 1)
        assert page.evaluate("said") == ["The server has been asked", "Half done", "Done. warmer."]
        assert page.locator("#announce").get_attribute("role") == "status"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_checker_of_accessibility_finds_nothing(chromium, server, scheme):
    with watched_page(chromium, color_scheme=scheme, **STILL) as page:
        page.goto(server.url)
        assert violations(page) == []
        page.click("#run")
        assert violations(page) == []
        choose(page)
        page.click("#show-settings")
        edit(page, "warmer", 1)
        edit(page, "darker", 2)
        page.click("#show-region")
        assert violations(page) == []
        page.click("#show-brush")
        assert violations(page) == []
        page.click("#show-brush")
        page.select_option("#count", "2")
        server.pace.hold()
        press_enter(page, "warmer")
        expect(page.locator("#stop")).to_be_visible()
        assert violations(page) == []
        server.pace.free()
        expect(page.get_by_role("button", name="Variant 2 of 2")).to_be_visible()
        expect(page.locator("#run")).to_be_visible()
        assert violations(page) == []
        page.get_by_role("button", name="Variant 2 of 2").click()
        page.click("#show-repeat")
        assert violations(page) == []


def test_dark_mode_is_dark_and_light_mode_light(chromium, server):
    levels = {}
    for scheme in ("light", "dark"):
        with watched_page(chromium, color_scheme=scheme, **STILL) as page:
            page.goto(server.url)
            levels[scheme] = screenshot(page, "body").mean()
    assert levels["dark"] < 60 < 200 < levels["light"]


def test_the_result_is_wiped_in_only_for_those_who_want_motion(chromium, server):
    for motion, moves in (("no-preference", True), ("reduce", False)):
        with watched_page(chromium, reduced_motion=motion) as page:
            page.goto(server.url)
            choose(page, PHOTO)
            page.evaluate(
                """() => { window.moved = false; new MutationObserver((all) => { for (const each of all)
                moved ||= parseFloat(each.target.style.getPropertyValue("--split")) > 0; })
                .observe(document.getElementById("frame"), { attributeFilter: ["style"] }); }"""
            )
            edit(page, "warmer", 1)
            expect(page.locator("#split")).to_be_visible()
            expect(page.locator("#frame")).not_to_have_attribute("style", re.compile(r"--split:[^;]*[1-9]"))
            assert page.evaluate("moved") is moves


def test_the_checker_sees_what_is_wrong(page):
    page.set_content("<html lang='en'><title>A page</title><main><h1>One</h1><img src='data:,'></main></html>")
    assert [each.partition(":")[0] for each in violations(page)] == ["image-alt"]

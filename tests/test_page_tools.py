"""The tools of the page in a real browser: brush, slider, changed places, variants, code, and refusals in words."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser import watched_page
from tests.page_server import page_server
from tests.page_steps import (
    HEIGHT,
    PHOTO,
    WIDTH,
    arrived,
    choose,
    downloaded,
    edit,
    pixels,
    press_enter,
    screenshot,
    shown,
)
from tests.toys import toy_pipeline

pytestmark = pytest.mark.browser

STILL = {"reduced_motion": "reduce"}
KEY = "a key of this test"
VISIBLE = 6  # levels; the page counts no smaller change


@pytest.fixture(scope="module")
def server():
    with page_server(max_queue=6) as running:
        yield running


@pytest.fixture
def page(chromium, server):
    server.calls.clear()
    with watched_page(chromium, forgiven="status of 4(00|29)|ERR_FAILED", **STILL) as opened:
        opened.goto(server.url)
        yield opened


def drag(page, start, end):
    """A stroke on the picture between two places (x, y), in shares of it."""
    box = page.locator("#brush").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=6)
    page.mouse.up()


def inner(page):
    """The picture as people see it, without its edges, where outlines and the slider's ends are."""
    return screenshot(page, "#after")[30:-30, 30:-30]


def test_only_the_painted_places_change(page, server):
    choose(page)
    page.click("#show-brush")
    drag(page, (0.2, 0.3), (0.6, 0.3))
    drag(page, (0.5, 0.9), (0.5, 0.9))
    page.keyboard.press("Control+z")  # the dot, not a version
    expect(page.locator("#brush-told")).to_contain_text("is painted")
    edit(page, "black and white", 1)
    sent = Image.open(io.BytesIO(server.calls[0].mask))
    assert (sent.format, sent.size) == ("PNG", (WIDTH, HEIGHT))
    alpha = np.asarray(sent.convert("RGBA"))[..., 3]
    painted = alpha < 128
    rows, columns = np.nonzero(painted)
    middle, width = rows.mean() / HEIGHT, 0.1 * WIDTH  # the brush begins with a tenth of the longer side
    assert middle == pytest.approx(0.3, abs=0.03)
    assert columns.min() == pytest.approx(0.2 * WIDTH - width / 2, abs=2)
    assert columns.max() == pytest.approx(0.6 * WIDTH + width / 2, abs=2)
    assert np.ptp(rows) + 1 == pytest.approx(width, abs=2)
    result, photo = shown(page), pixels(PHOTO)
    assert np.array_equal(result[alpha == 255], photo[alpha == 255])
    assert (result != photo)[painted].any()
    page.click("#show-repeat")
    assert "--mask mask.png" in page.inner_text("#as-command")
    with page.expect_download() as waiting:
        page.click("#mask-file")
    assert waiting.value.suggested_filename == "mask.png"
    assert waiting.value.path().read_bytes() == server.calls[0].mask


def test_painting_by_keys_erasing_and_clearing(page):
    choose(page)
    page.click("#show-brush")
    told = page.locator("#brush-told")
    expect(told).to_have_text("Nothing is painted.")
    assert page.evaluate("document.activeElement.id") == "brush"
    for key in ("Space", *["ArrowRight"] * 8, "Space"):
        page.keyboard.press(key)
    expect(told).to_have_text("2 % is painted; the rest will stay as it is.")  # two dots, pi * 3^2 of 60 x 48 each
    page.check("#brush-erase")
    page.locator("#brush").focus()
    page.keyboard.press("Space")
    expect(told).to_have_text("1 % is painted; the rest will stay as it is.")
    page.click("#brush-clear")
    expect(told).to_have_text("Nothing is painted.")


def test_the_slider_uncovers_the_photograph_by_keys(page):
    choose(page)
    edit(page, "negative", 1)
    page.click("#undo")
    expect(page.locator("#split")).to_be_hidden()
    photo = inner(page)
    page.click("#redo")
    split = page.locator("#split")
    expect(split).to_be_visible()
    split.focus()
    assert split.get_attribute("aria-valuetext") == "all as it is now"
    result, third = inner(page), photo.shape[1] // 3
    page.keyboard.press("End")
    expect(split).to_have_attribute("aria-valuetext", "100 % as it was")
    assert np.array_equal(inner(page)[:, : 2 * third], photo[:, : 2 * third])
    for _ in range(50):
        page.keyboard.press("ArrowLeft")
    expect(split).to_have_attribute("aria-valuetext", "50 % as it was")
    half = inner(page)
    assert np.array_equal(half[:, :third], photo[:, :third]), "as it was on the left"
    assert np.array_equal(half[:, 2 * third :], result[:, 2 * third :]), "as it is on the right"
    assert not np.array_equal(result[:, :third], photo[:, :third])


def test_the_changed_places_are_those_whose_pixels_differ(page):
    choose(page)
    page.click("#show-brush")
    drag(page, (0.7, 0.2), (0.7, 0.8))
    edit(page, "negative", 1)
    page.click("#show-region")
    expect(page.locator("#region-told")).to_contain_text("of the picture changed")
    alpha = page.evaluate(
        """() => { const canvas = document.getElementById("region");
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return Array.from(data).filter((_, place) => place % 4 === 3); }"""
    )
    differs = (np.abs(shown(page).astype(int) - pixels(PHOTO)) > VISIBLE).any(axis=2)
    assert np.array_equal(np.reshape(alpha, (HEIGHT, WIDTH)) == 0, differs)
    assert 0 < differs.sum() < differs.size
    expect(page.locator("#region-told")).to_contain_text(f"{round(100 * differs.mean())} %")
    page.click("#show-region")
    expect(page.locator("#region")).to_be_hidden()


def test_of_several_variants_one_is_chosen_and_all_are_kept(page, server):
    choose(page)
    page.click("#show-settings")
    page.select_option("#count", "3")
    page.select_option("#format", "jpeg")
    press_enter(page, "warmer")
    variants = page.get_by_role("group", name="Variants")
    expect(variants.get_by_role("button")).to_have_count(3)
    expect(page.locator("#run")).to_be_visible()
    variants.get_by_role("button", name="Variant 2 of 3").click()
    arrived(page, 2)
    assert page.locator("#versions button").count() == 4
    assert (server.calls[0].n, server.calls[0].output_format) == (3, "jpeg")
    name, data = downloaded(page)
    assert name.endswith(".jpg") and data.startswith(b"\xff\xd8")


def test_a_version_is_told_as_commands_and_as_python_that_makes_it_again(page, tmp_path, monkeypatch):
    choose(page, name="my cup.png")
    page.click("#show-settings")
    page.fill("#seed", "7")
    page.check("#seed-lock")
    edit(page, 'it\'s "warmer"', 1)
    page.fill("#guidance", "1.5")
    edit(page, "darker", 2)
    result = shown(page)
    page.click("#show-repeat")
    first, second = (shlex.split(line) for line in page.inner_text("#as-command").splitlines())
    between, last = "my cup-it-s-warmer-7.png", "my cup-darker-7.png"
    options = ["--model", "toy", "--seed", "7"]
    assert first == ["varedit", "edit", "my cup.png", 'it\'s "warmer"', *options, "-o", between]
    assert second == ["varedit", "edit", between, "darker", *options, "--guidance", "1.5", "-o", last]

    monkeypatch.chdir(tmp_path)
    Path("my cup.png").write_bytes(PHOTO)
    load, *calls = page.inner_text("#as-python").splitlines()[2:]
    assert load == 'pipe = VAREditPipeline.from_pretrained("toy")'
    exec("\n".join(calls), {"pipe": toy_pipeline()})  # noqa: S102, the page of this repository wrote it
    assert np.array_equal(pixels(Path(last).read_bytes()), result)


def test_a_wrong_setting_is_told_beside_its_control(page):
    choose(page)
    page.click("#show-settings")
    page.fill("#guidance", "much")
    page.click("#show-settings")
    press_enter(page, "warmer")
    expect(page.locator("#guidance-error")).to_have_text("Guidance_scale must be a number, not 'much'.")
    expect(page.locator("#guidance")).to_have_attribute("aria-invalid", "true")
    assert page.evaluate("document.activeElement.id") == "guidance"
    page.fill("#guidance", "")
    edit(page, "warmer", 1)
    expect(page.locator("#guidance-error")).to_be_hidden()


def test_a_busy_server_is_told_in_words_and_the_next_try_works(page):
    choose(page)
    page.click("#show-settings")
    page.select_option("#count", "9")
    press_enter(page, "warmer")
    expect(page.locator("#run-error")).to_have_text(re.compile(r"Try again in \d+ seconds?\.$"))
    page.select_option("#count", "1")
    edit(page, "warmer", 1)
    expect(page.locator("#run-error")).to_be_hidden()


def test_a_lost_connection_and_a_broken_answer_are_told_in_words(page):
    choose(page)
    page.route("**/v1/images/edits", lambda route: route.abort())
    press_enter(page, "warmer")
    expect(page.locator("#run-error")).to_have_text("The server cannot be reached. Is it still running?")
    page.unroute("**/v1/images/edits")
    page.route("**/v1/images/edits", lambda route: route.fulfill(body=": keep-alive\n\n"))
    press_enter(page, "warmer")
    expect(page.locator("#run-error")).to_have_text("The answer broke off. Try again.")
    page.unroute("**/v1/images/edits")
    edit(page, "warmer", 1)


def test_a_server_with_a_key_asks_for_it(chromium):
    with page_server(api_key=KEY) as server, watched_page(chromium, forgiven="status of 401", **STILL) as page:
        page.goto(server.url)
        choose(page)
        expect(page.get_by_label("API key of this server")).to_be_visible()
        press_enter(page, "warmer")
        expect(page.locator("#key-error")).to_contain_text("API key is missing or wrong")
        page.get_by_label("API key of this server").fill(KEY)
        edit(page, "warmer", 1)

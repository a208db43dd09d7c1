"""The browser that other tests trust hears what goes wrong in a page."""

from __future__ import annotations

import pytest

from tests.browser import PHONE, sideways_scroll, watched_page

pytestmark = pytest.mark.browser


def test_a_page_without_faults_passes(page):
    page.set_content("<title>calm</title><p>words</p>")
    assert page.title() == "calm" and sideways_scroll(page) == 0


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("console.error('broken')", "broken"),
        ("console.warn('odd')", "odd"),
        ("setTimeout(() => { throw new Error('lost') })", "uncaught: .*lost"),
        ("fetch('http://192.0.2.1/x').catch(() => 0)", "asked http://192.0.2.1/x"),
    ],
)
def test_a_fault_fails_the_test(chromium, fault, told):
    with pytest.raises(AssertionError, match=told), watched_page(chromium) as page:
        page.evaluate(fault)
        page.evaluate("new Promise(done => setTimeout(done, 20))")


def test_a_page_wider_than_a_phone_is_seen(chromium):
    with watched_page(chromium, viewport=PHONE) as page:
        page.set_content('<meta name="viewport" content="width=device-width"><div style="width: 500px">wide</div>')
        assert sideways_scroll(page) >= 110

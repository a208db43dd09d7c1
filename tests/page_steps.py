"""What a person does on the page, and what they have then."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from tests.served import png

WIDTH, HEIGHT = 60, 48
PHOTO = png(WIDTH, HEIGHT)


def choose(page: Page, data: bytes = PHOTO, name: str = "cup.png") -> None:
    """Open a photograph by its button."""
    page.set_input_files("#first-file", FilePayload(name=name, mimeType="image/png", buffer=data))
    expect(page.locator("#frame")).to_be_visible()


def handed(page: Page, event: str, data: bytes = PHOTO, kind: str = "image/png") -> None:
    """Paste or drop a file anywhere on the page."""
    page.evaluate(
        """([event, text, kind]) => {
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], "handed.png", { type: kind }));
        document.body.dispatchEvent(event === "paste"
            ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
            : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        [event, base64.b64encode(data).decode(), kind],
    )


def press_enter(page: Page, words: str) -> None:
    """Say what should change, and begin."""
    page.fill("#prompt", words)
    page.press("#prompt", "Enter")


def edit(page: Page, words: str, version: int) -> None:
    """Edit, and wait until the result is there with its number."""
    press_enter(page, words)
    arrived(page, version)


def arrived(page: Page, version: int) -> None:
    """Wait for a version to be the present one."""
    expect(page.locator("#prompt-label")).to_have_text(f"What should change in version {version}?")
    expect(page.locator("#run")).to_be_visible()


def downloaded(page: Page) -> tuple[str, bytes]:
    """Name and bytes of the file that the page offers."""
    with page.expect_download() as waiting:
        page.click("#download")
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def shown(page: Page) -> NDArray[np.uint8]:
    """The picture in the middle."""
    text = page.evaluate(
        """async () => { const image = new Image(); image.src = document.getElementById("after").src;
        await image.decode(); const canvas = document.createElement("canvas"); canvas.width = image.naturalWidth;
        canvas.height = image.naturalHeight; canvas.getContext("2d").drawImage(image, 0, 0);
        return canvas.toDataURL("image/png").split(",")[1]; }"""
    )
    return pixels(base64.b64decode(text))


def pixels(data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) of a file."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def screenshot(page: Page, selector: str, **options: Any) -> NDArray[np.uint8]:
    """(H, W, 3) of a part of the page as people see it."""
    return pixels(page.locator(selector).screenshot(**options))

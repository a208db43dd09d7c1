"""Ten edits of one photograph through the API, each going on from the codes of the one before."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.served import Served, opened, png, served
from tests.toys import toy_pipeline

SIDE = 60


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


def hole(left: int, top: int) -> tuple[bytes, np.ndarray]:
    """A mask file whose transparent square may change, and where that is."""
    mask = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (left, top, left + 9, top + 9))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue(), np.asarray(mask)[..., 3] == 0


def turn(http: httpx2.Client, number: int, codes: str | None, mask: bytes, *, as_file: bool = False) -> dict[str, str]:
    fields = {"prompt": "warmer", "seed": str(number)}
    files = {"image": png(SIDE, SIDE), "mask": mask}
    if codes is not None and as_file:
        files["codes"] = codes.encode()
    elif codes is not None:
        fields["codes"] = codes
    answer = http.post("/v1/images/edits", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()["data"][0]
    return found


def test_after_ten_turns_pixels_that_none_touched_are_the_photographs_own(server):
    photograph = np.asarray(opened(png(SIDE, SIDE)).convert("RGB"))
    pipeline, untouched, codes = toy_pipeline(), np.ones((SIDE, SIDE), bool), None
    here = None
    with server.http() as http:
        for number in range(10):
            mask, open_places = hole(5 * number, 4 * number)
            result = turn(http, number, codes, mask, as_file=number % 2 == 0)
            pixels, codes = np.asarray(opened(base64.b64decode(result["b64_json"])).convert("RGB")), result["codes"]
            before = None if here is None else here.codes
            here = pipeline(opened(png(SIDE, SIDE)), "warmer", seed=number, mask=opened(mask), codes=before)
            assert np.array_equal(pixels, here.images[0]), "the server's turn is the pipeline's"
            untouched &= ~open_places
            assert np.array_equal(pixels[untouched], photograph[untouched])
            assert (pixels != photograph)[open_places].any()


def test_damaged_codes_and_those_of_another_photograph_are_told_with_their_parameter(server):
    mask, _ = hole(3, 3)
    with server.http() as http:
        codes = turn(http, 1, None, mask)["codes"]
        fields = {"prompt": "warmer", "codes": codes[:-9]}
        damaged = http.post("/v1/images/edits", data=fields, files={"image": png(SIDE, SIDE)})
        other = http.post("/v1/images/edits", data=fields | {"codes": codes}, files={"image": png(SIDE + 1, SIDE)})
    assert (damaged.status_code, damaged.json()["error"]["param"]) == (400, "codes")
    assert "damaged" in damaged.json()["error"]["message"]
    assert other.status_code == 400 and "first photograph of the chain" in other.json()["error"]["message"]

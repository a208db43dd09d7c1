"""Edits that go on from the codes of earlier ones, and the text in which codes travel."""

from __future__ import annotations

import base64
import json
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import CONFIG, picture, toy_pipeline
from varedit.edited_codes import EditedCodes
from varedit.errors import UsageError
from varedit.pipeline import VAREditPipeline


@pytest.fixture(scope="module")
def pipeline() -> VAREditPipeline:
    return toy_pipeline()


def mask_at(size: tuple[int, int], left: int, top: int, side: int) -> np.ndarray:
    """A mask (H, W) in [0, 1] with a soft border."""
    mask = np.zeros(size, np.float32)
    mask[top : top + side, left : left + side] = 0.5
    mask[top + 1 : top + side - 1, left + 1 : left + side - 1] = 1
    return mask


def features_of(pipeline: VAREditPipeline, codes: EditedCodes) -> torch.Tensor:
    """The sum of codes, by the quantiser's own steps."""
    quantizer = pipeline.editor.quantizer(pipeline.config.templates.named(codes.template))
    features = torch.zeros(1, 5, *quantizer.grids.final)
    for scale, bits in enumerate(codes.bits):
        features = quantizer.add(features, torch.from_numpy(bits)[None], scale)
    return features


def test_the_next_edit_begins_with_the_codes_and_not_with_the_picture(pipeline):
    photograph = picture(61, 40)
    first = pipeline(photograph, "warmer", seed=1)
    requests, options = pipeline.requests(photograph, "darker", seed=2, codes=first.codes)
    ((_, run),) = pipeline._runs(requests, options)
    run.encode()
    assert torch.equal(run.source, features_of(pipeline, first.codes[0]))
    assert not torch.equal(run.source, run.photographs)
    second = pipeline(photograph, "darker", seed=2, codes=first.codes)
    assert not np.array_equal(second.images[0], pipeline(photograph, "darker", seed=2).images[0])
    assert second.settings[0]["codes_sha256"] == first.codes[0].sha256
    assert first.settings[0]["codes_sha256"] is None


def test_a_batch_may_begin_with_photographs_and_codes_side_by_side(pipeline):
    photographs = [picture(40, 40, seed) for seed in range(3)]
    codes = pipeline(photographs[1], "warmer", seed=5).codes[0]
    together = pipeline(photographs, "darker", seed=7, codes=[None, codes, None])
    for item, photograph in enumerate(photographs):
        alone = pipeline(photograph, "darker", seed=7, codes=codes if item == 1 else None)
        assert np.array_equal(together.images[item], alone.images[0])
        assert together.codes[item].to_text() == alone.codes[0].to_text()


def test_a_turn_that_changes_nothing_gives_the_turn_before_to_the_last_bit(pipeline):
    photograph = picture(50, 50)
    first = pipeline(photograph, "warmer", seed=1)
    requests, options = pipeline.requests(photograph, "darker", seed=2, codes=first.codes)
    ((_, run),) = pipeline._runs(requests, options)
    run.encode()
    for _ in run.scales():
        run.features = run.source
    assert np.array_equal(run.restored(run.decoded())[0].rgb, first.images[0])


@pytest.mark.parametrize("restore", [True, False])
def test_after_ten_masked_edits_pixels_that_none_touched_are_the_photographs_own(pipeline, restore):
    photograph = picture(90, 72)
    untouched, codes = np.ones((72, 90), bool), None
    before = np.asarray(photograph)
    for turn in range(10):
        mask = mask_at((72, 90), 8 * turn, 5 * turn, 12)
        output = pipeline(photograph, "warmer", seed=turn, mask=mask, codes=codes, restore=restore)
        codes, result = output.codes, np.asarray(output.images[0])
        untouched &= mask == 0
        assert np.array_equal(result[untouched], np.asarray(photograph)[untouched])
        assert codes[0].reach is not None and np.array_equal(codes[0].reach == 0, untouched)
        assert not np.array_equal(result[mask == 1], before[mask == 1]), "the turn did something"
        before = result
    assert untouched.mean() > 0.5


def test_a_mask_in_a_later_turn_limits_that_turn_alone(pipeline):
    photograph = picture(48, 48)
    first = pipeline(photograph, "warmer", seed=1)
    assert first.codes[0].reach is None and not np.array_equal(first.images[0], np.asarray(photograph))
    mask = mask_at((48, 48), 10, 10, 20)
    second = pipeline(photograph, "darker", seed=2, codes=first.codes, mask=mask)
    changed = np.asarray(second.images[0]) != np.asarray(first.images[0])
    assert changed[mask == 1].any() and not changed[mask == 0].any()
    assert second.codes[0].reach is None


def test_codes_come_back_from_their_text_as_they_were(pipeline):
    photograph = picture(61, 40)
    for mask in (None, mask_at((40, 61), 20, 10, 9)):
        codes = pipeline(photograph, "warmer", seed=1, mask=mask).codes[0]
        again = EditedCodes.from_text(codes.to_text())
        assert (again.model, again.template) == ("toy", codes.template)
        assert all(np.array_equal(one, other) for one, other in zip(again.bits, codes.bits, strict=True))
        assert again.sha256 == codes.sha256
        assert (again.reach is None) == (mask is None)
        if again.reach is not None and codes.reach is not None:
            assert np.array_equal(again.reach, codes.reach)


def test_codes_of_another_model_or_photograph_are_refused_in_one_sentence(pipeline):
    photograph = picture(40, 40)
    codes = pipeline(photograph, "warmer", seed=1, mask=mask_at((40, 40), 4, 4, 9)).codes[0]
    other = toy_pipeline(CONFIG.__class__(**{**vars(CONFIG), "name": "other"}))
    with pytest.raises(UsageError, match="drawn by the model 'toy' and do not fit 'other'"):
        other(photograph, "warmer", codes=codes)
    fewer = EditedCodes(codes.model, codes.template, codes.bits[:-1])
    with pytest.raises(UsageError, match="do not fit"):
        pipeline(photograph, "warmer", codes=fewer)
    with pytest.raises(UsageError, match="no scale schedule 'round'; it has square, wide, tall"):
        pipeline(photograph, "warmer", codes=EditedCodes(codes.model, "round", codes.bits))
    with pytest.raises(UsageError, match=r"codes are of a photograph of 40x40 pixels, and .* has 41x40"):
        pipeline(picture(41, 40), "warmer", codes=codes)


def packed(header: object, rest: bytes = b"") -> str:
    return base64.b64encode(zlib.compress(json.dumps(header).encode() + b"\n" + rest)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64!",
        base64.b64encode(b"not compressed").decode(),
        packed([]),
        packed({"model": "toy", "template": "square", "bits": [[1, 2, 2]], "reach": None}),  # the bits are missing
        packed({"model": "toy", "template": "square", "bits": [[1, 2, 2]], "reach": None}, b"ab"),  # one byte too many
        packed({"model": "toy", "template": "square", "bits": [[1, -2, 2]], "reach": None}, b"a"),
        packed({"model": "toy", "template": "square", "bits": [[10**9, 10**9, 2]], "reach": None}, b"a"),
        packed({"model": "toy", "template": "square", "bits": [["1", 2, 2]], "reach": None}, b"a"),
        packed({"model": "toy", "template": "square", "bits": [], "reach": [2, 2]}, b"abc"),
        base64.b64encode(zlib.compress(b"{}\n" * 9)[:-2]).decode(),
    ],
)
def test_damaged_codes_are_one_sentence(text):
    with pytest.raises(UsageError, match="the codes are damaged; send them back exactly as they came"):
        EditedCodes.from_text(text)


def test_a_small_text_that_unpacks_to_gigabytes_is_refused_early():
    packer = zlib.compressobj(9)
    pieces = [packer.compress(b"\0" * 2**20) for _ in range(300)]
    bomb = base64.b64encode(b"".join([*pieces, packer.flush()])).decode()
    assert len(bomb) < 500_000
    with pytest.raises(UsageError, match="damaged"):
        EditedCodes.from_text(bomb)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_whatever_is_sent_is_codes_or_a_sentence(noise, place):
    good = EditedCodes("toy", "square", (np.ones((2, 3, 3), bool),), np.ones((4, 5), np.uint8)).to_text()
    for text in (base64.b64encode(noise).decode(), good[:place] + good[place + 1 :], packed({"bits": place}, noise)):
        try:
            found = EditedCodes.from_text(text)
        except UsageError:
            continue
        assert found.bits[0].shape == (2, 3, 3)

"""Decoding in strips: the numbers of decoding in one piece, in less memory."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from tests.live_bytes import peak_of
from tests.test_autoencoder import tiny_autoencoder
from tests.tiny import random
from varedit import strips
from varedit.autoencoder import one_by_one
from varedit.strips import decode, decode_in_strips, decoding_bytes

SIZES = {
    "group": {"channel_multipliers": (1, 2, 4), "res_blocks_per_level": 2},
    "pixel": {"channel_multipliers": (1, 2, 4), "res_blocks_per_level": 2, "norm": "pixel"},
    "stem and linear path": {"channel_multipliers": (2, 1), "stem_patch": 3, "linear_path": True},
    "one level": {"channel_multipliers": (1,), "stem_patch": 2, "norm": "pixel"},
}


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("kind", SIZES)
def test_strips_give_what_one_piece_gives(kind, rows, monkeypatch):
    autoencoder = tiny_autoencoder(**SIZES[kind])
    features = random(2, 5, 5, 7, seed=1)  # odd sides
    finest = 7 * autoencoder.config.downscale // autoencoder.config.stem_patch
    monkeypatch.setattr(strips, "STRIP_PIXELS", rows * finest)  # fewer rows at the finest level than at any other
    whole = autoencoder.decoder(features)
    assert_close(decode_in_strips(autoencoder.decoder, features), whole, rtol=0, atol=1e-5)


def test_statistics_are_of_the_whole_picture(monkeypatch):
    """With statistics of each strip the halves of a picture, one dark and one bright, would come out alike."""
    autoencoder = tiny_autoencoder(**SIZES["group"])
    features = random(1, 5, 6, 4, seed=1)
    features[:, :, :3] += 3.0
    monkeypatch.setattr(strips, "STRIP_PIXELS", 3 * 4)
    assert_close(decode_in_strips(autoencoder.decoder, features), autoencoder.decoder(features), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["group", "pixel"])
def test_large_pictures_are_decoded_in_strips(kind, monkeypatch):
    autoencoder = tiny_autoencoder(**SIZES[kind])
    features = random(3, 5, 6, 4, seed=1)
    used = []

    def counted(*given):
        used.append(1)
        return decode_in_strips(*given)

    monkeypatch.setattr(strips, "decode_in_strips", counted)
    assert_close(decode(autoencoder, features), autoencoder.decode(features), rtol=0, atol=1e-5)
    assert not used, "a small picture is decoded in one piece"
    monkeypatch.setattr(strips, "WHOLE_BYTES", decoding_bytes(autoencoder.config, 24 * 16, 4) - 1)
    assert_close(decode(autoencoder, features), autoencoder.decode(features), rtol=0, atol=1e-5)
    assert len(used) == 3


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("kind", SIZES)
def test_what_lies_beside_a_picture_changes_no_digit_of_it(kind, batch):
    autoencoder = tiny_autoencoder(**SIZES[kind])
    features = random(4, 5, 6, 4, seed=1)
    pixels = decode(autoencoder, features)
    parts = [decode(autoencoder, part) for part in features.split(batch)]
    assert torch.equal(torch.cat(parts), pixels) and pixels.is_contiguous()
    encoded = [one_by_one(autoencoder.encode, part) for part in pixels.split(batch)]
    assert torch.equal(torch.cat(encoded), one_by_one(autoencoder.encode, pixels))
    assert_close(torch.cat(encoded), autoencoder.encode(pixels), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["group", "pixel"])
def test_strips_need_less_memory_and_as_much_as_is_said(kind, monkeypatch):
    autoencoder = tiny_autoencoder(**SIZES[kind])
    features = random(1, 5, 64, 64, seed=1)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 8 * 256)
    whole = peak_of(lambda: decode(autoencoder, features))
    assert 0.6 < whole / decoding_bytes(autoencoder.config, 256**2, 4) < 1.5
    monkeypatch.setattr(strips, "WHOLE_BYTES", 0)
    parts = peak_of(lambda: decode(autoencoder, features))
    assert 0.6 < parts / decoding_bytes(autoencoder.config, 256**2, 4) < 1.5
    assert parts < whole / 2

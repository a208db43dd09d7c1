"""Scores of an autoencoder: against the values of scikit-image, and bits counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.tiny import random
from tests.toys import CONFIG
from varedit.autoencoder import Autoencoder
from varedit.editor import latent_quantizer
from varedit.errors import UsageError
from varedit.similarity import ssim
from varedit.training.reconstruction import BitCounts, psnr, reconstruct_all


def waves(phase: float) -> Tensor:
    """A picture (1, 3, 24, 31) in [-1, 1] made of waves."""
    y, x = np.mgrid[0:24, 0:31] / 10
    red = 0.5 + 0.5 * np.sin(3 * x + phase) * np.cos(2 * y)
    green = 0.5 + 0.4 * np.sin(5 * x * y + phase)
    blue = (x + y) / 6 * np.cos(phase) ** 2
    return torch.from_numpy(np.stack([red, green, blue])[None] * 2 - 1).float()


@pytest.mark.parametrize(
    ("phase", "similarity", "noise_ratio"), [(0.1, 0.99511057, 33.025337), (0.7, 0.73660337, 14.463363)]
)
def test_ssim_and_psnr_are_those_of_scikit_image(phase, similarity, noise_ratio):
    """scikit-image 0.26 on the same pictures in [0, 1] as float64.

    structural_similarity(data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1)
    and peak_signal_noise_ratio(data_range=1).
    """
    first, second = waves(0.0), waves(phase)
    assert ssim(first, second).item() == pytest.approx(similarity, abs=1e-6)  # the pictures are float32
    assert psnr((first - second).square().mean().item()) == pytest.approx(noise_ratio, abs=6e-4)  # rounded to 0.001


def test_ssim_of_flat_pictures_by_hand():
    """Without any variance only the luminance term is left."""
    dark, light = torch.full((1, 3, 11, 13), -0.5), torch.full((1, 3, 11, 13), 0.5)  # 0.25 and 0.75
    assert ssim(dark, light).item() == pytest.approx((2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4))


def test_ssim_of_a_batch_is_that_of_each_picture():
    first, second = torch.cat([waves(0.0), waves(1.0)]), torch.cat([waves(0.3), waves(1.1)])
    assert_close(ssim(first, second), torch.cat([ssim(first[:1], second[:1]), ssim(first[1:], second[1:])]))
    assert_close(ssim(first, first), torch.ones(2, dtype=torch.float64))


def test_a_picture_smaller_than_the_window_is_refused():
    with pytest.raises(UsageError, match="at least 11 x 11 pixels, not 40 x 10"):
        ssim(torch.zeros(1, 3, 10, 40), torch.zeros(1, 3, 10, 40))


def test_psnr_of_half_the_range_is_six_decibels():
    assert psnr(1.0) == pytest.approx(6.021)  # 10 log10(2**2 / 1**2)
    assert psnr(0.0) > 100


def test_bits_are_counted_by_scale_and_channel():
    coarse = torch.tensor([1, 1, 0, 1]).bool().view(1, 4, 1, 1)
    fine = torch.zeros(1, 4, 2, 2, dtype=torch.bool)
    fine[0, 0] = True  # constant
    fine[0, 1, 0] = True  # half
    fine[0, 2, 0, 0] = True  # a quarter; the last channel is constant, too
    counts = BitCounts(num_scales=2, channels=4)
    counts.add([coarse, fine])
    counts.add([~coarse, fine])
    first, second = counts.usage()
    assert (first.ones, first.entropy, first.constant_channels) == (0.5, 1.0, 0)
    quarter = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    assert second.ones == pytest.approx((1 + 0.5 + 0.25 + 0) / 4, abs=1e-4)
    assert second.entropy == pytest.approx((1 + quarter) / 4, abs=1e-4)
    assert second.constant_channels == 2


def test_a_report_holds_every_picture_once_whatever_the_batches(monkeypatch):
    torch.manual_seed(0)
    autoencoder = Autoencoder(CONFIG.autoencoder).eval()
    quantizer = latent_quantizer(CONFIG, CONFIG.templates.square)
    pixels = random(5, 3, 20, 20, seed=1).clamp(-1, 1)
    decoded, whole = reconstruct_all(autoencoder, quantizer, pixels)
    monkeypatch.setattr("varedit.training.reconstruction.PICTURES_AT_ONCE", 2)
    again, parts = reconstruct_all(autoencoder, quantizer, pixels)
    assert_close(decoded, again)
    report, report_in_parts = whole.report(), parts.report()
    assert report["scales"] == report_in_parts["scales"]
    assert report["pictures"] == report_in_parts["pictures"] == 5
    assert report["ssim"] == pytest.approx(report_in_parts["ssim"], abs=1e-4)
    errors = (decoded - pixels).square().mean(dim=(1, 2, 3))
    assert report["psnr"] == pytest.approx(np.mean([10 * np.log10(4 / e) for e in errors.tolist()]), abs=2e-3)
    assert report["psnr_of_mean_error"] == pytest.approx(10 * np.log10(4 / errors.mean().item()), abs=1e-3)
    assert report["l1"] == pytest.approx((decoded - pixels).abs().mean().item() / 2, abs=1e-5)
    assert [usage["ones"] for usage in report["scales"]] == pytest.approx(
        [bits.float().mean().item() for bits in quantizer.encode(autoencoder.encode(pixels)).bits], abs=1e-4
    )

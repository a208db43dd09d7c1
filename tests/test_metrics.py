"""Metrics of pictures: against scikit-image where it has them, and by hand; networks have random weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.testing import assert_close

from tests.clip_models import save_clip, save_dino
from tests.editing_sets import pixels
from varedit.errors import ModelError
from varedit.evaluation.backbones import Clip, Dino, structure_distances
from varedit.evaluation.metrics import blackened, l1, l2, psnr, ssim

FLAT = np.full((2, 3, 3), 100, np.uint8)


def changed() -> np.ndarray:
    """`FLAT` with one pixel 51 lighter, and one channel of another pixel 102 lighter."""
    picture = FLAT.copy()
    picture[0, 0] += 51
    picture[1, 2, 1] += 102
    return picture


def test_differences_by_hand():
    # 51 / 255 = 0.2 thrice and 102 / 255 = 0.4 once, over 18 numbers
    assert l1(changed(), FLAT) == pytest.approx((3 * 0.2 + 0.4) / 18)
    assert l2(changed(), FLAT) == pytest.approx((3 * 0.04 + 0.16) / 18)
    assert psnr(changed(), FLAT) == pytest.approx(10 * math.log10(18 / 0.28))
    region = np.array([[True, True, False], [False, False, False]])
    assert l1(changed(), FLAT, region) == pytest.approx(3 * 0.2 / 6)
    assert psnr(changed(), FLAT, ~region) == pytest.approx(10 * math.log10(12 / 0.16))


def test_equal_pictures_and_empty_regions():
    nowhere = np.zeros((2, 3), bool)
    assert (l1(FLAT, FLAT), l2(FLAT, FLAT), psnr(FLAT, FLAT)) == (0.0, 0.0, 100.0)
    assert l1(changed(), FLAT, nowhere) is None and psnr(changed(), FLAT, nowhere) is None
    assert ssim(FLAT, FLAT) is None  # smaller than a window
    picture = pixels(1, 14, 12)
    assert ssim(picture, picture) == pytest.approx(1.0)
    border = np.ones((12, 14), bool)
    border[5:-5, 5:-5] = False
    assert ssim(picture, picture, border) is None  # no window has its middle there


def test_scikit_image_says_the_same():
    """The numbers are those of scikit-image 0.26 with data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5
    and use_sample_covariance=False: `peak_signal_noise_ratio`, `structural_similarity`, and the mean of its full map
    over the region, five pixels of border left out.
    """
    first, second = pixels(1, 41, 29), pixels(2, 41, 29)
    assert psnr(first, second) == pytest.approx(8.54814681687315, abs=1e-4)
    assert ssim(first, second) == pytest.approx(-0.09382053289950104, abs=1e-4)
    region = np.zeros((29, 41), bool)
    region[:15, 3:20] = True
    assert ssim(first, second, region) == pytest.approx(-0.1299884003271657, abs=1e-4)


def test_ssim_of_flat_pictures_by_hand():
    first, second = np.full((13, 12, 3), 51, np.uint8), np.full((13, 12, 3), 153, np.uint8)
    assert ssim(first, second) == pytest.approx((2 * 0.2 * 0.6 + 1e-4) / (0.04 + 0.36 + 1e-4), abs=1e-6)


def test_blackened_keeps_a_region():
    region = np.array([[True, False, False], [False, False, True]])
    picture = blackened(changed(), region)
    assert picture[0, 0].tolist() == [151, 151, 151] and picture[1, 2].tolist() == [100, 202, 100]
    assert picture.sum() == 3 * 151 + 402


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Dino:
    return Dino.from_pretrained(str(save_dino(tmp_path_factory.mktemp("dino"))))


def normalised(image: Image.Image, brightest: float = 1.0) -> torch.Tensor:
    values = torch.from_numpy(np.array(image, np.float32)) * brightest / 255
    return ((values - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])).permute(2, 0, 1)[None]


def test_dino_sees_the_middle_of_a_picture_and_gives_its_class_token(dino):
    picture = pixels(4, 37, 30)
    resized = Image.fromarray(picture).resize((22, 18), Image.Resampling.BICUBIC)  # 16 * 256 / 224 = 18.3
    prepared = normalised(resized.crop((3, 1, 19, 17)))
    with torch.no_grad():
        token = dino.model(prepared).last_hidden_state[0, 0]
    assert_close(dino.pictures([picture])[0], F.normalize(token, dim=0), rtol=1e-4, atol=1e-5)
    pair = dino.pictures([picture, pixels(5, 37, 30)])
    assert_close(pair[0], F.normalize(token, dim=0), rtol=1e-4, atol=1e-5)  # neighbours do not matter
    assert_close(pair.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("brightest", [1.0, 255.0])
def test_the_structure_distance_by_hand(dino, brightest):
    first, second = pixels(4, 30, 20), pixels(5, 30, 20)

    def similarity(picture: np.ndarray) -> torch.Tensor:
        """From the keys as the last layer computes them, token by token; 20 x 30 becomes 16 x 24, 4 x 6 patches."""
        prepared = normalised(Image.fromarray(picture).resize((24, 16), Image.Resampling.BILINEAR), brightest)
        with torch.no_grad():
            states = dino.model(prepared, output_hidden_states=True, interpolate_pos_encoding=True).hidden_states
            last = dino.model.layers[-1]
            keys = last.attention.k_proj(last.layernorm_before(states[-2]))[0]
        assert keys.shape == (1 + 4 * 6, 12)
        return torch.stack([F.cosine_similarity(key[None], keys) for key in keys])

    expected = (similarity(first) - similarity(second)).square().mean()
    found, none = structure_distances(dino, [first, first], [second, first], brightest=brightest)
    assert found == pytest.approx(float(expected), abs=1e-4) and found > 1e-4
    assert none == 0


def test_a_long_picture_is_limited_by_its_longer_side(dino):
    assert dino.self_similarities([pixels(1, 90, 20)]).shape[1] == 1 + (34 // 4) * (8 // 4)  # 16 * 480 / 224 = 34


def test_clip_takes_the_middle_square_and_cuts_long_texts(clip_folder):
    clip = Clip.from_pretrained(str(clip_folder))
    picture = pixels(4, 30, 20)
    resized = Image.fromarray(picture).resize((12, 8), Image.Resampling.BICUBIC).crop((2, 0, 10, 8))
    values = torch.from_numpy(np.array(resized, np.float32)) / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    spread = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    with torch.no_grad():
        pooled = clip.model.vision_model(((values - mean) / spread).permute(2, 0, 1)[None]).pooler_output
        expected = F.normalize(clip.model.visual_projection(pooled), dim=-1)[0]
    assert_close(clip.pictures([picture])[0], expected, rtol=1e-4, atol=1e-5)
    long, cut = clip.texts(["make it red " * 9, "make it red " * 4])  # twelve tokens fit
    assert_close(long, cut)


@pytest.mark.parametrize("network", [Clip, Dino])
def test_a_folder_without_a_model_is_one_sentence(network, tmp_path: Path):
    with pytest.raises(ModelError, match=r"there is no .* in"):
        network.from_pretrained(str(tmp_path))

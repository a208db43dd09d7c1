"""The CLIP ranker, with a model of random weights: what it computes, and what it says of a folder without a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tests.clip_models import save_clip
from varedit.candidates import Candidate
from varedit.clip_ranker import MEAN, SPREAD, ClipDirection
from varedit.errors import ModelError


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


def drawn(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (3, 8, 8)).astype(np.float32)


def candidate(seed: int) -> Candidate:
    return Candidate(seed, "make it red", drawn(100), drawn(seed), 0.0, 0.0)


def test_scores_are_cosines_between_picture_change_and_instruction(clip_folder):
    ranker = ClipDirection.from_pretrained(str(clip_folder))
    scores = ranker([candidate(1), candidate(2)])
    model = ranker.model
    texts = []
    for numbers in ([4, 5], [6, 7, 8]):  # "a photo", "make it red"
        pooled = model.text_model(input_ids=torch.tensor([numbers])).pooler_output
        texts.append(F.normalize(model.text_projection(pooled), dim=-1))
    for seed, score in zip((1, 2), scores, strict=True):
        pictures = torch.from_numpy(np.stack([drawn(100), drawn(seed)])) / 2 + 0.5
        pixels = (pictures - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(SPREAD).view(3, 1, 1)
        source, result = F.normalize(model.visual_projection(model.vision_model(pixels).pooler_output), dim=-1)
        expected = F.cosine_similarity((result - source).unsqueeze(0), texts[1] - texts[0])
        assert_close(score, expected.item(), rtol=1e-4, atol=1e-5)
    assert scores[0] != scores[1]


def test_a_folder_without_a_model_is_one_sentence(tmp_path):
    with pytest.raises(ModelError, match="there is no CLIP model in"):
        ClipDirection.from_pretrained(str(tmp_path))

"""A ranker that looks: candidates whose change points the way of the instruction, in the space of a CLIP model.

The direction between two pictures beside that between two texts is the measure of StyleGAN-NADA (2108.00946, section
4.1). An edit has no caption of its source, so the texts are the instruction and a photo of nothing in particular.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from varedit.candidates import Candidate
from varedit.errors import ModelError

if TYPE_CHECKING:
    from transformers import CLIPModel, PreTrainedTokenizerBase

NEUTRAL = "a photo"
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of sRGB in [0, 1], as the published CLIP models were trained
SPREAD = (0.26862954, 0.26130258, 0.27577711)


class ClipDirection:
    """Scores candidates by the cosine between picture change and instruction (`candidates.Ranker`)."""

    def __init__(self, model: CLIPModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, source: str, device: str | torch.device = "cpu") -> Self:
        """Load a CLIP model from a folder or the hub. Raises ModelError."""
        return cls(*load_clip(source, device))

    @torch.inference_mode()
    def __call__(self, candidates: Sequence[Candidate]) -> list[float]:
        """A cosine for each candidate of one edit."""
        neutral, wanted = self._texts([NEUTRAL, candidates[0].instruction])
        before, *after = self._pictures([candidates[0].source, *(candidate.preview for candidate in candidates)])
        change = torch.stack(after) - before
        scores: list[float] = F.cosine_similarity(change, (wanted - neutral).unsqueeze(0)).tolist()
        return scores

    def _texts(self, texts: list[str]) -> Tensor:
        return text_embeddings(self.model, self.tokenizer, texts)

    def _pictures(self, pictures: list[NDArray[np.float32]]) -> Tensor:
        """Unit embeddings (N, D) of pictures (3, h, w) in [-1, 1]."""
        side = self.model.config.vision_config.image_size
        pixels = (torch.from_numpy(np.stack(pictures)) + 1) / 2
        pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        mean, spread = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, SPREAD))
        return image_embeddings(self.model, (pixels - mean) / spread)


def load_clip(source: str, device: str | torch.device) -> tuple[CLIPModel, PreTrainedTokenizerBase]:
    """A CLIP model from a folder or the hub, through transformers, and its tokenizer. Raises ModelError."""
    from transformers import AutoTokenizer, CLIPModel

    try:
        model: Any = CLIPModel.from_pretrained(source)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"there is no CLIP model in {source}: {reason}") from error
    return model.to(device).eval(), tokenizer


def text_embeddings(model: CLIPModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Tensor:
    """Embeddings (N, D) of length one; a text is cut off where the model's own length ends."""
    longest = model.text_model.config.max_position_embeddings
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt").to(model.device)
    pooled = model.text_model(**tokens).pooler_output
    return F.normalize(model.text_projection(pooled), dim=-1)


def image_embeddings(model: CLIPModel, pixels: Tensor) -> Tensor:
    """Embeddings (N, D) of length one, of pictures (N, 3, h, w) of the model's size with mean and spread applied."""
    pooled = model.vision_model(pixel_values=pixels.to(model.device)).pooler_output
    return F.normalize(model.visual_projection(pooled), dim=-1)

"""The networks that metrics look through: CLIP, and the DINO vision transformers (spec "Evaluation", section 2).

Each is loaded from a folder or the hub through transformers, and turns pictures, (H, W, 3) uint8 sRGB, and texts into
embeddings. Pictures are prepared as the published evaluations do, with Pillow's own resampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from varedit.clip_ranker import MEAN, SPREAD, image_embeddings, load_clip, text_embeddings
from varedit.errors import ModelError
from varedit.evaluation.metrics import Bytes

if TYPE_CHECKING:
    from transformers import CLIPModel, PreTrainedTokenizerBase, ViTModel

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SPREAD = (0.229, 0.224, 0.225)
DINO_MARGIN = 256 / 224  # DINO's evaluation takes the middle 224 of 256 pixels
LONGEST_SIDE = 480 / 224  # of pictures for the structure distance, in units of the shorter side


class Clip:
    """CLIP (2103.00020); the published numbers of EMU-Edit and MagicBrush use ViT-B/32, those of PIE-Bench ViT-L/14."""

    def __init__(self, model: CLIPModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, source: str, device: str | torch.device = "cpu") -> Self:
        """Load a model from a folder or the hub. Raises ModelError."""
        return cls(*load_clip(source, device))

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[Bytes]) -> Tensor:
        """Embeddings (N, D) of length one: the shorter side resized, bicubic, and the middle square taken."""
        side = self.model.config.vision_config.image_size
        prepared = [_normalised(_middle(_shorter_side(picture, side), side), MEAN, SPREAD) for picture in pictures]
        return image_embeddings(self.model, torch.stack(prepared)).float().cpu()

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (N, D) of length one; a text is cut off where the model's own length ends."""
        return text_embeddings(self.model, self.tokenizer, list(texts)).float().cpu()


class Dino:
    """A vision transformer trained as in DINO (2104.14294)."""

    def __init__(self, model: ViTModel) -> None:
        self.model = model.eval()

    @classmethod
    def from_pretrained(cls, source: str, device: str | torch.device = "cpu") -> Self:
        """Load a model from a folder or the hub. Raises ModelError."""
        from transformers import ViTModel

        try:
            model: Any = ViTModel.from_pretrained(source, add_pooling_layer=False)
        except (OSError, ValueError, KeyError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ModelError(f"there is no vision transformer in {source}: {reason}") from error
        return cls(model.to(device))

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[Bytes]) -> Tensor:
        """Embeddings (N, D) of length one, of the class token behind the last norm; the middle 224 of 256 pixels."""
        side = self.model.config.image_size
        prepared = torch.stack(
            [_normalised(_middle(_shorter_side(picture, round(side * DINO_MARGIN)), side)) for picture in pictures]
        )
        states = self.model(prepared.to(self.model.device)).last_hidden_state
        return F.normalize(states[:, 0].float(), dim=-1).cpu()

    @torch.inference_mode()
    def self_similarities(self, pictures: Sequence[Bytes], *, brightest: float = 1.0) -> Tensor:
        """Cosines (N, T, T) between the last layer's keys of all tokens, heads side by side (Splice, 2201.00424).

        Args:
            pictures: of one size; the shorter side is resized to the model's own, the longer one to 480/224 of that
                at most.
            brightest: what white is when ImageNet's mean and spread are applied; 255 repeats a slip of PIE-Bench's
                published evaluation, which leaves pixels in 0 to 255.
        """
        keys: list[Tensor] = []
        layers = [module for name, module in self.model.named_modules() if name.endswith("k_proj")]
        handle = layers[-1].register_forward_hook(lambda module, inputs, output: keys.append(output))
        try:
            side = self.model.config.image_size
            prepared = [
                _normalised(_within(picture, side, round(side * LONGEST_SIDE)), brightest=brightest)
                for picture in pictures
            ]
            self.model(torch.stack(prepared).to(self.model.device), interpolate_pos_encoding=True)
        finally:
            handle.remove()
        unit = F.normalize(keys[0].float(), dim=-1)  # (N, T, D)
        return unit @ unit.mT


def structure_distances(
    model: Dino, first: Sequence[Bytes], second: Sequence[Bytes], *, brightest: float = 1.0
) -> list[float]:
    """Of each pair, the mean squared difference of its self-similarities (Splice, 2201.00424, section 3).

    All pictures are of one size.
    """
    similarities = model.self_similarities([*first, *second], brightest=brightest)
    distances: list[float] = (similarities[: len(first)] - similarities[len(first) :]).square().mean((1, 2)).tolist()
    return distances


def _shorter_side(picture: Bytes, side: int) -> Image.Image:
    image = Image.fromarray(picture)
    scale = side / min(image.size)
    size = (max(side, int(image.width * scale)), max(side, int(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC)


def _within(picture: Bytes, side: int, longest: int) -> Image.Image:
    """Resized to a shorter side, or to a longest one where the other would be longer; bilinear."""
    image = Image.fromarray(picture)
    scale = min(side / min(image.size), longest / max(image.size))
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)


def _middle(image: Image.Image, side: int) -> Image.Image:
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def _normalised(
    image: Image.Image,
    mean: Sequence[float] = IMAGENET_MEAN,
    spread: Sequence[float] = IMAGENET_SPREAD,
    *,
    brightest: float = 1.0,
) -> Tensor:
    """(3, H, W) float32."""
    values: NDArray[np.float32] = np.asarray(image, np.float32) * np.float32(brightest / 255)
    normalised = (values - np.asarray(mean, np.float32)) / np.asarray(spread, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))

"""A whole editor with random weights, small enough for tests; every weight is random, gates and scales included."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from varedit.autoencoder import Autoencoder
from varedit.config import AutoencoderConfig, EditorConfig, GenerationConfig, ScheduleConfig, TransformerConfig
from varedit.editor import Editor
from varedit.pipeline import VAREditPipeline
from varedit.training.words import word_text_encoder
from varedit.transformer.model import VAREditTransformer

WORDS = ("make", "it", "black", "and", "white", "a", "lot", "warmer", "slightly", "darker", "picture", "the")

CONFIG = EditorConfig(
    name="toy",
    autoencoder=AutoencoderConfig(
        latent_channels=5,
        base_channels=24,
        channel_multipliers=(1, 2),
        res_blocks_per_level=1,
        stem_patch=2,
        norm="pixel",
    ),
    transformer=TransformerConfig(
        width=24, depth=2, num_heads=3, ffn_hidden=40, token_bits=5, text_channels=16, max_text_length=12, pool_heads=2
    ),
    schedule=ScheduleConfig(
        templates={
            "square": [[1, 1], [2, 2], [3, 3], [5, 5]],
            "wide": [[1, 1], [2, 3], [3, 4], [4, 7]],
            "tall": [[1, 1], [3, 2], [4, 3], [7, 4]],
        }
    ),
    generation=GenerationConfig(guidance_scale=2.0, temperature=0.7, top_p=0.97),
)


def toy_editor(config: EditorConfig = CONFIG, seed: int = 0) -> Editor:
    """An editor whose weights are random but tame: features and logits of order one."""
    torch.manual_seed(seed)
    autoencoder, transformer = Autoencoder(config.autoencoder), VAREditTransformer(config.transformer)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
    text_encoder = word_text_encoder(WORDS, sizes, config.transformer.max_text_length)
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.normal_(std=0.3)
    return Editor(config, autoencoder.eval(), transformer.eval(), text_encoder.eval())


def toy_pipeline(config: EditorConfig = CONFIG, seed: int = 0) -> VAREditPipeline:
    """A pipeline around `toy_editor`."""
    return VAREditPipeline(toy_editor(config, seed))


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with broad colours and fine grain, no two seeds alike."""
    random = np.random.default_rng(seed)
    broad = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize((width, height))
    grain = random.integers(-20, 21, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(broad) + grain, 0, 255).astype(np.uint8))

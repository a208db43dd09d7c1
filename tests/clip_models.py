"""Networks of random weights, saved as published ones are: a CLIP model that knows nine words, and a DINO."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast, ViTConfig, ViTModel

WORDS = ["<pad>", "<start>", "<end>", "<unknown>", "a", "photo", "make", "it", "red"]


def save_clip(folder: Path) -> Path:
    """Pictures of 8 x 8, texts of at most 12 tokens, embeddings of 6 numbers."""
    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=small | {"vocab_size": len(WORDS), "eos_token_id": 2, "max_position_embeddings": 12},
        vision_config=small | {"image_size": 8, "patch_size": 4},
        projection_dim=6,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, "<unknown>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "<end>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    return folder


def save_dino(folder: Path) -> Path:
    """Pictures of 16 x 16 in patches of 4 x 4, keys of 12 numbers."""
    config = ViTConfig(
        hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=3, image_size=16, patch_size=4
    )
    torch.manual_seed(3)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder

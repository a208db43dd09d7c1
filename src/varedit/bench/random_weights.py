"""Editors with random weights of any configuration, so that the largest can be timed without a download.

Time does not depend on what the weights say. They are drawn once, in the compute type and on the device, and scaled so
that states and logits stay of order one.
"""

from __future__ import annotations

import math
from itertools import chain

import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch import nn

from varedit.autoencoder import Autoencoder
from varedit.config import EditorConfig
from varedit.editor import Editor, lay_out
from varedit.meta import module_without_weights
from varedit.precision import set_compute_dtype
from varedit.t5 import T5Config, T5Encoder
from varedit.text import UNKNOWN, TextEncoder
from varedit.transformer.model import VAREditTransformer

SEED = 20261125
NOISE = 0.1  # standard deviation of biases, gains and whatever else is no matrix
INSTRUCTION = "make the sky orange and add a small red boat on the lake"


def random_editor(config: EditorConfig, text_layers: int, device: torch.device, dtype: torch.dtype) -> Editor:
    """An editor of a configuration with weights drawn from a fixed seed.

    Args:
        config: of the model.
        text_layers: of the text encoder; its other sizes are those of T5 v1.1 for ``text_channels``.
        device: where the weights are made.
        dtype: compute type.
    """
    sizes = t5_sizes(config.transformer.text_channels, text_layers)
    autoencoder = module_without_weights(lambda: Autoencoder(config.autoencoder))
    transformer = module_without_weights(lambda: VAREditTransformer(config.transformer))
    encoder = module_without_weights(lambda: T5Encoder(sizes))
    set_compute_dtype(transformer, autoencoder, dtype)
    encoder.compute_in(dtype)
    generator = torch.Generator(device).manual_seed(SEED)
    for part in (autoencoder, transformer, encoder):
        part.to_empty(device=device).eval().requires_grad_(False)
        draw_weights(part, generator)
    lay_out(autoencoder)
    text_encoder = TextEncoder(encoder, placeholder_tokenizer(), config.transformer.max_text_length)
    return Editor(config, autoencoder, transformer, text_encoder)


def t5_sizes(width: int, layers: int) -> T5Config:
    """An encoder with the proportions of T5 v1.1 from base to XL: heads of 64, a hidden layer of 5/2 of the width."""
    heads = max(1, width // 64)
    return T5Config(vocab_size=32128, d_model=width, d_kv=64, d_ff=5 * width // 2, num_layers=layers, num_heads=heads)


@torch.no_grad()
def draw_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter and buffer in place: matrices with gain one, gains of norms about one, others about zero."""
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        if name.endswith("weight") and tensor.dim() > 1:
            tensor.normal_(std=1 / math.sqrt(tensor[0].numel()), generator=generator)
        else:
            is_gain = name.endswith(("weight", "spread"))
            tensor.normal_(mean=1.0 if is_gain else 0.0, std=NOISE, generator=generator)


def placeholder_tokenizer() -> Tokenizer:
    """Stands in where there is no model to take one from: it knows the words of `INSTRUCTION`, one token each."""
    words = ["<pad>", "</s>", UNKNOWN, *sorted(set(INSTRUCTION.split()))]
    numbers = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(numbers, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer

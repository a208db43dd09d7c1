"""The first weights of a training: drawn, of an Infinity text-to-image model, or of an editor (spec "Training")."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varedit.autoencoder import Autoencoder
from varedit.checkpoints import load_config, load_weights
from varedit.conversion import transformer_part
from varedit.errors import ConfigError, InputMissing, UsageError
from varedit.quantizer import latents_to_tokens
from varedit.text import TextEncoder
from varedit.training.editor_module import EditorParts
from varedit.training.recipe import Recipe
from varedit.training.t5 import published_text_encoder
from varedit.training.words import word_text_encoder
from varedit.transformer.block import Block
from varedit.transformer.collage import Collage
from varedit.transformer.copy_path import CopyPath
from varedit.transformer.fill_network import FillNetwork
from varedit.transformer.model import VAREditTransformer
from varedit.transformer.pixel_network import COLOUR_FEATURES, SQUARE, PixelNetwork
from varedit.transformer.word_reader import WordReader
from varedit.unet_parts import ToldBlock

HEAD_SHARE = 0.02  # of the head's weights, so that training starts near even odds
OFFSET_SHARE = 1e-3  # of the blocks' own scales and shifts
NULL_TEXT_SPREAD = 1.2  # of the unconditional text, over the square root of its channels

# Layers of the copy path that begin by saying nearly nothing.
QUIET = ("shift", "gain", "mix", "change", "told_here", "ask")

# What an editor may be trained on with: neither changes which weights there are.
_FREE = {"reference", "rotary_layout"}


def check_initial(recipe: Recipe, autoencoder: Path | None) -> None:
    """Find out what does not fit before anything is read or made.

    Raises:
        ConfigError: the recipe's sizes are not those of the editor that it begins with, or settings contradict.
        InputMissing: the first weights are not where the recipe says.
        UsageError: there is no autoencoder.
        ModelError: the folder of the editor is damaged.
    """
    settings = recipe.editor_training
    if autoencoder is None and settings.initial_kind != "editor":
        raise UsageError("an editor needs an autoencoder: name the folder of its trained weights with --autoencoder")
    if settings.initial is None:
        return
    path = Path(settings.initial)
    if not path.exists():
        raise InputMissing(f"the first weights of the recipe are not there: {path} does not exist")
    if settings.initial_kind == "infinity":
        if recipe.editor.transformer.source_residual:
            raise ConfigError("an Infinity checkpoint has no weights for source_residual; set it to false")
        if "folder" not in recipe.text_encoder:
            raise ConfigError("an Infinity checkpoint needs the text encoder that it knows: [text_encoder] folder")
        return
    there = load_config(path)
    for name, ours, theirs in (
        ("autoencoder", recipe.editor.autoencoder, there.autoencoder),
        ("transformer", recipe.editor.transformer, there.transformer),
    ):
        _check_sizes(path, name, dataclasses.asdict(ours), dataclasses.asdict(theirs))


def initial_autoencoder(recipe: Recipe, folder: Path | None) -> Autoencoder:
    """The trained autoencoder in a folder or, without one, that of the editor which the recipe begins with."""
    found = Autoencoder(recipe.editor.autoencoder)
    load_weights(found, Path(str(recipe.editor_training.initial)) / "autoencoder" if folder is None else folder)
    return found


def initial_parts(recipe: Recipe, words: Iterable[str]) -> EditorParts:
    """Transformer and text encoder as the recipe begins with them; `check_initial` has passed.

    Args:
        words: what a text encoder that is trained from scratch knows.

    Raises: InputMissing, ModelError.
    """
    settings, config = recipe.editor_training, recipe.editor.transformer
    transformer = VAREditTransformer(config)
    text_encoder = _text_encoder(recipe, words)
    if settings.initial_kind == "scratch":
        initialise(transformer, seed=recipe.seed, initial_gain=settings.initial_gain)
    elif settings.initial_kind == "infinity":
        part = transformer_part(Path(str(settings.initial)), transformer, "the transformer of the recipe")
        for names in part.groups:
            transformer.load_state_dict(part.read(names), strict=False)  # one shard after the other
    else:
        load_weights(transformer, Path(str(settings.initial)) / "transformer")
        take_from_file(transformer)
    transformer.requires_grad_(settings.lora is None)
    learns = settings.train_text_encoder and settings.lora is None and "folder" not in recipe.text_encoder
    return EditorParts(transformer, text_encoder, text_learns=learns)


def _text_encoder(recipe: Recipe, words: Iterable[str]) -> TextEncoder:
    """Trained from scratch, or read with its own tokenizer."""
    length = recipe.editor.transformer.max_text_length
    if recipe.editor_training.initial_kind == "editor":
        found = TextEncoder.from_folder(Path(str(recipe.editor_training.initial)), length)
        take_from_file(found)
        return found
    if "folder" in recipe.text_encoder:
        return published_text_encoder(Path(recipe.text_encoder["folder"]), length)
    return word_text_encoder(words, recipe.text_encoder, length)


@torch.no_grad()
def start_copy_path(copy_path: CopyPath, autoencoder: Autoencoder, pictures: Tensor, merge: int) -> None:
    """What a copy path takes from the autoencoder: the spread of its features, and how they and pixels belong together.

    The latter are the maps of least squares between tokens and their squares of pixels, both ways.

    Args:
        pictures: (B, 3, h, w) in [-1, 1].
        merge: latents per token and axis.
    """
    features = autoencoder.encode(pictures)
    copy_path.spread.copy_(features.std())
    if copy_path.proposal is None:
        return
    network, side = copy_path.proposal.pixels, SQUARE // merge
    pixels = F.interpolate(pictures, size=[side * length for length in features.shape[2:]], mode="area")
    tokens = latents_to_tokens(features, merge).flatten(0, 1)
    squares = F.pixel_unshuffle(pixels, SQUARE).flatten(2).transpose(1, 2).flatten(0, 1)
    mean_token, mean_square = tokens.mean(dim=0), squares.mean(dim=0)
    look = _least_squares(tokens - mean_token, squares - mean_square)
    network.look.weight.copy_(look.T)
    network.look.bias.copy_(mean_square - mean_token @ look)
    network.code.weight.copy_(_least_squares(squares - mean_square, tokens - mean_token).T)


def _least_squares(given: Tensor, wanted: Tensor) -> Tensor:
    """The smallest matrix that makes (n, k) of (n, j) best, (j, k); some of j may follow from others."""
    given, wanted = given.double(), wanted.double()
    found: Tensor = torch.linalg.pinv(given.T @ given, hermitian=True, rtol=1e-9) @ (given.T @ wanted)
    return found.float()


def take_from_file(module: nn.Module) -> None:
    """Give weights memory of their own: those that are read from a file may be views of it, which cannot be changed."""
    for value in (*module.parameters(), *module.buffers()):
        value.data = value.data.clone()


def _check_sizes(path: Path, section: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for key, value in theirs.items():
        if ours[key] != value and key not in _FREE:
            raise ConfigError(
                f"the editor in {path} does not fit the recipe: {section}.{key} is {value} there and {ours[key]} here. "
                "Take its values, or begin from scratch."
            )


@torch.no_grad()
def initialise(transformer: VAREditTransformer, *, seed: int, initial_gain: float) -> None:
    """Draw all weights of a transformer.

    Args:
        seed: of a generator of its own.
        initial_gain: what the residual branches start with. The release starts near zero (5e-6) from pretrained
            weights; small models from scratch learn nothing for long that way and start with 1.
    """
    generator = torch.Generator().manual_seed(seed)
    config = transformer.config
    spread = (1 / (3 * config.width)) ** 0.5

    def drawn(parameter: torch.Tensor, share: float = 1.0) -> None:
        nn.init.trunc_normal_(parameter, std=spread * share, a=-2 * spread, b=2 * spread, generator=generator)

    for module in transformer.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            drawn(module.weight)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            module.weight.normal_(std=module.weight[0].numel() ** -0.5, generator=generator)
            cast(Tensor, module.bias).zero_()
    for parameter in (transformer.start_position, transformer.text_pool.query):
        drawn(parameter)
    null_spread = NULL_TEXT_SPREAD / config.text_channels**0.5
    transformer.null_text.normal_(std=null_spread, generator=generator)
    transformer.head.weight.mul_(HEAD_SHARE)
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and name.startswith("copy_path.") and name.endswith(QUIET):
            module.weight.mul_(HEAD_SHARE)
        if isinstance(module, PixelNetwork):
            for layer in (module.first, module.second):  # far fewer inputs than the model is wide
                layer.weight.normal_(std=layer.in_features**-0.5, generator=generator)
            module.first.weight[:, COLOUR_FEATURES:] = 0  # pixels are colours at first, as in steps of their own
        if isinstance(module, ToldBlock):
            module.conv2.weight.zero_()
        if isinstance(module, Collage | WordReader):
            drawn(module.reader.query)
        if isinstance(module, FillNetwork):
            module.begin_smoothly()
        if isinstance(module, Collage):
            module.begin_with_the_proposal()
    for block in transformer.blocks:
        assert isinstance(block, Block)
        for last in (block.attention.project, block.cross_attention.project, block.feed_forward.narrow):
            last.weight.mul_((2 * config.depth) ** -0.5)
        block.modulation_offset.normal_(std=OFFSET_SHARE * config.width**-0.5, generator=generator)
        block.modulation_offset[:, :, :2] += initial_gain  # attention gain, feed-forward gain

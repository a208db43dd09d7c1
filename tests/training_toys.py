"""A toy recipe, toy pairs and an untrained autoencoder, for the tests of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from varedit.autoencoder import Autoencoder
from varedit.checkpoints import save_weights
from varedit.data.pairs import PairBatch
from varedit.training.editor import EditingData
from varedit.training.recipe import Recipe

RECIPE = """
name = "toy"

[autoencoder]
latent_channels = 6
base_channels = 24
channel_multipliers = [1, 1]
res_blocks_per_level = 1
stem_patch = 4
norm = "pixel"
step_sizes = [1.0, 0.9, 0.81]

[transformer]
width = 24
depth = 2
num_heads = 2
ffn_hidden = 48
token_bits = 6
text_channels = 16
max_text_length = 16
pool_heads = 1
level_rows = 3
source_residual = true

[schedule.templates]
"square" = [[1, 1], [2, 2], [4, 4]]
"wide" = [[1, 1], [2, 3], [3, 5]]

[text_encoder]
d_model = 16
d_kv = 8
d_ff = 24
num_layers = 1
num_heads = 2

[training]
seed = 3

[training.template_weights]
"square" = 2
"wide" = 1

[training.autoencoder]
steps = 6
batch_size = 2
learning_rate = 2e-3
warmup_steps = 2
checkpoint_every = 3
validate_every = 3

[training.editor]
steps = 6
batch_size = 2
learning_rate = 2e-3
warmup_steps = 2
checkpoint_every = 3
validate_every = 3
flip_strength = 0.3
text_dropout = 0.3
"""


class Negatives:
    """Pairs of soft random pictures; the target is the negative or, for odd indices, the same picture."""

    def batch(self, indices: Sequence[int], size_hw: tuple[int, int]) -> PairBatch:
        sources, targets, instructions = [], [], []
        for index in indices:
            random = np.random.default_rng(index)
            source = np.broadcast_to(random.integers(0, 256, (1, 1, 3)), (*size_hw, 3)).astype(np.uint8)
            sources.append(source)
            targets.append(255 - source if index % 2 == 0 else source)
            instructions.append("invert the colours" if index % 2 == 0 else "change nothing")
        return PairBatch(np.stack(sources), instructions, np.stack(targets))


DATA = EditingData(Negatives(), Negatives(), ("invert", "the", "colours", "change", "nothing"))


def read_recipe(folder: Path, *changes: tuple[str, str]) -> Recipe:
    """The toy recipe with parts of its text replaced, read from a file in the folder."""
    text = RECIPE
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (folder / "recipe.toml").write_text(text)
    return Recipe.read(folder / "recipe.toml")


def toy_autoencoder(recipe: Recipe, folder: Path) -> Path:
    """An untrained autoencoder of a recipe, the same at every call."""
    torch.manual_seed(0)
    save_weights(Autoencoder(recipe.editor.autoencoder).state_dict(), folder / "autoencoder")
    return folder / "autoencoder"

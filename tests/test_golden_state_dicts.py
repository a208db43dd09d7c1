"""Names and shapes of the released weights, against our modules at the released sizes; no weight is allocated."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.golden_files import autoencoder_config, transformer_config
from varedit.autoencoder import Autoencoder
from varedit.released import IGNORED, autoencoder_name, transformer_name
from varedit.transformer.model import VAREditTransformer

pytestmark = pytest.mark.golden


@dataclass(frozen=True)
class Released:
    facts: dict[str, Any]
    shapes: dict[str, torch.Size]  # of everything but the ignored buffers, by released name

    @property
    def is_transformer(self) -> bool:
        return "embed_dim" in self.facts

    def module(self) -> nn.Module:
        with torch.device("meta"):
            if self.is_transformer:
                return VAREditTransformer(transformer_config(self.facts, self.shapes))
            return Autoencoder(autoencoder_config(self.facts))

    def our_name(self, released: str) -> str:
        if self.is_transformer:
            return transformer_name(released, self.facts["depth"] // self.facts["block_chunks"])
        return autoencoder_name(released)


@pytest.fixture(scope="module")
def released(golden_dir: Path) -> list[Released]:
    found = []
    for path in sorted(golden_dir.glob("state_dict_*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        shapes = {name: torch.Size(entry["shape"]) for name, entry in facts["entries"].items()}
        found.append(Released(facts, {name: shape for name, shape in shapes.items() if not IGNORED.match(name)}))
    if not found:
        pytest.skip(f"no state dicts in {golden_dir}")
    return found


def test_names_and_shapes_map_one_to_one(released):
    for weights in released:
        renamed = {weights.our_name(name): shape for name, shape in weights.shapes.items()}
        assert len(renamed) == len(weights.shapes)
        assert renamed == {name: tensor.shape for name, tensor in weights.module().state_dict().items()}


def test_what_is_ignored_holds_no_learned_value(released):
    for weights in released:
        assert not any(IGNORED.match(name) for name in weights.facts["parameters"])


def test_trainable_names_and_their_number_of_elements(released):
    for weights in released:
        parameters = dict(weights.module().named_parameters())
        assert {weights.our_name(name) for name in weights.facts["parameters"]} == set(parameters)
        assert sum(tensor.numel() for tensor in parameters.values()) == weights.facts["num_parameters"]


def test_other_spellings_of_the_released_names_mean_the_same(released):
    for weights in released:
        for name in weights.shapes:
            assert weights.our_name(other_spelling(weights, name)) == weights.our_name(name)


def other_spelling(weights: Released, name: str) -> str:
    """Blocks counted through, as in one chunk; convolutions and norms without their inner module, as in older files."""
    if not weights.is_transformer:
        return re.sub(r"\.(conv|norm)\.(weight|bias)$", r".\2", name)
    found = re.match(r"block_chunks\.(\d+)\.module\.(\d+)\.(.*)", name)
    if found is None:
        return name
    per_chunk = weights.facts["depth"] // weights.facts["block_chunks"]
    return f"blocks.{int(found[1]) * per_chunk + int(found[2])}.{found[3]}"

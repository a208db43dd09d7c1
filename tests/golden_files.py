"""The vectors of the released implementation: files as they lie in a folder, and our configurations made of them.

Everything comes from the files themselves, so that another folder of the same format can be used. Tolerance of the
vectors' own description: largest error over the tensor's standard deviation (scalars: over the value), 1e-4; bits are
equal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from varedit.autoencoder import Autoencoder
from varedit.config import AutoencoderConfig, TransformerConfig
from varedit.quantizer import MultiScaleQuantizer
from varedit.released import IGNORED, autoencoder_name, transformer_name
from varedit.scales import ScaleSchedule, Template
from varedit.text_features import TextFeatures
from varedit.transformer.model import VAREditTransformer
from varedit.transformer.reference import SequenceLayout, sequence_layout

TOLERANCE = 1e-4


@dataclass(frozen=True)
class GoldenFile:
    """One pair of JSON and safetensors files.

    Attributes:
        name: without ending.
        facts: the JSON.
        tensors: by name; weights are float16 that stand for exact float32 numbers.
    """

    name: str
    facts: dict[str, Any]
    tensors: dict[str, Tensor]

    def check(self, tensor: str, found: Tensor) -> None:
        """Hold float results against a vector of this file."""
        expected = self.tensors[tensor]
        assert found.shape == expected.shape, f"{self.name} {tensor}: {tuple(found.shape)}"
        spread = expected.std() if expected.numel() > 1 else expected.abs().squeeze()
        error = ((found - expected).abs().max() / spread).item()
        assert error <= TOLERANCE, f"{self.name} {tensor}: error {error:.2e}"

    def check_bits(self, tensor: str, found: Tensor) -> None:
        """Hold bits or labels, in the vector's own layout, against a vector of this file."""
        expected = self.tensors[tensor].bool()
        assert found.dtype == torch.bool and found.shape == expected.shape, f"{self.name} {tensor}: {found.shape}"
        wrong = int((found != expected).sum())
        assert wrong == 0, f"{self.name} {tensor}: {wrong} of {expected.numel()} bits are wrong"

    def check_grid_bits(self, tensor: str, found: Tensor) -> None:
        """The same for bits (B, d, h, w), which the vectors hold as (B, h, w, d)."""
        self.check_bits(tensor, found.permute(0, 2, 3, 1))

    def grid_bits(self, tensor: str) -> Tensor:
        """Bits (B, d, h, w) from a vector (B, h, w, d)."""
        return self.tensors[tensor].permute(0, 3, 1, 2).bool()

    def series(self, tensor: str) -> list[Tensor]:
        """All of TENSOR.0, TENSOR.1, ..."""
        return [self.tensors[f"{tensor}.{k}"] for k in range(self.count(tensor))]

    def count(self, tensor: str) -> int:
        """How many of TENSOR.0, TENSOR.1, ... there are."""
        return sum(re.fullmatch(re.escape(tensor) + r"\.\d+", name) is not None for name in self.tensors)

    @property
    def merge(self) -> int:
        """Side of the squares of latents that form a token."""
        return 2 if self.facts["patchify"] else 1

    @property
    def schedule(self) -> ScaleSchedule:
        """Token grids of the scales in use."""
        return ScaleSchedule.from_grids(self.facts["scales_hw"])

    @property
    def text(self) -> TextFeatures:
        """The instructions, padded; the vectors hold them one behind the other."""
        lengths = tuple(self.facts["text_lengths"])
        items = self.tensors["text_features"].split(lengths)
        return TextFeatures(torch.nn.utils.rnn.pad_sequence(list(items), batch_first=True), lengths)

    def weights(self, prefix: str) -> dict[str, Tensor]:
        """Float32 weights whose names begin with a prefix, under their released names."""
        named = {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}
        return {name: tensor.float() for name, tensor in named.items()}


def golden_files(folder: Path, kind: str) -> list[GoldenFile]:
    """All files of a kind; skips the test where the folder has none."""
    found = list(_of_kind(folder, kind))
    if not found:
        pytest.skip(f"no vectors of kind {kind} in {folder}")
    return found


def _of_kind(folder: Path, kind: str) -> Iterator[GoldenFile]:
    for path in sorted(folder.glob("*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts.get("kind") == kind:
            yield GoldenFile(path.stem, facts, load_file(path.with_suffix(".safetensors")))


def autoencoder_config(facts: Mapping[str, Any]) -> AutoencoderConfig:
    """The sizes that a JSON names."""
    config = AutoencoderConfig(
        latent_channels=facts["latent_channels"],
        base_channels=facts["base_channels"],
        channel_multipliers=tuple(facts["channel_multipliers"]),
        res_blocks_per_level=facts["res_blocks_per_level"],
    )
    assert config.downscale == facts["downscale"]
    return config


def transformer_config(facts: Mapping[str, Any], shapes: Mapping[str, torch.Size]) -> TransformerConfig:
    """The sizes that a JSON names, and those that show only in the shapes of the released weights."""
    return TransformerConfig(
        width=facts["embed_dim"],
        depth=facts["depth"],
        num_heads=facts["num_heads"],
        ffn_hidden=facts["mlp_hidden"],
        token_bits=facts["token_bits"],
        text_channels=facts["text_channels"],
        max_text_length=facts["text_maxlen"],
        pool_heads=shapes["text_proj_for_sos.ca.mat_q"][1],
        level_rows=shapes["lvl_embed.weight"][0],
        norm_eps=facts.get("norm_eps", 1e-6),
        reference=facts.get("reference", "sar"),
        rotary_layout="released_flat",
    )


@dataclass(frozen=True)
class GoldenTransformer:
    """A transformer with the weights of a file, and what it runs on."""

    model: VAREditTransformer
    quantizer: MultiScaleQuantizer
    layout: SequenceLayout
    merge: int


def golden_autoencoder(file: GoldenFile, facts: Mapping[str, Any], prefix: str) -> Autoencoder:
    """The autoencoder whose weights a file holds."""
    autoencoder = Autoencoder(autoencoder_config(facts))
    weights = file.weights(prefix)
    autoencoder.load_state_dict({autoencoder_name(name): tensor for name, tensor in weights.items()})
    return autoencoder.eval().requires_grad_(False)


def golden_transformer(
    file: GoldenFile, facts: Mapping[str, Any], latent_channels: int, prefix: str
) -> GoldenTransformer:
    """The transformer whose weights a file holds, on the file's schedule."""
    weights = file.weights(prefix)
    config = transformer_config(facts, {name: tensor.shape for name, tensor in weights.items()})
    model = VAREditTransformer(config)
    per_chunk = config.depth // facts["block_chunks"]
    kept = {name: tensor for name, tensor in weights.items() if not IGNORED.match(name)}
    model.load_state_dict({transformer_name(name, per_chunk): tensor for name, tensor in kept.items()})
    rotary_reference = ScaleSchedule.from_grids(file.facts["rotary_reference_schedule_hw"])
    template = Template(file.name, file.schedule.aspect_ratio, file.schedule, rotary_reference)
    return GoldenTransformer(
        model=model.eval().requires_grad_(False),
        quantizer=MultiScaleQuantizer(file.schedule.scaled(file.merge), latent_channels),
        layout=sequence_layout(config, template),
        merge=file.merge,
    )

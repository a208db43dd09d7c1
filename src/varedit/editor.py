"""The parts of one editor put together: the single place that knows how they fit.

`Editor` holds weights and schedules and turns pixels and instructions into features; what users hold is
`varedit.pipeline.VAREditPipeline`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from varedit.autoencoder import Autoencoder
from varedit.checkpoints import load_config, load_weights, replaced_folder, save_weights
from varedit.config import EditorConfig
from varedit.errors import ModelError
from varedit.precision import set_compute_dtype
from varedit.quantizer import MultiScaleQuantizer
from varedit.scales import Template
from varedit.text import TextEncoder
from varedit.transformer.model import VAREditTransformer
from varedit.transformer.reference import SequenceLayout, sequence_layout


@dataclass
class Editor:
    """An autoencoder, a transformer and a text encoder of one configuration, on one device."""

    config: EditorConfig
    autoencoder: Autoencoder
    transformer: VAREditTransformer
    text_encoder: TextEncoder

    @classmethod
    def load(cls, folder: Path, device: torch.device, dtype: torch.dtype) -> Editor:
        """Read a model folder; weights are memory-mapped and nothing is initialised first.

        Raises: ModelError, ConfigError.
        """
        config = load_config(folder)
        with torch.device("meta"):
            autoencoder = Autoencoder(config.autoencoder)
            transformer = VAREditTransformer(config.transformer)
        set_compute_dtype(transformer, autoencoder, dtype)  # before loading: nothing is ever held in a wider type
        load_weights(autoencoder, folder / "autoencoder")
        load_weights(transformer, folder / "transformer")
        text_encoder = TextEncoder.from_folder(folder, config.transformer.max_text_length, dtype)
        if (channels := text_encoder.channels) != config.transformer.text_channels:
            raise ModelError(
                f"the text encoder in {folder} gives {channels} channels, but config.json says "
                f"text_channels = {config.transformer.text_channels}"
            )
        editor = cls(config, autoencoder.eval(), transformer.eval(), text_encoder.eval())
        editor.to(device)
        return editor

    def save(self, folder: Path, max_shard_size: str = "5GB") -> None:
        """Write a model folder; it appears whole or not at all."""
        with replaced_folder(folder) as temporary:
            (temporary / "config.json").write_text(self.config.to_json(), encoding="utf-8")
            save_weights(self.autoencoder.state_dict(), temporary / "autoencoder", max_shard_size)
            save_weights(self.transformer.state_dict(), temporary / "transformer", max_shard_size)
            self.text_encoder.save(temporary)

    def to(self, device: torch.device) -> None:
        """Move all parts to a device."""
        for part in (self.autoencoder, self.transformer, self.text_encoder):
            part.to(device)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.transformer.head.weight.device

    def quantizer(self, template: Template) -> MultiScaleQuantizer:
        """The quantiser on a template's latent grids."""
        return latent_quantizer(self.config, template)

    def layout(self, template: Template) -> SequenceLayout:
        """The token layout of a template, on the model's device."""
        return sequence_layout(self.config.transformer, template, self.device)

    def decode(self, features: Tensor) -> Tensor:
        """Features (B, d, H, W) -> pixels (B, 3, h, w) float32 in [-1, 1], on the CPU."""
        return self.autoencoder.decode(features).cpu()


def latent_quantizer(config: EditorConfig, template: Template) -> MultiScaleQuantizer:
    """The quantiser of a configuration on a template's latent grids."""
    grids = template.schedule.scaled(config.merge)
    return MultiScaleQuantizer(grids, config.autoencoder.latent_channels, config.autoencoder.step_sizes)

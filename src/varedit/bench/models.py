"""Which model is measured: a folder with weights, or any configuration with random ones."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch

from varedit.bench.random_weights import random_editor
from varedit.checkpoints import load_config
from varedit.config import EditorConfig, ScheduleConfig
from varedit.editor import Editor
from varedit.errors import UsageError
from varedit.presets import preset_named
from varedit.scales import Template

TEXT_LAYERS = 24  # of flan-t5-xl, with which the released models read instructions
BUDGET_OF_SIZE = {256: "0.06M", 512: "0.25M", 768: "0.60M", 1024: "1M"}  # side of the square in pixels


@dataclass(frozen=True, kw_only=True)
class BenchModel:
    """What is needed to load a model, or to draw the same random one again.

    Attributes:
        config: its configuration.
        folder: where its weights are; None draws random ones.
        text_layers: of a random model's text encoder.
    """

    config: EditorConfig
    folder: Path | None = None
    text_layers: int = TEXT_LAYERS

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """A model folder as it is. Raises ModelError, ConfigError."""
        return cls(config=load_config(folder), folder=folder)

    @classmethod
    def of_preset(cls, name: str, depth: int | None = None) -> Self:
        """Random weights of a preset; with a depth, so many blocks and a text encoder cut in the same proportion.

        Raises: UsageError.
        """
        config = preset_named(name).config
        whole = config.transformer.depth
        if depth is None:
            return cls(config=config)
        if depth > whole:
            raise UsageError(f"{name} has {whole} blocks; the depth can be 1 to {whole}, not {depth}")
        cut = replace(config, transformer=replace(config.transformer, depth=depth))
        return cls(config=cut, text_layers=math.ceil(TEXT_LAYERS * depth / whole))

    def at_size(self, size: int) -> Self:
        """The same model under the released schedules for a square of ``size`` pixels. Raises UsageError."""
        if self.config.schedule.budget is None:
            raise UsageError(f"the model {self.config.name} has scale schedules of its own; leave the size out")
        return replace(self, config=replace(self.config, schedule=ScheduleConfig(budget=BUDGET_OF_SIZE[size])))

    def template(self, name: str | None) -> Template:
        """A scale schedule by name, or the square one. Raises UsageError for an unknown name, with the known ones."""
        templates = self.config.templates
        if name is None:
            return templates.square
        found = {template.name: template for template in templates.templates}
        if name not in found:
            raise UsageError(f"{self.config.name} has no template {name}; it has {', '.join(found)}")
        return found[name]

    def load(self, device: torch.device, dtype: torch.dtype) -> Editor:
        """Read the weights, or draw them: the same ones every time. Raises ModelError, ConfigError."""
        if self.folder is not None:
            return Editor.load(self.folder, device, dtype)
        return random_editor(self.config, self.text_layers, device, dtype)

    def to_dict(self) -> dict[str, Any]:
        """JSON values: config (as in config.json), folder (a path or None), text_layers."""
        folder = None if self.folder is None else str(self.folder)
        return {"config": json.loads(self.config.to_json()), "folder": folder, "text_layers": self.text_layers}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises ConfigError."""
        folder = values["folder"]
        return cls(
            config=EditorConfig.from_json(json.dumps(values["config"])),
            folder=None if folder is None else Path(folder),
            text_layers=values["text_layers"],
        )

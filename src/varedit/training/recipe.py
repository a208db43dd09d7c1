"""A recipe file (TOML): a model's configuration beside the settings of both of its trainings."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from varedit.config import (
    AutoencoderConfig,
    ConfigSection,
    EditorConfig,
    GenerationConfig,
    ScheduleConfig,
    TransformerConfig,
)
from varedit.errors import ConfigError, InputMissing


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings(ConfigSection):
    """What both trainings choose: length, batch, learning rate over time, and how often to look and to save."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 200  # linear from zero
    decay_fraction: float = 0.4  # the last share of the steps, over which the rate falls linearly to zero
    clip_norm: float = 1.0
    weight_decay: float = 0.005
    ema_decay: float = 0.999
    checkpoint_every: int = 500  # steps
    validate_every: int = 1000  # steps

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0: warm-up, constant, linear decay."""
        decay_steps = max(1.0, self.decay_fraction * self.steps)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps, (self.steps - step) / decay_steps)


@dataclass(frozen=True, kw_only=True)
class AutoencoderTraining(OptimizerSettings):
    """Settings of the autoencoder's training."""

    commitment_weight: float = 0.1  # times the squared distance of a feature vector to its code


@dataclass(frozen=True, kw_only=True)
class EditorTraining(OptimizerSettings):
    """Settings of the editor's training (spec "Training")."""

    text_dropout: float = 0.1  # share of items trained with the null text, for guidance
    flip_strength: float = 0.3  # p: the flip probability of a scale is drawn from 0..p
    changed_bit_weight: float = 1.0  # loss weight of bits that a copy of the source gets wrong; falls to 1 by half-time
    initial_gain: float = 1.0  # of the residual branches, see `initialisation`


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One recipe file, checked."""

    editor: EditorConfig
    text_encoder: dict[str, Any]  # arguments of transformers.T5Config
    seed: int
    template_weights: dict[str, float]
    autoencoder_training: AutoencoderTraining
    editor_training: EditorTraining
    text: str = field(repr=False)  # the file itself, kept with the run

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Read and check a recipe. Raises InputMissing or ConfigError."""
        try:
            text = path.read_text(encoding="utf-8")
            values = tomllib.loads(text)
        except FileNotFoundError as error:
            raise InputMissing(f"there is no recipe at {path}") from error
        except ValueError as error:
            raise ConfigError(f"{path} is not a valid TOML file: {error}") from error
        try:
            training = values["training"]
            recipe = cls(
                editor=EditorConfig(
                    name=values["name"],
                    autoencoder=AutoencoderConfig.from_dict(values["autoencoder"]),
                    transformer=TransformerConfig.from_dict(values["transformer"]),
                    schedule=ScheduleConfig.from_dict(values["schedule"]),
                    patch_merge=values.get("patch_merge", False),
                    generation=GenerationConfig.from_dict(values.get("generation", {})),
                ),
                text_encoder=values["text_encoder"],
                seed=training["seed"],
                template_weights=training["template_weights"],
                autoencoder_training=AutoencoderTraining.from_dict(training["autoencoder"]),
                editor_training=EditorTraining.from_dict(training["editor"]),
                text=text,
            )
        except KeyError as error:
            raise ConfigError(f"{path} lacks the section or value {error}") from error
        unknown = set(recipe.template_weights) - {template.name for template in recipe.editor.templates.templates}
        if unknown:
            raise ConfigError(f"{path} weights templates that the schedule does not have: {', '.join(sorted(unknown))}")
        return recipe

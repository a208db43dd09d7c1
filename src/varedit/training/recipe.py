"""A recipe file (TOML): a model's configuration beside the settings of both of its trainings."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from varedit.config import (
    AutoencoderConfig,
    ChangeDetectorConfig,
    ConfigSection,
    EditorConfig,
    GenerationConfig,
    ScheduleConfig,
    TransformerConfig,
)
from varedit.errors import ConfigError, InputMissing

SHARES_OF_THE_PROPOSAL = ("proposal_share", "pixel_share")


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings(ConfigSection):
    """What both trainings choose: length, batch, learning rate over time, and how often to look and to save."""

    section: ClassVar[str]  # of [training] in a recipe

    steps: int
    batch_size: int  # items of a step, on all processes together
    learning_rate: float
    warmup_steps: int = 200  # linear from zero
    decay_fraction: float = 0.4  # the last share of the steps, over which the rate falls linearly to zero
    decay_steps: int | None = None  # the same as a number of steps; it counts before decay_fraction
    clip_norm: float = 1.0
    weight_decay: float = 0.005
    optimizer: Literal["adamw", "muon"] = "adamw"
    ema_decay: float = 0.999
    accumulation: int = 1  # parts of a step that are computed one after the other, to save memory
    precision: Literal["bfloat16", "float32"] = "bfloat16"  # of matrices and convolutions; weights stay float32
    data_workers: int = 1  # processes that make batches ahead of each trainer
    scene_repeats: int = 1  # steps that train on the same scenes; more where making them is slower than learning them
    checkpoint_every: int = 500  # steps
    validate_every: int = 1000  # steps

    @property
    def decay_length(self) -> float:
        """Steps over which the rate falls to zero, the last ones."""
        return max(1.0, self.decay_fraction * self.steps if self.decay_steps is None else self.decay_steps)

    @property
    def some_rest(self) -> bool:
        """Whether there are steps in which some of the weights are not used."""
        return False

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0: warm-up, constant, linear decay."""
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps, (self.steps - step) / self.decay_length)


@dataclass(frozen=True, kw_only=True)
class AutoencoderTraining(OptimizerSettings):
    """Settings of the autoencoder's training. A term whose weight is zero is not computed."""

    section: ClassVar[str] = "autoencoder"

    l1_weight: float = 1.0  # times the absolute error
    squared_weight: float = 1.0  # times the squared error
    commitment_weight: float = 0.1  # times the squared distance of a feature vector to its code
    sample_entropy_weight: float = 0.0  # times the entropy of single codes, see `entropy`; 0.1 in BSQ's own training
    codebook_entropy_weight: float = 0.0  # times the entropy of all codes together, which is to grow
    entropy_inverse_temperature: float = 100.0
    perceptual_weight: float = 0.0  # times LPIPS, see `perceptual`
    perceptual_backbone: str | None = None  # VGG16: a file, or a name on the hub
    perceptual_heads: str | None = None  # the file vgg.pth of the package lpips
    adversarial_weight: float = 0.0  # times the generator's term, see `discriminator`
    adversarial_start: int = 1  # the first step, counted from 1, with an adversarial loss
    adversarial_balance: bool = False  # weigh the generator's term by its pull at the decoder, too, as VQGAN does
    discriminator_channels: int = 64

    @property
    def some_rest(self) -> bool:
        """A discriminator waits for its first step."""
        return self.adversarial_weight > 0 and self.adversarial_start > 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.entropy_inverse_temperature == 0:
            raise ConfigError("entropy_inverse_temperature must be above 0")
        if not self.perceptual_weight:
            return
        for name in ("perceptual_backbone", "perceptual_heads"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(
                    f"perceptual_weight is {self.perceptual_weight}, so {name} must name a file of weights, not "
                    f"{getattr(self, name)!r}"
                )


@dataclass(frozen=True, kw_only=True)
class LoraSettings(ConfigSection):
    """Low-rank adapters on linear layers of the transformer's blocks (LoRA, 2106.09685); all else is frozen."""

    rank: int = 16
    alpha: float = 32.0  # the product of the two small matrices is multiplied by alpha / rank
    targets: tuple[str, ...] = ("query_key_value", "query", "key_value", "project", "widen", "narrow")  # in each block

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.targets:
            raise ConfigError("targets must name at least one linear layer of a block, such as query_key_value")


@dataclass(frozen=True, kw_only=True)
class EditorTraining(OptimizerSettings):
    """Settings of the editor's training (spec "Training")."""

    section: ClassVar[str] = "editor"

    text_dropout: float = 0.1  # share of items trained with the null text, for guidance
    flip_strength: float = 0.3  # p: the flip probability of a scale is drawn from 0..p
    changed_bit_weight: float = 1.0  # loss weight of bits that a copy of the source gets wrong, at the first step
    fade_steps: int | None = None  # over which that weight falls to 1; None: half of the steps
    coarse_share: float = 0.0  # of the steps that train the coarsest scales alone, which cost less and decide the edit
    coarse_scales: int | None = None  # how many these are
    proposal_share: float = 0.0  # of the steps that train the source's proposal alone (`source_proposal`)
    pixel_share: float = 0.0  # of the steps that train the proposal's pixel network alone, the cheapest
    initial_kind: Literal["scratch", "infinity", "editor"] = "scratch"  # what the first weights are, see `initial`
    initial: str | None = None  # an Infinity checkpoint (file or sharded folder), or the folder of an editor
    initial_gain: float = 1.0  # of the residual branches from scratch, see `initialisation`
    train_text_encoder: bool = True  # one that came with words of its own ([text_encoder] folder) is always frozen
    gradient_checkpointing: bool = False  # blocks are computed again in the backward pass, to save memory
    lora: LoraSettings | None = None  # None: all weights learn

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.initial is None) != (self.initial_kind == "scratch"):
            raise ConfigError(
                f'initial_kind is "{self.initial_kind}" and initial is {self.initial!r}: "scratch" takes no path, '
                '"infinity" and "editor" need one'
            )
        if (self.coarse_scales is None) != (self.coarse_share == 0.0) or self.coarse_share > 1.0:
            raise ConfigError(
                f"coarse_share is {self.coarse_share} and coarse_scales is {self.coarse_scales}: give both, the share "
                "at most 1, or neither"
            )
        for name in SHARES_OF_THE_PROPOSAL:
            if getattr(self, name) > 1.0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it is a share of the steps, at most 1")
        if self.initial is not None and not isinstance(self.initial, str):
            raise ConfigError(f"initial must be a path, not {self.initial!r}")
        if self.lora is not None and self.initial_kind != "editor":
            raise ConfigError(f'lora adapts a trained editor: set initial_kind to "editor", not "{self.initial_kind}"')

    @property
    def some_rest(self) -> bool:
        """The target's own weights rest while the source's proposal is trained, most others while a part of it is."""
        return any(getattr(self, name) > 0 for name in SHARES_OF_THE_PROPOSAL)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """As `ConfigSection.from_dict`, with the table `lora` inside."""
        nested = {"lora": LoraSettings.from_dict(values["lora"])} if "lora" in values else {}
        return super().from_dict({**values, **nested})

    def changed_weight(self, step: int) -> float:
        """Loss weight at a step of bits that a copy of the source gets wrong: falls linearly to 1."""
        fade_steps = self.steps / 2 if self.fade_steps is None else self.fade_steps
        return 1 + (self.changed_bit_weight - 1) * max(0.0, 1 - step / fade_steps)


@dataclass(frozen=True, kw_only=True)
class ChangeDetectorTraining(OptimizerSettings):
    """Settings of the training that tells edits from noise, see `training.change_detector`."""

    section: ClassVar[str] = "change_detector"

    edits: int  # training scenes that the editor edits first
    initial: str | None = None  # folder of a detector's weights to go on from
    success_weight: float = 2.0  # of keeping what must stay and changing what must change, beside pixels told right
    detector: ChangeDetectorConfig = field(default_factory=ChangeDetectorConfig)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """As `ConfigSection.from_dict`, with the table `detector` inside."""
        nested = {"detector": ChangeDetectorConfig.from_dict(values["detector"])} if "detector" in values else {}
        return super().from_dict({**values, **nested})


@dataclass(frozen=True, kw_only=True)
class DataSettings(ConfigSection):
    """One source of editing pairs."""

    kind: str = "scenes"  # or a kind of data set, see `varedit.data.readers`
    path: str | None = None  # of a data set; scenes are made of the material that the command names
    pictures: str | None = None  # folder of a data set's pictures, where they lie apart
    split: str | None = None  # of a data set that has several
    weight: float = 1.0  # how often a step takes its batch from here, relative to the other sources
    shares: dict[str, float] | None = None  # of the families of training scenes; None: `data.scenes.TRAINING_SHARES`

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shares is not None and self.kind != "scenes":
            raise ConfigError(f'a source of kind "{self.kind}" takes no shares: only scenes have families')
        if (self.path is None) != (self.kind == "scenes"):
            raise ConfigError(f'a source of kind "{self.kind}" {"needs a" if self.path is None else "takes no"} path')
        if self.weight == 0:
            raise ConfigError(f'the source of kind "{self.kind}" has weight 0; leave it out instead')


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One recipe file, checked."""

    editor: EditorConfig
    text_encoder: dict[str, Any]  # fields of t5.T5Config, or the folder of a trained T5 as "folder"
    seed: int
    template_weights: dict[str, float]  # of scenes; records from outside go to the template nearest to them
    data: tuple[DataSettings, ...]
    validation: DataSettings
    autoencoder_training: AutoencoderTraining
    editor_training: EditorTraining
    change_detector_training: ChangeDetectorTraining | None  # None: the model has no detector
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
                data=tuple(DataSettings.from_dict(table) for table in training.get("data", [{}])),
                validation=DataSettings.from_dict(training.get("validation", {})),
                autoencoder_training=AutoencoderTraining.from_dict(training["autoencoder"]),
                editor_training=EditorTraining.from_dict(training["editor"]),
                change_detector_training=(
                    ChangeDetectorTraining.from_dict(training["change_detector"])
                    if "change_detector" in training
                    else None
                ),
                text=text,
            )
        except KeyError as error:
            raise ConfigError(f"{path} lacks the section or value {error}") from error
        for name in SHARES_OF_THE_PROPOSAL:
            if getattr(recipe.editor_training, name) and not recipe.editor.transformer.source_proposal:
                raise ConfigError(f"{path} sets {name}, but its transformer has no source_proposal")
        unknown = set(recipe.template_weights) - {template.name for template in recipe.editor.templates.templates}
        if unknown:
            raise ConfigError(f"{path} weights templates that the schedule does not have: {', '.join(sorted(unknown))}")
        return recipe

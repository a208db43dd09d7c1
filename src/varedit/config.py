"""What a checkpoint fixes: frozen dataclasses that check themselves, written as one JSON file beside the weights.

Sizes and switches of the released models: spec "Released configurations". The options that the released weights need
and sound models do not (`rotary_layout`), and those that small models need and the paper's form lacks
(`source_residual`, `residual_shift`, `source_proposal`, `norm`, `stem_patch`, `linear_path`, `step_sizes`), are fields
here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_type_hints

from varedit.errors import ConfigError
from varedit.scales import BUDGETS, RELEASED_TEMPLATES, ScaleSchedule, Template, TemplateSet

FORMAT = "varedit"
FORMAT_VERSION = 1
MAX_DEPTH = 512  # ten times the largest model known; a damaged or hostile file must not fill the memory

Reference = Literal["sar", "finest", "full"]
RotaryLayout = Literal["exact", "released_flat"]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


# What a field of each type may hold, and how a message says it.
_CHECKS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    int: (_is_count, "a positive whole number"),
    int | None: (lambda value: value is None or _is_count(value), "a positive whole number, or nothing"),
    float: (_is_number, "a finite number of at least 0"),
    float | None: (lambda value: value is None or _is_number(value), "a finite number of at least 0, or nothing"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    tuple[int, ...]: (
        lambda value: isinstance(value, tuple) and all(map(_is_count, value)),
        "a list of positive whole numbers",
    ),
    tuple[float, ...]: (
        lambda value: isinstance(value, tuple) and all(map(_is_number, value)),
        "a list of finite numbers of at least 0",
    ),
    Mapping[str, Any] | None: (lambda value: value is None or isinstance(value, Mapping), "an object, or nothing"),
}


class ConfigSection:
    """Checks shared by all parts: words from a closed set, positive sizes, no unknown keys."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for item in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value, hint = getattr(self, item.name), hints[item.name]
            if hint in _CHECKS and not _CHECKS[hint][0](value):
                raise ConfigError(f"{item.name} must be {_CHECKS[hint][1]}, not {value!r}")
            words = getattr(hint, "__args__", ()) if getattr(hint, "__origin__", None) is Literal else ()
            if words and value not in words:
                raise ConfigError(f"{item.name} must be one of {', '.join(map(str, words))}, not {value!r}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from JSON values; lists become tuples. Raises ConfigError for unknown or missing keys."""
        if not isinstance(values, Mapping):
            raise ConfigError(f"the {cls.__name__} section must be an object, not {values!r}")
        fields = {item.name: item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]  # as above
        unknown = sorted(set(values) - set(fields))
        if unknown:
            raise ConfigError(f"unknown key(s) in the {cls.__name__} section: {', '.join(unknown)}")
        try:
            return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
        except TypeError as error:
            raise ConfigError(f"the {cls.__name__} section is incomplete: {error}") from error


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(ConfigSection):
    """Sizes of the convolutional autoencoder and of its quantiser (spec "Autoencoder", "Quantiser")."""

    latent_channels: int  # d
    base_channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 2, 4, 4, 4)
    res_blocks_per_level: int = 2  # n in the encoder, n + 1 in the decoder
    stem_patch: int = 1  # pixels are merged in squares of this side before the first convolution
    norm: Literal["group", "pixel"] = "group"  # "pixel": root mean square over channels, no spatial statistics
    linear_path: bool = False  # beside each half, one linear map between a latent and its square of pixels
    step_sizes: tuple[float, ...] = (1.0,)  # length of the codes of scales 1..K; the last one counts for all others

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.channel_multipliers:
            raise ConfigError("channel_multipliers must name at least one level")
        widths = [self.base_channels * multiplier for multiplier in self.channel_multipliers]
        if self.norm == "group" and any(width % 32 and width % 24 for width in (self.base_channels, *widths)):
            raise ConfigError(f"group norm needs widths that 32 or 24 divides, not {widths}; change base_channels")
        if not self.step_sizes or min(self.step_sizes) <= 0.0:
            raise ConfigError(f"step_sizes must be positive numbers, one at least, not {list(self.step_sizes)}")

    @property
    def downscale(self) -> int:
        """Pixels per latent position and axis."""
        return int(self.stem_patch * 2 ** (len(self.channel_multipliers) - 1))


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(ConfigSection):
    """Sizes and switches of the transformer (spec "Transformer")."""

    width: int  # D
    depth: int
    num_heads: int  # N
    ffn_hidden: int
    token_bits: int  # d, or 4 d where 2 x 2 latents are merged into one token
    text_channels: int
    max_text_length: int = 512  # rows of the learned unconditional text
    pool_heads: int = 16
    level_rows: int = 15  # rows of the level embedding; a schedule may have at most as many scales
    norm_eps: float = 1e-6
    reference: Reference = "sar"
    rotary_layout: RotaryLayout = "exact"
    source_residual: bool = False
    residual_shift: bool = False  # the copy path learns how far the target lies from the source, too
    source_proposal: bool = False  # the source's own states tell that distance first, once for all scales

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, parts in (("num_heads", self.num_heads), ("pool_heads", self.pool_heads)):
            if self.width % parts:
                raise ConfigError(f"width ({self.width}) must be a multiple of {name} ({parts})")
        if self.depth > MAX_DEPTH:
            raise ConfigError(f"depth is {self.depth}; at most {MAX_DEPTH} blocks are supported")
        if self.head_width % 4:
            raise ConfigError(f"the head width (width / num_heads = {self.head_width}) must be a multiple of 4")
        for name in ("residual_shift", "source_proposal"):
            if getattr(self, name) and not self.source_residual:
                raise ConfigError(f"{name} is a part of the copy path; set source_residual to true with it")
        if self.reference == "full" and self.rotary_layout != "exact":
            raise ConfigError('reference "full" has no released rotary layout; set rotary_layout to "exact"')

    @property
    def head_width(self) -> int:
        """E, channels per head."""
        return self.width // self.num_heads


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(ConfigSection):
    """Which scale schedules a model works with: the released tables up to a pixel budget, or its own templates."""

    budget: str | None = None  # "0.06M", "0.25M", "0.60M" or "1M"
    templates: Mapping[str, Any] | None = None  # name -> grids [[h, w], ...], coarse to fine
    rotary_reference: Mapping[str, Any] | None = None  # name -> grids of the position table, where it is longer

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.budget is None) == (self.templates is None):
            raise ConfigError("a schedule needs either a budget or its own templates, not both")
        if self.budget is not None and self.budget not in BUDGETS:
            raise ConfigError(f"budget must be one of {', '.join(BUDGETS)}, not {self.budget!r}")

    def template_set(self) -> TemplateSet:
        """The templates with their schedules, in the order in which ties are decided."""
        if self.budget is not None:
            return RELEASED_TEMPLATES.within(self.budget)
        longer = self.rotary_reference or {}
        templates = []
        for name, grids in (self.templates or {}).items():
            schedule = ScaleSchedule.from_grids(grids)
            reference = ScaleSchedule.from_grids(longer[name]) if name in longer else schedule
            if len(reference) < len(schedule):
                raise ConfigError(f"the rotary reference of template {name} has fewer scales than its schedule")
            templates.append(Template(name, schedule.aspect_ratio, schedule, reference))
        return TemplateSet(tuple(templates))


@dataclass(frozen=True, kw_only=True)
class GenerationConfig(ConfigSection):
    """Default call settings that suit a model; each call may choose others."""

    guidance_scale: float = 3.0
    temperature: float = 0.5
    top_k: int | None = None
    top_p: float | None = 0.97
    reuse: Mapping[str, Any] | None = None  # fields of `varedit.reuse.ReuseSettings`; nothing computes everything

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_p is not None and self.top_p > 1:
            raise ConfigError(f"top_p must be from 0 to 1, not {self.top_p}")


@dataclass(frozen=True, kw_only=True)
class ChangeDetectorConfig(ConfigSection):
    """A small network that tells edits from noise, see `varedit.change_detector`."""

    widths: tuple[int, ...] = (16, 32, 64)  # channels of each level, the finest first
    certainty: tuple[float, ...] = (0.2, 0.5)  # probability of a change: below, nothing changes; above, all may
    whole: tuple[float, ...] = (0.85, 0.92)  # changed share of the picture: above, all of it may change

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.widths or any(width % 4 for width in self.widths):
            raise ConfigError(f"widths must be multiples of 4, one at least, not {list(self.widths)}")
        for name in ("certainty", "whole"):
            ends = getattr(self, name)
            if len(ends) != 2 or not ends[0] < ends[1] <= 1:
                raise ConfigError(f"{name} must be two rising numbers from 0 to 1, not {list(ends)}")


@dataclass(frozen=True, kw_only=True)
class EditorConfig:
    """Everything that a model folder's config.json says."""

    name: str
    autoencoder: AutoencoderConfig
    transformer: TransformerConfig
    schedule: ScheduleConfig
    patch_merge: bool = False  # 2 x 2 latents form one token
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    change_detector: ChangeDetectorConfig | None = None  # the released models have none

    def __post_init__(self) -> None:
        merged = self.autoencoder.latent_channels * self.merge**2
        if self.transformer.token_bits != merged:
            raise ConfigError(
                f"token_bits is {self.transformer.token_bits}, but the autoencoder's latents give {merged}"
            )
        for template in self.templates.templates:
            if len(template.schedule) > self.transformer.level_rows:
                raise ConfigError(
                    f"template {template.name} has {len(template.schedule)} scales; "
                    f"the level embedding has {self.transformer.level_rows} rows"
                )

    @property
    def templates(self) -> TemplateSet:
        """The schedules this model can generate with."""
        return self.schedule.template_set()

    @property
    def token_pixels(self) -> int:
        """Pixels per token and axis."""
        return self.autoencoder.downscale * self.merge

    @property
    def merge(self) -> int:
        """Latents per token and axis."""
        return 2 if self.patch_merge else 1

    @property
    def num_scales(self) -> int:
        """K, the same for all templates."""
        return len(self.templates.templates[0].schedule)

    def picture_size(self, schedule: ScaleSchedule) -> tuple[int, int]:
        """(height, width) in pixels of what the model itself draws under a schedule."""
        height, width = schedule.final
        return height * self.token_pixels, width * self.token_pixels

    def to_json(self) -> str:
        """The text of config.json."""
        head: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION}
        parts = dataclasses.asdict(self)
        if self.change_detector is None:
            del parts["change_detector"]
        return json.dumps(head | parts, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> EditorConfig:
        """Read config.json. Raises ConfigError, in one sentence, for anything that is not a valid one."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"config.json is not valid JSON: {error}") from error
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ConfigError(f'config.json does not say "format": "{FORMAT}"; this is not a varedit model folder')
        version = values.pop("format_version", 0)
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise ConfigError(f"this model folder has format version {version}; upgrade varedit to read it")
        parts: dict[str, type[ConfigSection]] = {
            "autoencoder": AutoencoderConfig,
            "transformer": TransformerConfig,
            "schedule": ScheduleConfig,
            "generation": GenerationConfig,
            "change_detector": ChangeDetectorConfig,
        }
        unknown = sorted(set(values) - set(parts) - {"name", "patch_merge"})
        missing = sorted({"name", "autoencoder", "transformer", "schedule"} - set(values))
        if unknown or missing:
            raise ConfigError(f"config.json has unknown key(s) {unknown} or lacks key(s) {missing}")
        if not isinstance(values["name"], str) or not isinstance(values.get("patch_merge", False), bool):
            raise ConfigError("in config.json, name must be text and patch_merge true or false")
        built = {key: parts[key].from_dict(value) for key, value in values.items() if key in parts}
        return cls(**(values | built))

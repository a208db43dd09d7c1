"""The released models: their configurations, and the names under which they are published (spec, section 1).

Knows neither weights nor files; `varedit.conversion` makes model folders from these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from varedit.config import AutoencoderConfig, EditorConfig, GenerationConfig, ScheduleConfig, TransformerConfig
from varedit.errors import UsageError

TEXT_ENCODER = "google/flan-t5-xl"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One published model.

    Attributes:
        config: what its weights fix.
        title: for people.
        repository: where it is published on the hub.
        transformer, autoencoder, text_encoder: names of its files and folders there.
        edits: whether it was trained to edit; the others make pictures from text and are starting points for training.
    """

    config: EditorConfig
    title: str
    repository: str
    transformer: str
    autoencoder: str
    text_encoder: str = "flan-t5-xl"
    edits: bool = True


def preset_named(name: str) -> Preset:
    """Look up a preset. Raises UsageError for an unknown name, with the known ones."""
    if name not in PRESETS:
        raise UsageError(f"there is no preset {name}; known are {', '.join(PRESETS)}")
    return PRESETS[name]


_F16 = AutoencoderConfig(latent_channels=32)
_F8 = AutoencoderConfig(latent_channels=14, channel_multipliers=(1, 2, 4, 4))
_2B = TransformerConfig(
    width=2048,
    depth=32,
    num_heads=16,
    ffn_hidden=8192,
    token_bits=32,
    text_channels=2048,
    max_text_length=512,
    pool_heads=16,
    level_rows=15,
    rotary_layout="released_flat",
)
_8B = TransformerConfig(
    width=3584,
    depth=40,
    num_heads=28,
    ffn_hidden=14336,
    token_bits=56,
    text_channels=2048,
    max_text_length=512,
    pool_heads=16,
    level_rows=15,
    rotary_layout="released_flat",
)
# What the publishers' own page and README run these weights with. The paper's figures are 4 and 0.5. Their top-k of
# 900 means nothing for a bit, which has two outcomes; a top-p of 0.97 draws no bit that is 97 % certain.
_GENERATION = GenerationConfig(guidance_scale=3.0, temperature=0.1, top_k=None, top_p=0.97)

_2B_512 = EditorConfig(
    name="2b-512",
    autoencoder=_F16,
    transformer=_2B,
    schedule=ScheduleConfig(budget="0.25M"),
    generation=_GENERATION,
)
_8B_512 = EditorConfig(
    name="8b-512",
    autoencoder=_F8,
    transformer=_8B,
    schedule=ScheduleConfig(budget="0.25M"),
    patch_merge=True,
    generation=_GENERATION,
)
_1024 = ScheduleConfig(budget="1M")
_F16_FILE = "infinity_vae_d32reg.pth"
_F8_FILE = "infinity_vae_d56_f8_14_patchify.pth"
_VAREDIT = "HiDream-ai/VAREdit"
_INFINITY = "FoundationVision/Infinity"

PRESETS = {
    "2b-512": Preset(
        config=_2B_512,
        title="VAREdit 2B, 512 px",
        repository=_VAREDIT,
        transformer="2B-512.pth",
        autoencoder=_F16_FILE,
    ),
    "8b-512": Preset(
        config=_8B_512,
        title="VAREdit 8B, 512 px",
        repository=_VAREDIT,
        transformer="8B-512.pth",
        autoencoder=_F8_FILE,
    ),
    "8b-1024": Preset(
        config=replace(_8B_512, name="8b-1024", schedule=_1024),
        title="VAREdit 8B, 1024 px",
        repository=_VAREDIT,
        transformer="8B-1024.pth",
        autoencoder=_F8_FILE,
    ),
    "infinity-2b": Preset(
        config=replace(_2B_512, name="infinity-2b", schedule=_1024),
        title="Infinity 2B, 1024 px",
        repository=_INFINITY,
        transformer="infinity_2b_reg.pth",
        autoencoder=_F16_FILE,
        edits=False,
    ),
    "infinity-8b": Preset(
        config=replace(_8B_512, name="infinity-8b", schedule=_1024),
        title="Infinity 8B, 1024 px",
        repository=_INFINITY,
        transformer="infinity_8b_weights",
        autoencoder=_F8_FILE,
        edits=False,
    ),
    "infinity-8b-512": Preset(
        config=replace(_8B_512, name="infinity-8b-512"),
        title="Infinity 8B, 512 px",
        repository=_INFINITY,
        transformer="infinity_8b_512x512_weights",
        autoencoder=_F8_FILE,
        edits=False,
    ),
}

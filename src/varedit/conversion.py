"""Released weights to a model folder of ours, shard by shard (spec "Checkpoints").

Everything is compared with the preset before anything is written, and the folder appears whole or not at all. Memory
holds one shard at a time, whatever the size of the model.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from varedit.autoencoder import Autoencoder
from varedit.checkpoints import replaced_folder, shard_groups, write_shards
from varedit.errors import ConfigError, InputMissing, ModelError, OutputError
from varedit.meta import module_without_weights
from varedit.model_card import model_card
from varedit.precision import set_compute_dtype
from varedit.presets import TEXT_ENCODER, Preset, preset_named
from varedit.released import (
    IGNORED,
    KEY_BIAS,
    autoencoder_name,
    blocks_per_chunk,
    released_autoencoder_name,
    released_transformer_name,
    transformer_name,
)
from varedit.t5 import T5Config, T5Encoder
from varedit.text import save_tokenizer
from varedit.transformer.model import VAREditTransformer
from varedit.weight_sources import WeightSource, autoencoder_weights, plain_weights, transformer_weights

log = logging.getLogger(__name__)

SHARD_BYTES = 2_000_000_000  # a file of the folder, and about what memory holds
PIECE_BYTES = 200_000_000  # read at once
NULL_TEXT = "null_text"
T5_WORDS, T5_ALIAS = "shared.weight", "encoder.embed_tokens.weight"  # two names of one table

StoredType = Literal["keep", "bfloat16"]
OnProgress = Callable[[int, int], None]


def convert(
    transformer: Path,
    autoencoder: Path,
    text_encoder: Path | None,
    out: Path,
    *,
    preset: str,
    use_ema: bool = False,
    dtype: StoredType = "keep",
    on_progress: OnProgress = lambda done, total: None,
) -> None:
    """Make a model folder from released weights.

    Args:
        transformer: a ``.pth`` file (a state dict, or a trainer's file around it), or a sharded folder.
        autoencoder: a ``.pth`` file (a state dict, one under "vae", or a trainer's file).
        text_encoder: the folder of Flan-T5, with its tokenizer; the decoder's weights are left behind.
        out: the new folder.
        preset: which model it is, see `varedit.presets`.
        use_ema: take the averaged weights of a trainer's file.
        dtype: "keep" stores every weight as it is published. "bfloat16" stores the parts that compute in that type
            (`varedit.precision`) in half the space; edits in bfloat16 come out the same.
        on_progress: told (shards written, shards in all).

    Raises:
        UsageError: there is no such preset.
        InputMissing: a source does not exist, or the text encoder is not given.
        ModelError: a source is damaged or is not what the preset says.
        OutputError: ``out`` exists, cannot be written, or the disk is too small.
    """
    released = preset_named(preset)
    if out.exists():
        raise OutputError(f"{out} exists already; name a new folder")
    if text_encoder is None:
        raise InputMissing(
            f"a model needs its text encoder too. Fetch it (hf download {TEXT_ENCODER} --local-dir "
            f"{released.text_encoder}) and name its folder as the third source"
        )
    modules = _modules(released, dtype)
    encoder = _fitting_text_encoder(text_encoder, released, dtype)
    parts = [
        transformer_part(transformer, modules[0], f"the transformer of {released.config.name}", use_ema=use_ema),
        _autoencoder_part(autoencoder, released, modules[1]),
        text_part(text_encoder, encoder),
    ]
    tokenizer = published_tokenizer(text_encoder)
    _check_space(out, sum(part.num_bytes for part in parts))
    progress = _Progress(sum(len(part.groups) for part in parts), on_progress)
    with replaced_folder(out) as folder:
        save_tokenizer(tokenizer, folder / "tokenizer")
        (folder / "config.json").write_text(released.config.to_json(), encoding="utf-8")
        (folder / "README.md").write_text(model_card(released, dtype), encoding="utf-8")
        for part in parts:
            (folder / part.name).mkdir()
            write_shards(folder / part.name, part.groups, part.read, progress.advance)
        (folder / parts[-1].name / "config.json").write_text(encoder.config.to_json(), encoding="utf-8")


@dataclass(frozen=True)
class Target:
    """What a weight becomes: its shape and its dtype as written."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


@dataclass(frozen=True)
class Part:
    """One component, checked and ready to be written.

    Attributes:
        name: of its subfolder.
        source: where its weights come from.
        origins: our names -> names in the source.
        targets: our names -> what is written.
    """

    name: str
    source: WeightSource
    origins: Mapping[str, str]
    targets: Mapping[str, Target]

    @property
    def num_bytes(self) -> int:
        return sum(target.num_bytes for target in self.targets.values())

    @property
    def groups(self) -> list[list[str]]:
        """Names of each shard."""
        return shard_groups({name: target.num_bytes for name, target in self.targets.items()}, SHARD_BYTES)

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """The weights of one shard, as they are written.

        Read in pieces, so that what was read is dropped before the next piece comes where the number format changes.
        """
        weights: dict[str, Tensor] = {}
        for piece in shard_groups({name: self.targets[name].num_bytes for name in names}, PIECE_BYTES):
            stored = self.source.read(self.origins[name] for name in piece)
            weights |= {name: self._as_written(name, stored[self.origins[name]]) for name in piece}
        return weights

    def _as_written(self, name: str, value: Tensor) -> Tensor:
        target = self.targets[name]
        if name == NULL_TEXT and value.shape != target.shape:
            value = null_text_of_length(value, target.shape[0])
        return value.to(target.dtype)


def null_text_of_length(null_text: Tensor, rows: int) -> Tensor:
    """The unconditional text (rows, channels), cut or completed with what it is initialised with before training.

    The initial rows are those of the release: truncated normal, standard deviation 1.2 / sqrt(channels), seed 0.
    """
    initial = torch.empty(rows, null_text.shape[1])
    nn.init.trunc_normal_(initial, std=1.2, generator=torch.Generator().manual_seed(0))
    whole: Tensor = (initial / null_text.shape[1] ** 0.5).to(null_text.dtype)
    kept = min(rows, null_text.shape[0])
    whole[:kept] = null_text[:kept]
    return whole


def _modules(released: Preset, dtype: StoredType) -> tuple[VAREditTransformer, Autoencoder]:
    """The models to be filled, on the meta device, in the dtypes to be written."""
    transformer = module_without_weights(lambda: VAREditTransformer(released.config.transformer))
    autoencoder = module_without_weights(lambda: Autoencoder(released.config.autoencoder))
    if dtype == "bfloat16":
        set_compute_dtype(transformer, autoencoder, torch.bfloat16)
    return transformer, autoencoder


@dataclass(frozen=True)
class Wanted:
    """What a component must have.

    Attributes:
        weights: our names -> tensors on the meta device; a dtype of bfloat16 asks for that, float32 for no change.
        our_name: of a name in the source. Raises KeyError for one that is in no table.
        released_name: the inverse, for messages.
        title: of what it belongs to, for messages.
        allows_more: whether weights that there is no use for may be left behind.
    """

    weights: Mapping[str, Tensor]
    our_name: Callable[[str], str]
    released_name: Callable[[str], str]
    title: str
    allows_more: bool


def checked_part(name: str, source: WeightSource, wanted: Wanted) -> Part:
    """Compare a source with what is wanted. Raises ModelError, naming the first weight that is wrong."""
    origins = _origins(source, wanted)
    if missing := [key for key in wanted.weights if key not in origins]:
        count = f"{len(missing)} of {len(wanted.weights)} weights missing"
        raise ModelError(f"{source.path} lacks {wanted.released_name(missing[0])} of {wanted.title} ({count})")
    targets = {}
    for key, value in wanted.weights.items():
        stored, shape = source.weights[origins[key]], tuple(value.shape)
        free = 1 if key == NULL_TEXT else 0  # its number of rows may differ
        if len(stored.shape) != len(shape) or stored.shape[free:] != shape[free:]:
            sizes = f"{_sides(stored.shape)}, not {_sides(shape)}"
            raise ModelError(f"{source.path} does not fit {wanted.title}: {origins[key]} is {sizes}")
        if not stored.dtype.is_floating_point:
            raise ModelError(f"{source.path} stores {origins[key]} as {stored.dtype}, which is no weight's type")
        targets[key] = Target(shape, torch.bfloat16 if value.dtype == torch.bfloat16 else stored.dtype)
    return Part(name, source, origins, targets)


def _origins(source: WeightSource, wanted: Wanted) -> dict[str, str]:
    """Our names -> names in the source."""
    origins: dict[str, str] = {}
    unused = []
    for name in source.weights:
        if IGNORED.match(name):
            continue
        try:
            ours = wanted.our_name(name)
        except KeyError:
            ours = ""
        if ours not in wanted.weights:
            unused.append(name)
        elif ours in origins:
            raise ModelError(f"{source.path} holds the same weight twice, as {origins[ours]} and {name}")
        else:
            origins[ours] = name
    if unused and not wanted.allows_more:
        # A weight without a place here would change what the model does, so it is not left behind silently.
        count = f"{len(unused)} such weights"
        raise ModelError(f"{source.path} holds {unused[0]}, for which {wanted.title} has no place ({count})")
    if unused:
        log.info("%s: %d weights are not needed and left behind, such as %s", source.path, len(unused), unused[0])
    return origins


def transformer_part(path: Path, module: nn.Module, title: str, *, use_ema: bool = False) -> Part:
    """The weights of a released transformer, compared with the module that is to hold them.

    Args:
        path: as for `convert`.
        module: may be on the meta device.
        title: how messages call it.
        use_ema: as for `convert`.

    Raises: InputMissing, ModelError.
    """
    source = WeightSource(path, partial(transformer_weights, use_ema=use_ema))
    biases = [name for name in source.weights if KEY_BIAS.match(name)]
    for name, value in source.read(biases).items():
        if value.any():
            raise ModelError(f"{path} has a key bias {name} that is not zero; this model has no place for it")
    chunk = blocks_per_chunk(source.weights)
    our_name = partial(transformer_name, blocks_per_chunk=chunk)
    released_name = partial(released_transformer_name, blocks_per_chunk=chunk)
    wanted = Wanted(module.state_dict(), our_name, released_name, title, allows_more=False)
    return checked_part("transformer", source, wanted)


def _autoencoder_part(path: Path, released: Preset, module: nn.Module) -> Part:
    title = f"the autoencoder of {released.config.name}"
    wanted = Wanted(module.state_dict(), autoencoder_name, released_autoencoder_name, title, allows_more=True)
    return checked_part("autoencoder", WeightSource(path, autoencoder_weights), wanted)


def published_text_encoder(folder: Path) -> T5Encoder:
    """The text encoder that a folder's config.json describes, without weights. Raises InputMissing, ModelError."""
    if not folder.is_dir():
        raise InputMissing(f"{folder} is not a folder; the text encoder is one, with config.json and tokenizer files")
    try:
        config = T5Config.from_json((folder / "config.json").read_text(encoding="utf-8"))
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{folder} is not the folder of a T5 text encoder, such as {TEXT_ENCODER}") from error
    return module_without_weights(lambda: T5Encoder(config))


def text_part(folder: Path, encoder: T5Encoder) -> Part:
    """The weights of a published text encoder, compared with the module that is to hold them. Raises ModelError."""
    source = WeightSource(folder, plain_weights)
    has_both = {T5_ALIAS, T5_WORDS} <= set(source.weights)

    def our_name(name: str) -> str:
        return T5_WORDS if name == T5_ALIAS and not has_both else name

    wanted = Wanted(encoder.state_dict(), our_name, str, "the text encoder", allows_more=True)
    return checked_part("text_encoder", source, wanted)


def _fitting_text_encoder(folder: Path, released: Preset, dtype: StoredType) -> T5Encoder:
    encoder = published_text_encoder(folder)
    channels, needed = encoder.config.d_model, released.config.transformer.text_channels
    if channels != needed:
        raise ModelError(f"{folder} has {channels} channels, and {released.config.name} needs {needed}: {TEXT_ENCODER}")
    if dtype == "bfloat16":
        encoder.to(torch.bfloat16)
    return encoder


def _check_space(out: Path, needed: int) -> None:
    existing = next(folder for folder in out.absolute().parents if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise OutputError(f"{out} needs {needed / 1e9:.1f} GB and only {free / 1e9:.1f} GB are free there")


def published_tokenizer(source: Path) -> Tokenizer:
    """The tokenizer of a published folder; `transformers` knows all the forms in which one may come.

    Raises: ModelError.
    """
    from transformers import AutoTokenizer

    try:
        if not any((source / name).is_file() for name in ("tokenizer.json", "spiece.model")):
            raise FileNotFoundError(source)  # where transformers would make up a tokenizer without words
        read: Any = AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False)
        tokenizer: Tokenizer = read.backend_tokenizer
    except Exception as error:  # transformers raises many kinds
        raise ModelError(
            f"{source} has no tokenizer that can be read; fetch {TEXT_ENCODER} with all its files"
        ) from error
    return tokenizer


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"


@dataclass
class _Progress:
    total: int
    told: OnProgress
    done: int = 0

    def advance(self) -> None:
        self.done += 1
        self.told(self.done, self.total)

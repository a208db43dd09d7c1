"""Weights as others publish them: ``.pth`` and ``.bin`` files, safetensors, sharded folders (spec "Checkpoints").

Files are mapped into memory, so that a weight costs memory only while it is in use. Pickles are read with torch's
restricted reader, which builds tensors and plain containers and runs no code; even so, convert only files you trust.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from varedit.checkpoints import indexed_files, opened_safetensors
from varedit.errors import InputMissing, ModelError

FOLDER_FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)

# Picks the weights out of what a pickled file holds; raises LookupError with what it found instead.
Select = Callable[[Any], Mapping[Any, Any]]


@dataclass(frozen=True)
class StoredWeight:
    """What is known of a weight before it is read."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype


class WeightSource:
    """All weights of one file or sharded folder, by the names that they have there.

    Args:
        path: a file, or a folder as `transformers` writes it.
        select: finds the weights in a pickled file.

    Raises:
        InputMissing: there is no such file.
        ModelError: a file is damaged, holds more than data, or holds no weights.
    """

    def __init__(self, path: Path, select: Select) -> None:
        self.path = path
        self._select = select
        self.weights: dict[str, StoredWeight] = {}
        for file in _files(path):
            for name, value in self._mapped(file).items():
                if name in self.weights:
                    raise ModelError(f"{path} holds {name} twice, in {self.weights[name].file.name} and {file.name}")
                if value.layout != torch.strided or value.device.type != "cpu":
                    raise ModelError(f"{file} holds {name} in a form that is not plain numbers")
                self.weights[name] = StoredWeight(file, tuple(value.shape), value.dtype)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Some weights, contiguous and each with memory of its own.

        They are views of freshly mapped files: dropping them all gives back what reading them has brought in.
        """
        wanted = list(names)
        found: dict[str, Tensor] = {}
        for file in dict.fromkeys(self.weights[name].file for name in wanted):
            mapped = self._mapped(file)
            found |= {name: mapped[name] for name in wanted if self.weights[name].file == file}
        return _apart(found)

    def _mapped(self, file: Path) -> dict[str, Tensor]:
        if file.suffix == ".safetensors":
            with opened_safetensors(file) as weights:
                return {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
        try:
            selected = self._select(_unpickled(file))
        except LookupError as error:
            raise ModelError(f"{file} {error.args[0]}") from error
        tensors = {str(name): value for name, value in selected.items() if isinstance(value, Tensor)}
        if not tensors:
            raise ModelError(f"{file} holds no weights")
        return tensors


def transformer_weights(content: Any, *, use_ema: bool = False) -> Mapping[Any, Any]:
    """A `Select` for transformers: a plain state dict, or a trainer's file (averaged weights with ``use_ema``)."""
    trainer = content.get("trainer") if isinstance(content, Mapping) else None
    if isinstance(trainer, Mapping):
        names = ("gpt_ema_fsdp", "gpt_ema_for_vis") if use_ema else ("gpt_fsdp", "gpt_wo_ddp")
        for name in names:
            weights = trainer.get(name)
            if isinstance(weights, Mapping):
                return weights
        raise LookupError(f"is a trainer's file without {' or '.join(names)}")
    if use_ema:
        raise LookupError("has no averaged weights; convert it without --ema")
    return plain_weights(content)


def autoencoder_weights(content: Any) -> Mapping[Any, Any]:
    """A `Select` for autoencoders: under "vae", in a trainer's file, or a plain state dict."""
    if isinstance(content, Mapping):
        trainer = content.get("trainer")
        holders = (content.get("vae"), trainer.get("vae_local") if isinstance(trainer, Mapping) else None)
        for holder in holders:
            if isinstance(holder, Mapping):
                return holder
    return plain_weights(content)


def plain_weights(content: Any) -> Mapping[Any, Any]:
    """A `Select` for files that are a state dict and nothing else."""
    if not isinstance(content, Mapping):
        raise LookupError(f"holds a {type(content).__name__} where weights by name are expected")
    return content


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputMissing(f"{path} does not exist")
    for name in FOLDER_FILES:
        if (path / name).is_file():
            return indexed_files(path / name) if name.endswith(".index.json") else [path / name]
    raise ModelError(f"{path} holds none of {', '.join(FOLDER_FILES)}")


def _unpickled(file: Path) -> Any:
    try:
        with file.open("rb") as raw:
            is_zip = raw.read(2) == b"PK"  # only these can be mapped; older files are read whole
        return torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        if forbidden := re.search(r"GLOBAL (\S+)", str(error)):
            raise ModelError(
                f"{file} holds more than weights: it asks for {forbidden[1]}, which could run code, so it is not read"
            ) from error
        # Not torch's own words: they advise to switch the restricted reader off.
        raise ModelError(f"{file} is damaged or not a torch file. Download it again.") from error


def _apart(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors no two of which share memory, as safetensors demands; copies only what it must."""
    seen: set[int] = set()
    apart = {}
    for name, value in weights.items():
        place = value.untyped_storage().data_ptr()
        apart[name] = value.clone(memory_format=torch.contiguous_format) if place in seen else value.contiguous()
        seen.add(place)
    return apart

"""Weights as others publish them: ``.pth`` and ``.bin`` files, safetensors, sharded folders (spec "Checkpoints").

A source knows names and shapes; numbers are read on demand, a few weights at a time. Pickles go through torch's
restricted reader, which builds tensors and plain containers and runs no code; even so, convert only files you trust.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

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


class WeightFile(Protocol):
    """One file: its weights by name, of which only shape and dtype count, and a way to read some of them."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Tensors that may be on the meta device."""

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Contiguous tensors that share no memory."""


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
        self.weights: dict[str, StoredWeight] = {}
        self._files = {file: _opened(file, select) for file in _file_paths(path)}
        for file, opened in self._files.items():
            for name, value in opened.weights.items():
                if name in self.weights:
                    raise ModelError(f"{path} holds {name} twice, in {self.weights[name].file.name} and {file.name}")
                self.weights[name] = StoredWeight(file, tuple(value.shape), value.dtype)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Some weights, contiguous and each with memory of its own. Raises ModelError where a file ends early."""
        names_in: dict[Path, list[str]] = {}
        for name in names:
            names_in.setdefault(self.weights[name].file, []).append(name)
        found: dict[str, Tensor] = {}
        for file, wanted in names_in.items():
            found |= self._files[file].read(wanted)
        return found


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


class PickledFile:
    """A file of `torch.save`.

    It is neither loaded whole nor mapped: torch maps files privately and writably, which systems refuse where a file
    is larger than the memory. Files that torch wrote before version 1.6 are loaded whole; they have no directory.
    """

    def __init__(self, path: Path, select: Select) -> None:
        self.path = path
        try:
            selected = select(_unpickled(path))
        except LookupError as error:
            raise ModelError(f"{path} {error.args[0]}") from error
        self.weights = {str(name): value for name, value in selected.items() if isinstance(value, Tensor)}
        if not self.weights:
            entries = ", ".join(str(name) for name in list(selected)[:3]) or "none"
            raise ModelError(f"{path} holds no weights where they are expected; its entries are {entries}")
        for name, value in self.weights.items():
            if value.layout != torch.strided or (value.is_meta and _place(value) is None):
                raise ModelError(f"{path} holds {name} in a form that is not plain numbers")

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """See `WeightFile`."""
        with self.path.open("rb") as raw:
            return {name: self._read_one(raw, self.weights[name]) for name in names}

    def _read_one(self, raw: BinaryIO, value: Tensor) -> Tensor:
        if not value.is_meta:
            return value.clone(memory_format=torch.contiguous_format)
        place = _place(value)
        assert place is not None, "checked by the constructor"
        # From the first number to the last; a view of a larger tensor is read alone.
        last = sum((size - 1) * stride for size, stride in zip(value.shape, value.stride(), strict=True))
        numbers = torch.empty(last + 1 if value.numel() else 0, dtype=value.dtype)
        raw.seek(place + int(value.storage_offset()) * value.itemsize)
        if raw.readinto(numbers.view(torch.uint8).numpy()) < numbers.nbytes:  # type: ignore[attr-defined]  # BinaryIO has it
            raise ModelError(f"{self.path} ends early. Download it again.")
        return numbers.as_strided(value.shape, value.stride()).contiguous()


class SafetensorsFile:
    """A safetensors file, mapped into memory: dropping what was read gives the memory back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with opened_safetensors(path) as weights:
            self.weights = {name: weights.get_tensor(name).to("meta") for name in weights.keys()}  # noqa: SIM118

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """See `WeightFile`."""
        with opened_safetensors(self.path) as weights:
            return {name: weights.get_tensor(name) for name in names}


def _opened(file: Path, select: Select) -> WeightFile:
    return SafetensorsFile(file) if file.suffix == ".safetensors" else PickledFile(file, select)


def _file_paths(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputMissing(f"{path} does not exist")
    for name in FOLDER_FILES:
        if (path / name).is_file():
            return indexed_files(path / name) if name.endswith(".index.json") else [path / name]
    raise ModelError(f"{path} holds none of {', '.join(FOLDER_FILES)}")


def _unpickled(file: Path) -> Any:
    """What a file holds, with tensors on the meta device that know their place in the file (older files: the CPU)."""
    try:
        with file.open("rb") as raw:
            has_directory = raw.read(2) == b"PK"
        return torch.load(file, map_location="meta" if has_directory else "cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        if forbidden := re.search(r"GLOBAL (\S+)", str(error)):
            raise ModelError(
                f"{file} holds more than weights: it asks for {forbidden[1]}, which could run code, so it is not read"
            ) from error
        # Not torch's own words: they advise to switch the restricted reader off.
        raise ModelError(f"{file} is damaged or not a torch file. Download it again.") from error


def _place(value: Tensor) -> int | None:
    """Where in its file the storage of a tensor on the meta device begins, in bytes; None if it has no place there."""
    return value.untyped_storage()._checkpoint_offset

"""Our model folder: config.json, one subfolder of safetensors a component, text encoder and tokenizer, model card.

Nothing is unpickled here: what others published is read by `varedit.weight_sources`, on request only.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from varedit.config import EditorConfig
from varedit.errors import ModelError, OutputError, UsageError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_HEADER = 100_000_000  # bytes; a larger header is not a model's


def load_config(folder: Path) -> EditorConfig:
    """Read FOLDER/config.json. Raises ModelError or ConfigError."""
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            f"{folder} has no config.json, so it is not a varedit model folder. "
            "Released weights are converted first: varedit convert --help"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read ({error}). Download or convert the model again.") from error
    return EditorConfig.from_json(text)


def load_weights(
    module: nn.Module,
    folder: Path,
    device: torch.device | str = "cpu",
    change: Callable[[str, Tensor], Tensor] = lambda name, weight: weight,
) -> None:
    """Fill a module from a component's folder.

    Weights are brought to the dtype that the module was built with, one at a time: a module on the meta device that
    was first brought to its compute type (`precision.set_compute_dtype`) is filled without ever holding a second copy.
    On the CPU, weights that are stored in that dtype are not even read: they stay views of the mapped file.

    Args:
        module: made on the meta device or not; its parameters are replaced.
        device: where the weights go.
        change: makes of each weight, on its device and in its dtype, what the module is to hold.

    Raises:
        ModelError: a file is missing or damaged, or a name, shape or kind of number is not the module's.
    """
    wanted = module.state_dict()
    _check_fit(folder, {name: tuple(value.shape) for name, value in wanted.items()})
    state: dict[str, Tensor] = {}
    for file in weight_files(folder):
        with opened_safetensors(file, device) as weights:
            for name in weights.keys():  # noqa: SIM118  # not a mapping
                stored = weights.get_tensor(name)
                if stored.is_floating_point() != wanted[name].is_floating_point():
                    raise ModelError(f"{file} stores {name} as {stored.dtype}, where {wanted[name].dtype} is needed")
                state[name] = change(name, stored.to(wanted[name].dtype))
    module.load_state_dict(state, assign=True)


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a component's weights, read from the headers alone. Raises ModelError."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        with opened_safetensors(file) as weights:
            for name in weights.keys():  # noqa: SIM118  # not a mapping
                if name in shapes:
                    raise ModelError(f"{folder} holds {name} twice. Download or convert the model again.")
                shapes[name] = tuple(weights.get_slice(name).get_shape())
    return shapes


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a component, one or several shards. Raises ModelError where one is missing."""
    if (folder / INDEX).is_file():
        return indexed_files(folder / INDEX)
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder / WEIGHTS} is missing. Download or convert the model again.")
    return [folder / WEIGHTS]


def indexed_files(index: Path) -> list[Path]:
    """The shards that an index names, all of them beside it. Raises ModelError where one is missing."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        files = sorted(index.parent / Path(name).name for name in names)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ModelError(f"{index} is damaged ({error}). Download or convert the model again.") from error
    for file in files:
        if not file.is_file():
            raise ModelError(f"{file} is missing. Download or convert the model again.")
    return files


@contextmanager
def opened_safetensors(file: Path, device: torch.device | str = "cpu") -> Iterator[safe_open]:
    """A safetensors file, mapped into memory. Raises ModelError where it is damaged or of another kind."""
    try:
        with file.open("rb") as raw:
            head = raw.read(8)
        if len(head) < 8 or struct.unpack("<Q", head)[0] > MAX_HEADER:
            raise ModelError(f"{file} is damaged or not a safetensors file. Download or convert the model again.")
        with safe_open(file, framework="pt", device=str(device)) as weights:
            yield weights
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is damaged ({error}). Download or convert the model again.") from error


def save_weights(weights: Mapping[str, Tensor], folder: Path, max_shard_size: str = "5GB") -> None:
    """Write a component's weights, in shards where they are large; the folder appears whole or not at all.

    Raises:
        UsageError: the shard size is not a number followed by KB, MB or GB.
        OutputError: the folder cannot be written.
    """
    limit = _bytes(max_shard_size)
    groups = shard_groups({name: value.nbytes for name, value in weights.items()}, limit)
    with replaced_folder(folder) as temporary:
        write_shards(temporary, groups, lambda names: {name: weights[name].detach().contiguous() for name in names})


def shard_groups(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    """Split names, in their order, into groups of at most ``limit`` bytes; a larger weight has a group of its own."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if groups[-1] and filled + size > limit:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    return groups


def write_shards(
    folder: Path,
    groups: Sequence[Sequence[str]],
    read: Callable[[Sequence[str]], dict[str, Tensor]],
    on_shard: Callable[[], None] = lambda: None,
) -> None:
    """Write the shards of one component into an existing folder, and the index if there are several.

    Only one shard is held at a time.

    Args:
        groups: names of each shard.
        read: gives the weights of some names, contiguous and without shared memory.
        on_shard: told after each one.
    """
    shard_of: dict[str, str] = {}
    total = 0
    for number, names in enumerate(groups, start=1):
        file = WEIGHTS if len(groups) == 1 else f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        shard = read(names)
        save_file(shard, folder / file, metadata={"format": "pt"})
        shard_of |= dict.fromkeys(names, file)
        total += sum(value.nbytes for value in shard.values())
        del shard  # before the next one is read
        on_shard()
    if len(groups) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(shard_of.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place when the block ends well, and vanishes if not.

    Raises: OutputError where it cannot be written; an older folder is then as it was.
    """
    folder = folder.resolve()  # through a link, to the folder itself
    temporary = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is not a folder; name another one")
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        _flush(temporary)
        _take_place(temporary, folder)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise OutputError(f"{folder} cannot be written: {reason}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_fit(folder: Path, wanted: Mapping[str, tuple[int, ...]]) -> None:
    found = weight_shapes(folder)
    unfit = f"the weights in {folder} do not fit config.json"
    if missing := sorted(set(wanted) - set(found)):
        raise ModelError(f"{unfit}: {missing[0]} is missing ({len(missing)} such weights)")
    if unknown := sorted(set(found) - set(wanted)):
        raise ModelError(f"{unfit}: {unknown[0]} has no place in the model ({len(unknown)} such weights)")
    for name, shape in wanted.items():
        if shape != found[name]:
            raise ModelError(f"{unfit}: {name} is {found[name]}, not {shape}")


def _flush(folder: Path) -> None:
    """Bring every file to the disk, so that a folder with its final name is whole even after a power cut."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            path.chmod(0o644)  # safetensors makes its files private, but a model folder may be shared


def _take_place(temporary: Path, folder: Path) -> None:
    if not folder.exists():
        temporary.rename(folder)
        return
    aside = temporary.with_name(f"{temporary.name}-old")
    folder.rename(aside)
    try:
        temporary.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _bytes(size: str) -> int:
    """The number of bytes that a size such as "5GB" means."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG])B", size.strip(), re.IGNORECASE)
    if match is None or float(match[1]) == 0:
        raise UsageError(f"a shard size is a number followed by KB, MB or GB, such as 5GB, not {size!r}")
    return int(float(match[1]) * 10 ** {"K": 3, "M": 6, "G": 9}[match[2].upper()])

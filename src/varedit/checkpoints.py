"""Our model folder: config.json, one subfolder of safetensors a component, text encoder and tokenizer, model card.

Nothing is unpickled here: released ``.pth`` files are read by `varedit.released`, on request only.
"""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from varedit.config import EditorConfig
from varedit.errors import ModelError, OutputError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_HEADER = 100_000_000  # bytes; a larger header is not a model's


def load_config(folder: Path) -> EditorConfig:
    """Read FOLDER/config.json. Raises ModelError or ConfigError."""
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"{folder} has no config.json, so it is not a varedit model folder. Convert it first: varedit convert --help")
    return EditorConfig.from_json(path.read_text(encoding="utf-8"))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a component, one or several shards. Raises ModelError where one is missing."""
    index = folder / INDEX
    if not index.is_file():
        files = [folder / WEIGHTS]
    else:
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise ModelError(f"{index} is damaged: {error}. Download or convert the model again.") from error
        files = [folder / Path(name).name for name in names]
    for file in files:
        if not file.is_file():
            raise ModelError(f"{file} is missing. Download or convert the model again.")
    return files


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a component's weights, read from the headers alone."""
    shapes = {}
    for file in weight_files(folder):
        with _opened(file) as weights:
            shapes |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    return shapes


def load_weights(module: nn.Module, folder: Path, device: torch.device | str = "cpu") -> None:
    """Fill a module, made on the meta device or not, from a component's folder; weights are memory-mapped.

    Raises:
        ModelError: a file is missing or damaged, or a name or shape is not the module's.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = weight_shapes(folder)
    if wrong := sorted(set(wanted) ^ set(found)):
        raise ModelError(f"the weights in {folder} do not fit config.json: {wrong[0]} is missing or unknown ({len(wrong)} such names)")
    for name, shape in wanted.items():
        if shape != found[name]:
            raise ModelError(f"the weights in {folder} do not fit config.json: {name} is {found[name]}, not {shape}")
    state: dict[str, Tensor] = {}
    for file in weight_files(folder):
        with _opened(file, device) as weights:
            state |= {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
    module.load_state_dict(state, assign=True)


def save_weights(weights: Mapping[str, Tensor], folder: Path, max_shard_size: str = "5GB") -> None:
    """Write a component's weights, in shards where they are large; the folder appears whole or not at all."""
    with replaced_folder(folder) as temporary:
        contiguous = {name: value.detach().contiguous() for name, value in weights.items()}
        save_torch_state_dict(contiguous, temporary, max_shard_size=max_shard_size)


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place when the block ends well, and vanishes if not."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _opened(file: Path, device: torch.device | str = "cpu") -> Iterator[safe_open]:
    with file.open("rb") as raw:
        head = raw.read(8)
    if len(head) < 8 or struct.unpack("<Q", head)[0] > MAX_HEADER:
        raise ModelError(f"{file} is damaged or not a safetensors file. Download or convert the model again.")
    try:
        with safe_open(file, framework="pt", device=str(device)) as weights:
            yield weights
    except SafetensorError as error:
        raise ModelError(f"{file} is damaged ({error}). Download or convert the model again.") from error

"""The door for other code: a folder whose `bench_adapter.py` offers two calls, `load` and `edit` (docs/speed.md)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from varedit.errors import InputMissing, UsageError

ADAPTER = "bench_adapter.py"


class Load(Protocol):
    """Make ready whatever edits need."""

    def __call__(self, model: Mapping[str, Any], template: str, device: str, dtype: str) -> Any:
        """Load a model.

        Args:
            model: ``config`` (as in config.json), ``folder`` (a path, or None: random weights), ``text_layers``.
            template: name of the scale schedule.
            device, dtype: as torch names them: "cpu", "cuda:0"; "float32", "bfloat16".

        Returns: anything; `Edit` gets it.
        """


class Edit(Protocol):
    """Edit a batch of pictures."""

    def __call__(self, loaded: Any, pixels: Tensor, instructions: Sequence[str], seeds: Sequence[int]) -> Any:
        """Edit pictures and return when that is done, results on the CPU.

        Args:
            loaded: what `Load` returned.
            pixels: (B, 3, h, w) float32 in [-1, 1], RGB, on the CPU, of the size that the model draws.
            instructions, seeds: B each.
        """


@dataclass(frozen=True)
class OtherCode:
    """Other code and its two calls."""

    folder: Path
    load: Load
    edit: Edit

    @classmethod
    def of_folder(cls, folder: Path) -> OtherCode:
        """Import FOLDER/bench_adapter.py, which may import what stands beside it.

        Raises:
            InputMissing: there is no such file.
            UsageError: it lacks one of the calls.
        """
        path = folder / ADAPTER
        if not path.is_file():
            raise InputMissing(f"{path} does not exist; docs/speed.md says what it must offer")
        spec = importlib.util.spec_from_file_location("bench_adapter", path)
        assert spec is not None and spec.loader is not None, f"{path} is a Python file"
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up there
        with _first_in_path(folder):
            spec.loader.exec_module(module)
        for name in ("load", "edit"):
            if not callable(getattr(module, name, None)):
                raise UsageError(f"{path} has no function {name}; docs/speed.md says what it must offer")
        return cls(folder, module.load, module.edit)


@contextmanager
def _first_in_path(folder: Path) -> Iterator[None]:
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)

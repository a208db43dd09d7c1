"""Hashes by which a result names what it was made from: the model's files, the source's pixels."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from varedit.errors import ModelError

_MODEL_FILES = (".json", ".safetensors")  # what a result depends on; a model card is free to change


class FolderHash:
    """The SHA-256 of a model folder's content, computed on a thread of its own while the model loads.

    Gigabytes take seconds, and nobody needs the hash before a first result is there.

    Args:
        folder: its weights, configurations and tokenizer count, with their names relative to it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: str | OSError = ""
        self._thread = threading.Thread(target=self._compute, name="varedit-hash", daemon=True)
        self._thread.start()

    def hexdigest(self) -> str:
        """64 hexadecimal digits. Waits until all is read; raises ModelError where a file cannot be."""
        self._thread.join()
        if isinstance(self._found, OSError):
            raise ModelError(f"{self._folder} cannot be read: {self._found.strerror}") from self._found
        return self._found

    def _compute(self) -> None:
        try:
            self._found = folder_hash(self._folder)
        except OSError as error:
            self._found = error


def array_sha256(*arrays: NDArray[Any] | None) -> str:
    """The SHA-256 of arrays: kind, shape and numbers of each; None counts too, as itself."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none\n")
        else:
            digest.update(f"{array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def folder_hash(folder: Path) -> str:
    """One SHA-256 over the names and contents of a model's configuration, weights and tokenizer. Raises OSError."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _MODEL_FILES and path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()

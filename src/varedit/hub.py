"""Where a model comes from: a folder, a name inside the package, or a repository on the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from varedit.errors import ModelError

EMBEDDED = "mini"
_PATTERNS = ["*.json", "*.safetensors", "tokenizer/*", "README.md", "LICENSE*"]  # no pickles come down


@dataclass(frozen=True)
class ModelSource:
    """A model folder on disk and, if it came from the hub, the commit it was resolved to."""

    folder: Path
    revision: str | None = None


def find_model(source: str | Path | None, **download: Any) -> ModelSource:
    """The folder of a model.

    Args:
        source: an existing folder, which is used as it is; ``owner/name`` on the hub; "mini" or None for the model
            inside the package.
        download: revision, token, cache_dir, local_files_only, force_download, as in huggingface_hub.

    Raises:
        ModelError: there is no such model, or it cannot be fetched.
    """
    if source is None or source == EMBEDDED:
        return ModelSource(Path(str(files("varedit"))) / "weights" / EMBEDDED)
    try:
        if Path(source).is_dir():
            return ModelSource(Path(source))
        if Path(source).exists():
            raise ModelError(f"{source} is a file; a model is a folder with config.json in it")
    except (OSError, ValueError) as error:  # too long for a name, or with a NUL
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"the model {source} cannot be read: {reason}") from error
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise ModelError(f"there is no model folder {source}, and it is not a hub name such as owner/name")
    return _fetched(str(source), download)


def _fetched(name: str, download: dict[str, Any]) -> ModelSource:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = Path(snapshot_download(name, allow_patterns=_PATTERNS, **download))
    except GatedRepoError as error:
        raise ModelError(
            f"{name} asks for consent to its terms; give it on the hub, then log in: hf auth login"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{name} has no revision {download.get('revision')!r}") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"there is no model {name} on the hub, or it is private; log in with: hf auth login"
        ) from error
    except HFValidationError as error:
        raise ModelError(f"{name} is neither a folder nor a valid hub name") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(f"{name} is not a folder, is not in the local cache, and the hub cannot be reached") from error
    except Exception as error:  # the client passes on the errors of whatever HTTP library it uses
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{name} could not be fetched: {reason}") from error
    return ModelSource(folder, folder.name)

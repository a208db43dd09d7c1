"""Where models and data sets come from: a folder, a name inside the package, or a repository on the hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from varedit.errors import InputMissing, ModelError

EMBEDDED = "mini"
_PATTERNS = ["*.json", "*.safetensors", "tokenizer/*", "README.md", "LICENSE*"]  # no pickles come down


@dataclass(frozen=True)
class ModelSource:
    """A model folder on disk and, if it came from the hub, its name there and the commit it was resolved to."""

    folder: Path
    repository: str | None = None
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
    if not _is_hub_name(str(source)):
        raise ModelError(f"there is no model folder {source}, and it is not a hub name such as owner/name")
    folder = _fetched(str(source), "model", _PATTERNS, download)
    return ModelSource(folder, str(source), folder.name)


def find_dataset(source: str, patterns: Sequence[str]) -> Path:
    """The folder of a data set.

    Args:
        source: an existing folder or file, which is used as it is, or ``owner/name`` on the hub.
        patterns: which files to fetch; empty for a set that is not on the hub.

    Raises:
        InputMissing: there is no such folder, and it cannot be a name on the hub.
        ModelError: it cannot be fetched.
    """
    try:
        if Path(source).exists():
            return Path(source)
    except OSError as error:  # too long for a name
        raise InputMissing(f"{source} cannot be read: {error.strerror}") from error
    if not patterns or not _is_hub_name(source):
        raise InputMissing(f"there is no folder {source}")
    return _fetched(source, "dataset", patterns, {})


def push_folder(
    folder: Path, repository: str, *, token: str | None, private: bool | None, revision: str | None, message: str
) -> str:
    """Upload a model folder to a repository of the hub, which is made if there is none; files of other names stay.

    Args:
        repository: ``owner/name``.
        token: None takes the one that `hf auth login` has kept.
        private: of a repository that is made; None leaves it to the owner's settings.
        revision: the branch; None is the main one.
        message: of the commit.

    Returns: the address of the commit.

    Raises: ModelError.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError

    if not _is_hub_name(repository):
        raise ModelError(f"{repository} is not a hub name such as owner/name")
    api = HfApi(token=token)
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=folder, revision=revision, commit_message=message)
    except HFValidationError as error:
        raise ModelError(f"{repository} is not a valid hub name") from error
    except LocalTokenNotFoundError as error:
        raise ModelError("the hub takes models from people it knows; log in with: hf auth login") from error
    except Exception as error:  # as in `_fetched`
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
            raise ModelError(
                f"the hub does not let you write to {repository}; log in with a token that may: hf auth login"
            ) from error
        raise ModelError(f"{repository} could not be pushed: {_reason(error)}") from error
    return str(commit.commit_url)


def _reason(error: Exception) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _is_hub_name(source: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+", source) is not None


def _fetched(name: str, kind: Literal["model", "dataset"], patterns: Sequence[str], download: dict[str, Any]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(name, repo_type=kind, allow_patterns=list(patterns), **download))
    except GatedRepoError as error:
        raise ModelError(
            f"{name} asks for consent to its terms; give it on the hub, then log in: hf auth login"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{name} has no revision {download.get('revision')!r}") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"there is no {kind} {name} on the hub, or it is private; log in with: hf auth login"
        ) from error
    except HFValidationError as error:
        raise ModelError(f"{name} is neither a folder nor a valid hub name") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(f"{name} is not a folder, is not in the local cache, and the hub cannot be reached") from error
    except Exception as error:  # the client passes on the errors of whatever HTTP library it uses
        raise ModelError(f"{name} could not be fetched: {_reason(error)}") from error

"""Every error that a user can meet: one sentence each, with the exit code that the command line gives it.

```
VAREditError          1   an edit failed
├── UsageError        2   an argument is out of range, or two arguments contradict each other
│   └── ConfigError   2   a model's configuration contradicts itself
├── ImageError       65   an image cannot be read, or is of a kind that cannot be edited
├── InputMissing     66   a named input does not exist
├── ModelError       69   a model cannot be found, read or trusted
├── OutputError      73   a result cannot be written
├── MissingExtra     69   an optional part of the package is not installed
└── Stopped         130   someone asked to stop, and what was done so far is saved
```
"""

from __future__ import annotations

from typing import ClassVar


class VAREditError(Exception):
    """Base of all errors that are the user's to mend; ``str(error)`` is the whole message."""

    exit_code: ClassVar[int] = 1


class UsageError(VAREditError):
    """An argument is out of range, of the wrong kind, or contradicts another one."""

    exit_code = 2


class ConfigError(UsageError):
    """A model's configuration contradicts itself or names something unknown."""


class ImageError(VAREditError):
    """An image cannot be read, or cannot be edited as it is.

    Args:
        code: a stable word for programs, such as ``"invalid_image"`` or ``"image_too_large"``.
        message: one sentence for people.
    """

    exit_code = 65

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class InputMissing(VAREditError):
    """A file or folder that the user named does not exist."""

    exit_code = 66


class ModelError(VAREditError):
    """A model cannot be found, read or trusted."""

    exit_code = 69


class OutputError(VAREditError):
    """A result cannot be written where the user asked for it."""

    exit_code = 73


class Stopped(VAREditError):
    """Someone asked to stop, and what was done so far is saved."""

    exit_code = 130


class MissingExtra(ModelError):
    """An optional part of the package is needed and not installed."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs an optional part of varedit. Install it with: pip install 'varedit[{extra}]'"
        )

"""Writing reports so that a file is either the old one or the whole new one."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from varedit.errors import OutputError


def make_report_folder(folder: Path) -> None:
    """Make the folder of a report, before anything is measured. Raises OutputError if that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permission bits do not tell of read-only file systems
            pass
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"the folder {folder} cannot be written to: {reason}. Choose another with -o.") from error


def write_report(path: Path, text: str) -> None:
    """Write beside the target, then take its place; an older report is replaced. Raises OutputError."""
    temporary = path.with_name(f".varedit-{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)

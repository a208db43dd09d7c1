"""Write a result so that a file is either the old one or the whole new one, and say beforehand if it cannot be written.

A file is made from pixels alone: nothing of the source's metadata can come along, because nothing of it arrives here.
"""

from __future__ import annotations

import io
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from varedit.errors import OutputError, UsageError
from varedit.provenance import metadata_options

FORMAT_OF_SUFFIX = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
MAX_SIDE_OF_FORMAT = {"WEBP": 16383, "JPEG": 65500, "AVIF": 65536}
_LOSSY = ("JPEG", "WEBP", "AVIF")


def check_output_path(path: Path, *, force: bool, size: tuple[int, int] | None = None) -> str:
    """Find out, before the model runs, whether a result can be written.

    Args:
        path: where to.
        force: whether an existing file may be replaced. A symbolic link counts as a file and is itself replaced.
        size: (width, height) in pixels, if known.

    Returns: Pillow's name of the format that the suffix means, such as "JPEG".

    Raises:
        OutputError: the suffix is unknown, the folder is missing or not writable, the file exists, or the format
            cannot hold the size.
    """
    image_format = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if image_format is None:
        known = ", ".join(suffix.removeprefix(".") for suffix in FORMAT_OF_SUFFIX)
        raise OutputError(f"{path} has no known suffix; known are {known}.")
    if size is not None:
        _check_size(size, image_format, path.name)
    _check_target(path, force=force)
    _check_folder(path.parent)
    return image_format


def save_image(
    rgb: NDArray[np.uint8],
    path: Path,
    *,
    alpha: NDArray[np.uint8] | None = None,
    provenance: Mapping[str, object] | None,
    quality: int = 95,
    force: bool = False,
) -> None:
    """Write a picture to a file of the kind that its suffix names.

    The picture is encoded in memory and written beside the target, then takes its place in one step: whatever
    happens, ``path`` holds the old file or the new one. An existing file keeps its permissions.

    Args:
        rgb: (H, W, 3).
        alpha: (H, W), 255 is opaque; JPEG has no transparency and leaves it out.
        provenance: JSON values about how the picture was made, in the file's metadata, to which formats that lose
            something add their quality; None writes no metadata.
        quality: 1..100, of JPEG, WebP and AVIF; PNG and TIFF lose nothing.
        force: whether an existing file may be replaced.

    Raises:
        OutputError: it cannot be written; the target is as it was.
        UsageError: the quality is out of range.
    """
    image_format = check_output_path(path, force=force, size=(rgb.shape[1], rgb.shape[0]))
    data = encode_image(rgb, image_format, alpha=alpha, provenance=provenance, quality=quality)
    write_whole(path, data)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its target, then let it take its place in one step. Raises OutputError.

    An existing file is replaced and lends its permissions.
    """
    temporary = path.with_name(f".varedit-{secrets.token_hex(8)}.tmp")
    try:
        _write_synced(temporary, data)
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def encode_image(
    rgb: NDArray[np.uint8],
    image_format: str,
    *,
    alpha: NDArray[np.uint8] | None = None,
    provenance: Mapping[str, object] | None,
    quality: int = 95,
) -> bytes:
    """Return the bytes of a picture file; arguments as for `save_image`.

    Raises:
        OutputError: the format cannot hold the picture.
        UsageError: the quality is out of range.
    """
    if not 1 <= quality <= 100:
        raise UsageError(f"quality ({quality}) must be in 1..100.")
    _check_size((rgb.shape[1], rgb.shape[0]), image_format, "The result")
    image = Image.fromarray(rgb)
    if alpha is not None and image_format != "JPEG":
        image.putalpha(Image.fromarray(alpha))
    if provenance is not None and image_format in _LOSSY:
        provenance = {**provenance, "quality": quality}
    options: dict[str, Any] = {} if provenance is None else metadata_options(provenance, image_format)
    if image_format in _LOSSY:
        options["quality"] = quality
    if image_format == "JPEG":
        options["subsampling"] = 0  # full colour resolution: halving it would blur what restoring kept
    if image_format == "TIFF":
        options["compression"] = "tiff_adobe_deflate"
    buffer = io.BytesIO()
    try:
        image.save(buffer, image_format, **options)
    except (OSError, ValueError) as error:  # OSError: the encoder; ValueError: metadata too long for the format
        raise OutputError(f"The result cannot be written as {image_format}: {error}.") from error
    return buffer.getvalue()


def _check_size(size: tuple[int, int], image_format: str, name: str) -> None:
    limit = MAX_SIDE_OF_FORMAT.get(image_format)
    if limit is not None and max(size) > limit:
        what = f"{size[0]}x{size[1]} pixels, but {image_format} holds sides up to {limit}"
        raise OutputError(f"{name} would have {what}. Choose PNG or TIFF.")


def _check_target(path: Path, *, force: bool) -> None:
    """Refuse what exists, without ``force``; and with it too what is no file."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # a part of the path is no folder, a name too long, or a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path} cannot be written: {reason}.") from error
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise OutputError(f"{path} exists and is not a file. Choose another name.")
    if not force:
        raise OutputError(f"{path} exists. Choose another name, or allow replacing it with --force.")


def _check_folder(folder: Path) -> None:
    """Make a nameless file in the folder and forget it: permission bits do not tell of read-only file systems."""
    if not folder.is_dir():
        raise OutputError(f"The folder {folder} does not exist. Make it first.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be written to: {error.strerror or error}.") from error


def _write_synced(path: Path, data: bytes) -> None:
    """Write a new file to the disk itself; ``os.open`` rather than `tempfile`, so that the umask sets its mode."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

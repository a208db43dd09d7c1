"""Archives in parts, as large sets are published: unpacked as one stream, with no joined copy on the disk."""

from __future__ import annotations

import io
import re
import secrets
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from varedit.errors import InputMissing, OutputError

# `x.tar.gz.part-aa`, `x.tar.gz.part001`, `x.tar.split.000`
_PART = re.compile(r"(?P<archive>.+)\.(?:part-?|split\.)(?P<number>[a-z]{2,3}|\d+)")
_WHOLE = (".tar", ".tar.gz", ".tgz")


class ChainedParts(io.RawIOBase):
    """Files read one after the other as if they were one; forwards only.

    Attributes:
        num_read: bytes so far.
    """

    def __init__(self, parts: Sequence[Path]) -> None:
        self._rest = list(parts)
        self._part: io.FileIO | None = None
        self.num_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer is not for Python 3.11
        """Fill the buffer from the first part that has anything left; 0 at the end of the last."""
        while self._part is not None or self._rest:
            if self._part is None:
                self._part = io.FileIO(self._rest.pop(0))
            if count := self._part.readinto(buffer):
                self.num_read += count
                return count
            self._part.close()
            self._part = None
        return 0

    def close(self) -> None:
        """Close the part that is open."""
        if self._part is not None:
            self._part.close()
        super().close()


def archive_parts(path: Path) -> list[Path]:
    """All parts of an archive, in order.

    Args:
        path: any of its parts, the archive's name without the part, or a tar file that is whole.

    Raises: `InputMissing` if there is none, or one is missing between others.
    """
    if path.is_file() and not _PART.fullmatch(path.name):
        return [path]
    match = _PART.fullmatch(path.name)
    name = match["archive"] if match else path.name
    numbered = {}
    for file in path.parent.glob(f"{name}.*"):
        if (match := _PART.fullmatch(file.name)) and match["archive"] == name:
            numbered[_number(match["number"])] = file
    if not numbered:
        raise InputMissing(f"{path} does not exist, nor do parts of it.")
    first = 1 if min(numbered) == 1 else 0
    for number in range(first, max(numbered)):
        if number not in numbered:
            raise InputMissing(
                f"{path.parent / name}: part {number - first + 1} of at least {max(numbered)} is missing."
            )
    return [numbered[number] for number in sorted(numbered)]


def packed_archives(folder: Path) -> list[Path]:
    """Archives at most three folders down, each once: whole tar files, and the first parts of others."""
    found = []
    for depth in ("*", "*/*", "*/*/*"):
        for file in sorted(folder.glob(depth)):
            match = _PART.fullmatch(file.name)
            name = match["archive"] if match else file.name
            is_first = match is None or _number(match["number"]) == min(
                _number(other["number"])
                for sibling in file.parent.glob(f"{name}.*")
                if (other := _PART.fullmatch(sibling.name)) and other["archive"] == name
            )
            if name.endswith(_WHOLE) and is_first and file.is_file():
                found.append(file)
    return found


def unpack(archive: Path, folder: Path, on_progress: Callable[[int, int], None] | None = None) -> int:
    """Unpack an archive; files that are there already, at their full length, are left as they are.

    Args:
        archive: see `archive_parts`.
        folder: made if it does not exist.
        on_progress: called with the MiB read and those in all.

    Returns: the number of files in the archive.

    Raises:
        InputMissing: a part is missing, or the archive is damaged; what came before is unpacked.
        OutputError: a file cannot be written.
    """
    parts = archive_parts(archive)
    total = sum(part.stat().st_size for part in parts)
    count = 0
    with ChainedParts(parts) as chained:
        try:
            with tarfile.open(fileobj=io.BufferedReader(chained, 2**20), mode="r|*") as tar:
                for member in tar:
                    if member.isreg():
                        _extract(tar, member, folder)
                        count += 1
                    if on_progress is not None:
                        on_progress(chained.num_read >> 20, max(1, total >> 20))
        except (tarfile.TarError, EOFError) as error:
            raise InputMissing(f"{archive} is damaged after {count} files: {error}. Fetch it again.") from error
    return count


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one file under a temporary name, then rename it. The filter refuses names that lead out of the folder."""
    path = folder / tarfile.data_filter(member, str(folder)).name
    contents = tar.extractfile(member)
    assert contents is not None, "only regular files get here"
    if path.is_file() and path.stat().st_size == member.size:
        return
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            shutil.copyfileobj(contents, file)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _number(part: str) -> int:
    """0 for `aa`, 1 for `ab`, and what digits say."""
    if part.isdecimal():
        return int(part)
    number = 0
    for letter in part:
        number = number * 26 + ord(letter) - ord("a")
    return number

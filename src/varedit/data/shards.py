"""WebDataset shards of editing records: written whole or not at all, listed in an index, byte for byte the same again.

A shard is a tar file whose members are `KEY.src.jpg`, `KEY.tgt.jpg`, `KEY.txt`, `KEY.json` and perhaps `KEY.mask.png`,
those of a record next to each other (spec "WebDataset layout"). The names end in `jpg` whatever the bytes are: that is
what the released loader asks for, and it opens PNG under that name just as well.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import tarfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from varedit.data.records import EditRecord
from varedit.errors import InputMissing, OutputError, UsageError
from varedit.output import encode_image

INDEX_NAME = "index.json"
SOURCE_MEMBER, TARGET_MEMBER, TEXT_MEMBER = "src.jpg", "tgt.jpg", "txt"
JSON_MEMBER, MASK_MEMBER = "json", "mask.png"

# What KEY.json holds besides the set's own values, which lie under "meta".
DESCRIBED = ("id", "category", "session", "turn", "source_caption", "target_caption", "other_instructions")

MAX_SHARD_BYTES = 2**30


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """How records are stored.

    Attributes:
        picture_format: "PNG" loses nothing; "JPEG" at full colour resolution.
        quality: 1..100, of JPEG.
        records_per_shard: a shard ends at so many records, or earlier at `MAX_SHARD_BYTES`.
    """

    picture_format: Literal["JPEG", "PNG"] = "JPEG"
    quality: int = 95
    records_per_shard: int = 1000

    def __post_init__(self) -> None:
        if self.records_per_shard < 1:
            raise UsageError(f"records_per_shard ({self.records_per_shard}) must be at least 1.")


@dataclass(frozen=True)
class ShardEntry:
    """What the index says about one finished shard."""

    file: str
    count: int
    bytes: int
    sha256: str


class ShardWriter:
    """Writes records into a folder of shards; use it in a ``with`` block, whose end finishes the last shard.

    A block that ends in an error leaves the finished shards and no other. A new writer in the same folder goes on
    behind them: give it the records from number ``num_written`` on.

    Args:
        folder: made if it does not exist.
        settings: must be those of the shards that the folder holds already.

    Raises:
        OutputError: the folder or a shard cannot be written.
        UsageError: the folder holds shards of other settings.
    """

    def __init__(self, folder: Path, settings: ShardSettings | None = None) -> None:
        self.folder = folder
        self.settings = settings or ShardSettings()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left_behind in folder.glob(".shard-*.tmp"):  # of a writer that was killed
                left_behind.unlink()
        except OSError as error:
            raise _unwritable(folder, error) from error
        self.entries = self._earlier_entries()
        self._shard: _OpenShard | None = None
        self._in_shard = 0

    @property
    def num_written(self) -> int:
        """Records in finished shards and in the one that is being written."""
        return sum(entry.count for entry in self.entries) + self._in_shard

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish_shard()
        elif self._shard is not None:
            self._shard.discard()

    def write(self, record: EditRecord) -> None:
        """Append a record; its key is its number."""
        self.write_members(record_members(record, self.settings))

    def write_members(self, members: dict[str, bytes]) -> None:
        """Append a record that another process may have encoded; see `record_members`."""
        try:
            if self._shard is None:
                self._shard = _OpenShard(self.folder / f"shard-{len(self.entries):05d}.tar")
            self._shard.add(f"{self.num_written:09d}", members)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        self._in_shard += 1
        if self._in_shard == self.settings.records_per_shard or self._shard.num_bytes >= MAX_SHARD_BYTES:
            self._finish_shard()

    def _finish_shard(self) -> None:
        if self._shard is None:
            return
        try:
            self.entries.append(self._shard.finish(self._in_shard))
            self._shard, self._in_shard = None, 0
            index = {"settings": asdict(self.settings), "shards": [asdict(entry) for entry in self.entries]}
            _replace_file(self.folder / INDEX_NAME, json.dumps(index, indent=1).encode())
        except OSError as error:
            if self._shard is not None:
                self._shard.discard()
            raise _unwritable(self.folder, error) from error

    def _earlier_entries(self) -> list[ShardEntry]:
        if not (self.folder / INDEX_NAME).exists():
            return []
        settings = _index(self.folder).get("settings")
        if settings != asdict(self.settings):
            raise UsageError(
                f"{self.folder} holds shards made with {settings}, not {asdict(self.settings)}. Name another folder."
            )
        return list(read_index(self.folder))


def record_members(record: EditRecord, settings: ShardSettings) -> dict[str, bytes]:
    """The members of a record, by what follows its key."""
    described: dict[str, Any] = {name: getattr(record, name) for name in DESCRIBED}
    kept = {name: value for name, value in described.items() if value not in (None, ())}
    if record.meta:
        kept["meta"] = dict(record.meta)

    def encoded(picture: Any, picture_format: str) -> bytes:
        return encode_image(np.asarray(picture), picture_format, provenance=None, quality=settings.quality)

    members = {
        SOURCE_MEMBER: encoded(record.source, settings.picture_format),
        TARGET_MEMBER: encoded(record.target, settings.picture_format),
        TEXT_MEMBER: record.instruction.encode(),
        JSON_MEMBER: json.dumps(kept, ensure_ascii=False).encode(),
    }
    if record.mask is not None:
        members[MASK_MEMBER] = encoded(record.mask, "PNG")
    return members


def read_index(folder: Path) -> tuple[ShardEntry, ...]:
    """The finished shards of a folder. Raises InputMissing if its index cannot be understood."""
    try:
        return tuple(ShardEntry(**entry) for entry in _index(folder)["shards"])
    except (KeyError, TypeError) as error:
        raise InputMissing(
            f"{folder / INDEX_NAME} is not an index of shards: {error}. Write the shards anew."
        ) from error


def damaged_shards(folder: Path) -> list[str]:
    """The names of the listed shards whose file is missing or differs from what the index tells; reads them all."""
    return [entry.file for entry in read_index(folder) if _sha256(folder / entry.file) != entry.sha256]


class _OpenShard:
    """A shard under a temporary name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}.tmp")
        self.file = self.temporary.open("xb")
        self.tar = tarfile.TarFile(fileobj=self.file, mode="w", format=tarfile.USTAR_FORMAT)

    @property
    def num_bytes(self) -> int:
        return self.tar.offset

    def add(self, key: str, members: dict[str, bytes]) -> None:
        """Append the members with neither time nor owner, which would make equal records unequal files."""
        for name, content in members.items():
            header = tarfile.TarInfo(f"{key}.{name}")
            header.size = len(content)
            self.tar.addfile(header, io.BytesIO(content))

    def finish(self, count: int) -> ShardEntry:
        """Give the file its own name."""
        self.tar.close()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        digest = _sha256(self.temporary)
        assert digest is not None
        self.temporary.replace(self.path)
        return ShardEntry(self.path.name, count, self.path.stat().st_size, digest)

    def discard(self) -> None:
        """Forget the shard, also on a full disk, where closing the file fails once more."""
        with suppress(OSError):
            self.file.close()
        self.temporary.unlink(missing_ok=True)


def _index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX_NAME
    try:
        index = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputMissing(f"{path} cannot be read: {error}.") from error
    if not isinstance(index, dict):
        raise InputMissing(f"{path} is not an index of shards. Write the shards anew.")
    return index


def _sha256(path: Path) -> str | None:
    """Of a file's bytes; None if there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _replace_file(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(f"{folder} cannot be written: {error.strerror or error}. Finished shards are kept.")

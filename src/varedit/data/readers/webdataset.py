"""WebDataset shards with the reference members: src.jpg, tgt.jpg, txt, and perhaps json and mask.png.

A shard is a tar file in which the members of a record follow each other; a member's key ends at the first dot of its
name (spec "WebDataset layout"). The bytes of pictures decide their format, not the members' names.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from varedit.data.readers.fields import Row, RowError, mapping, optional_text, texts
from varedit.data.records import Candidate, EncodedRecord, Skipped
from varedit.data.shards import (
    DESCRIBED,
    INDEX_NAME,
    JSON_MEMBER,
    MASK_MEMBER,
    SOURCE_MEMBER,
    TARGET_MEMBER,
    TEXT_MEMBER,
    read_index,
)
from varedit.errors import InputMissing

LIST_NAMES = ("SEEDEdit.txt", "ImgEdit.txt")  # what the released loader reads
_MEMBERS = (SOURCE_MEMBER, TARGET_MEMBER, TEXT_MEMBER, JSON_MEMBER, MASK_MEMBER)


@dataclass(frozen=True)
class Shards:
    """A `RecordSource` of tar files.

    Attributes:
        counts: how many records each shard should hold; None where nothing tells.
    """

    name: str
    files: Sequence[Path]
    counts: Sequence[int | None]

    @property
    def num_shards(self) -> int:
        """One for each file."""
        return len(self.files)

    def candidates(self, shard: int, start: int = 0, stride: int = 1) -> Iterator[Candidate]:
        """See `RecordSource.candidates`; passing over a record reads nothing but its headers."""
        file, expected = self.files[shard], self.counts[shard] or 0
        number, damage = 0, "it ends early"
        try:
            with tarfile.open(file, "r:") as tar:
                for key, members in groupby((member for member in tar if member.isreg()), _key):
                    if number >= start and (number - start) % stride == 0:
                        yield _candidate(f"{file.name}:{key}", _contents(tar, members))
                    number += 1
                _check_end(tar)
        except (OSError, tarfile.TarError) as error:
            expected, damage = max(expected, number + 1), str(error)
        for lost in range(number, expected):
            if lost >= start and (lost - start) % stride == 0:
                yield Skipped(f"{file.name}, record {lost}", "damaged shard", damage)


def _key(member: tarfile.TarInfo) -> str:
    folder, slash, name = member.name.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _contents(tar: tarfile.TarFile, members: Iterable[tarfile.TarInfo]) -> dict[str, bytes]:
    """The bytes of those members that a record is made of, by what follows the key."""
    contents = {}
    for member in members:
        name = member.name.rpartition("/")[2].partition(".")[2]
        if name in _MEMBERS:
            file = tar.extractfile(member)
            assert file is not None, "only regular files get here"
            contents[name] = file.read()
    return contents


def _check_end(tar: tarfile.TarFile) -> None:
    """Behind the last member there must be zeros: `tarfile` takes a damaged header for the end, and says nothing."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("a damaged header, or the file ends early")


def _candidate(name: str, contents: Mapping[str, bytes]) -> Candidate:
    try:
        described = mapping(json.loads(contents.get(JSON_MEMBER, b"{}")))
        return EncodedRecord(
            source=contents[SOURCE_MEMBER],
            target=contents[TARGET_MEMBER],
            mask=contents.get(MASK_MEMBER),
            instruction=contents[TEXT_MEMBER].decode("utf-8"),
            **_description(described, name),
        )
    except KeyError as error:
        return Skipped(name, "missing field", str(error))
    except ValueError as error:  # JSON or UTF-8
        return Skipped(name, "damaged row", str(error))
    except RowError as error:
        return Skipped(name, error.reason, error.detail)


def _description(described: Row, name: str) -> dict[str, Any]:
    """What the json member says; values that we have no name for go to ``meta``."""
    meta = described.get("meta")
    turn = described.get("turn")
    return {
        "id": optional_text(described, "id") or name,
        "other_instructions": texts(described, "other_instructions"),
        "turn": turn if isinstance(turn, int) else None,
        **{key: optional_text(described, key) for key in ("category", "session", "source_caption", "target_caption")},
        "meta": {
            **{key: value for key, value in described.items() if key not in (*DESCRIBED, "meta")},
            **(meta if isinstance(meta, dict) else {}),
        },
    }


def open_shards(path: Path, name: str) -> Shards:
    """The shards that a path means.

    Args:
        path: a tar file; a list file of the released loader, with its shards beside it; or a folder with an index of
            ours, with such list files, or simply with tar files.
        name: of the source.

    Raises: `InputMissing` if a shard is not there.
    """
    counts: Mapping[Path, int | None]
    if path.suffix == ".txt":
        counts = dict.fromkeys(listed_shards(path))
    elif path.is_file():
        counts = {path: None}
    elif (path / INDEX_NAME).exists():
        counts = {path / entry.file: entry.count for entry in read_index(path)}
    elif lists := [path / name for name in LIST_NAMES if (path / name).exists()]:
        counts = dict.fromkeys(file for listed in lists for file in listed_shards(listed))
    else:
        counts = dict.fromkeys(sorted(path.glob("*.tar")))
    missing = [file for file in counts if not file.is_file()]
    if missing or not counts:
        absent = f"{missing[0].name} and {len(missing) - 1} more" if missing else "every *.tar file"
        raise InputMissing(f"{path} should give WebDataset shards, but {absent} cannot be found.")
    return Shards(name, tuple(counts), tuple(counts.values()))


def listed_shards(path: Path) -> list[Path]:
    """The files that a list of the released loader means: `<name> TAB <samples> TAB <shards>` a line."""
    shards = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        columns = line.split("\t")
        if len(columns) != 3 or not columns[2].strip().isdecimal():
            raise InputMissing(f"{path}, line {number}, should be a name, a count and a number of shards: {line!r}.")
        shards += [path.parent / f"wds_{columns[0]}_{shard:04d}.tar" for shard in range(int(columns[2]))]
    return shards

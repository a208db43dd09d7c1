"""The editing sets that can be opened by name, and where each keeps its rows and pictures (spec "datasets").

`open_dataset` takes a set's folder as it comes from its publisher, archives unpacked, or a single file of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

from varedit.data.readers.archives import packed_archives
from varedit.data.readers.column_maps import COLUMN_MAPS
from varedit.data.readers.fields import Convert, parsed
from varedit.data.readers.json_files import JsonLines, JsonList, Manifest, lines_between
from varedit.data.readers.parquet_files import ColumnMap, ParquetFiles, check_columns
from varedit.data.readers.rows import (
    PicoBanana,
    imgedit,
    llava_conversation,
    nhr_edit,
    plain_row,
    prompt_to_prompt,
    seed_data_edit,
    sharegpt_4o_image,
)
from varedit.data.readers.webdataset import open_shards
from varedit.data.records import EncodedRecord, RecordSource
from varedit.errors import InputMissing, UsageError


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks to open.

    Attributes:
        name: of the source, in reports.
        path: the set's folder, or one file of it.
        pictures: where to look for pictures before the set's own places; None for no other place.
        split: which files of a set in splits, those named `<split>-*`; None for what the set trains on.
    """

    name: str
    path: Path
    pictures: Path | None = None
    split: str | None = None

    @property
    def folder(self) -> Path:
        """The path, or where the file lies."""
        return self.path if self.path.is_dir() else self.path.parent

    def files(self, *patterns: str) -> list[Path]:
        """The named file, or the folder's files of the first pattern that finds any, by name.

        Raises: `InputMissing` if there is none.
        """
        if self.path.is_file():
            return [self.path]
        found = next((files for pattern in patterns if (files := sorted(self.path.glob(pattern)))), None)
        if found is None:
            raise InputMissing(f"{self.path} has no {' or '.join(patterns)}. Name the folder that has, or a file.")
        return found

    def picture_folders(self, *below: str) -> tuple[Path, ...]:
        """Where pictures may lie: in the user's folder, then in these below the set's folder or the file's parents."""
        bases = [self.path] if self.path.is_dir() else [self.path.parent, self.path.parent.parent]
        own = () if self.pictures is None else (self.pictures,)
        return (*own, *(base / name for base in bases for name in below))


class Layout(Protocol):
    """How a set's files lie."""

    def open(self, request: Request) -> RecordSource:
        """Find the files. Raises InputMissing."""
        ...


@dataclass(frozen=True)
class ShardsLayout:
    """WebDataset shards, see `open_shards`."""

    def open(self, request: Request) -> RecordSource:
        """See `Layout`."""
        return open_shards(request.path, request.name)


@dataclass(frozen=True)
class ParquetLayout:
    """Parquet files with pictures in them, anywhere below the folder.

    Attributes:
        columns: what its columns mean.
        split: the files to train on are named `<split>-*`; None if all are.
    """

    columns: ColumnMap
    split: str | None = None

    def open(self, request: Request) -> RecordSource:
        """See `Layout`."""
        split = request.split or self.split
        files = request.files(f"**/{split}-*.parquet" if split else "**/*.parquet")
        check_columns(files[0], self.columns.required)
        folders = () if request.pictures is None else (request.pictures,)
        return ParquetFiles(request.name, files, self.columns, self.columns.columns, folders)


@dataclass(frozen=True)
class PathsLayout:
    """Rows of paths (JSON lines, a JSON list, or parquet) and folders of pictures.

    Attributes:
        convert: what a row means.
        files: patterns; files that the first finds win.
        pictures: folders below the set's, in which the rows' paths are looked up.
    """

    convert: Convert
    files: Sequence[str]
    pictures: Sequence[str]

    def open(self, request: Request) -> RecordSource:
        """See `Layout`."""
        files, folders = request.files(*self.files), request.picture_folders(*self.pictures)
        if files[0].suffix == ".parquet":
            return ParquetFiles(request.name, files, self.convert, pictures=folders)
        reader = JsonList if files[0].suffix == ".json" else JsonLines
        return reader(request.name, [Manifest(file, folders) for file in files], self.convert)


@dataclass(frozen=True)
class LlavaLayout:
    """JSON lists, each with a folder of its own, named in a text file of `folder,json,flag` lines; or one such list."""

    def open(self, request: Request) -> RecordSource:
        """See `Layout`."""
        (file,) = request.files("*.txt")[:1]
        folders = request.picture_folders(".")
        manifests = [Manifest(file, folders)] if file.suffix == ".json" else self._listed(file, folders)
        return JsonList(request.name, manifests, llava_conversation)

    def _listed(self, file: Path, folders: Sequence[Path]) -> list[Manifest]:
        manifests = []
        for number, line in enumerate(filter(str.strip, file.read_text("utf-8").splitlines()), start=1):
            columns = [column.strip() for column in line.split(",")]
            listed = file.parent / columns[1] if len(columns) > 1 else file.parent
            if not listed.is_file():
                raise InputMissing(
                    f"{file}, entry {number}, should be folder,json,flag with a file that exists: {line!r}."
                )
            manifests.append(Manifest(listed, [folder / columns[0] for folder in (file.parent, *folders)]))
        return manifests


@dataclass(frozen=True)
class PicoBananaLayout:
    """Manifests of Pico-Banana-400K, read once before all else to find the outputs that several rows name."""

    def open(self, request: Request) -> RecordSource:
        """See `Layout`."""
        files = request.files("sft*.jsonl", "multi*turn*.jsonl")
        return JsonLines(
            request.name,
            [Manifest(file, request.picture_folders(".", "openimages")) for file in files],
            PicoBanana(_repeated_outputs(files)),
        )


def _repeated_outputs(files: Sequence[Path]) -> frozenset[str]:
    seen: set[str] = set()
    repeated: set[str] = set()
    for file in files:
        for _, line in lines_between(file, 0, file.stat().st_size):
            row = parsed(line)
            output = row.get("output_image") if isinstance(row, dict) else None
            if isinstance(output, str):
                (repeated if output in seen else seen).add(output)
    return frozenset(repeated)


# Sets whose files are named after their split, and which would train on their validation rows otherwise.
_SPLIT_SETS = ("instructpix2pix", "magicbrush", "anyedit", "omniedit", "hq-edit")

DATASETS: Mapping[str, Layout] = {
    "webdataset": ShardsLayout(),
    "jsonl": PathsLayout(plain_row, ("*.jsonl",), (".", "images")),
    **{name: ParquetLayout(columns, "train" if name in _SPLIT_SETS else None) for name, columns in COLUMN_MAPS.items()},
    "seed-data-edit": PathsLayout(
        seed_data_edit, ("annotations/*.jsonl", "*.jsonl"), ("images", "images/data", "data", ".")
    ),
    "imgedit": PathsLayout(imgedit, ("Parquet/*.parquet", "*.parquet"), (".", "Singleturn", "Multiturn", "images")),
    "instructpix2pix-original": PathsLayout(prompt_to_prompt, ("seeds.json",), (".",)),
    "gpt-image-edit": LlavaLayout(),
    "sharegpt-4o-image": PathsLayout(
        sharegpt_4o_image, ("text_and_image_to_image.json", "editing.json"), (".", "images")
    ),
    "nhr-edit": PathsLayout(nhr_edit, ("train/metadata.jsonl", "metadata.jsonl"), ("train", ".")),
    "pico-banana": PicoBananaLayout(),
}
"""Every kind that `open_dataset` knows; the first three are containers of one's own data."""


def open_dataset(
    kind: str, path: Path, *, pictures: Path | None = None, split: str | None = None, name: str | None = None
) -> RecordSource:
    """Open a set of editing records.

    Args:
        kind: a key of `DATASETS`.
        path, pictures, split: see `Request`.
        name: how reports call the source; the kind if not given.

    Raises:
        UsageError: the kind is unknown.
        InputMissing: the path does not hold such a set, or its pictures are still packed.
        MissingExtra: reading it needs ``varedit[data]``.
    """
    if kind not in DATASETS:
        raise UsageError(f"{kind!r} is no kind of data set; known are {', '.join(DATASETS)}.")
    if not path.exists():
        raise InputMissing(f"{path} does not exist.")
    request = Request(name=name or kind, path=path, pictures=pictures, split=split)
    source = DATASETS[kind].open(request)
    _check_unpacked(source, request.folder)
    return source


def _check_unpacked(source: RecordSource, folder: Path) -> None:
    """The first record tells whether pictures are there; if they are not, archives beside it say why."""
    first = next(chain.from_iterable(source.candidates(shard) for shard in range(source.num_shards)), None)
    if isinstance(first, EncodedRecord) and isinstance(first.source, Path) and not first.source.is_file():
        archives = packed_archives(folder)
        if archives:
            raise InputMissing(
                f"{first.source} does not exist, but {archives[0]} does. Unpack the archives first: "
                f"varedit data unpack {archives[0]}"
            )

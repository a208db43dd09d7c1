"""Shards that are written are read back as they were, are the same bytes again, and are whole or absent."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.editing_sets import pixels
from varedit.data.readers.known_sets import open_dataset
from varedit.data.records import Damage, EditRecord, read_records
from varedit.data.shards import INDEX_NAME, ShardSettings, ShardWriter, damaged_shards, read_index
from varedit.errors import InputMissing, OutputError, UsageError

LOSSLESS = ShardSettings(picture_format="PNG", records_per_shard=2)


def record(number: int) -> EditRecord:
    mask = np.zeros((48, 64), dtype=np.uint8)
    mask[: number + 1] = 255
    return EditRecord(
        source=Image.fromarray(pixels(number)),
        target=Image.fromarray(pixels(number + 50, 128, 96)),
        instruction=f"edit {number} 兔",
        other_instructions=("another",),
        id=f"r/{number}.x",
        category="add",
        mask=Image.fromarray(mask) if number % 2 else None,
        session="s",
        turn=number + 1,
        target_caption="after",
        meta={"score": 1.5},
    )


def write(folder: Path, count: int, settings: ShardSettings = LOSSLESS) -> Path:
    with ShardWriter(folder, settings) as writer:
        for number in range(writer.num_written, count):
            writer.write(record(number))
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    damage = Damage()
    source = open_dataset("webdataset", write(tmp_path, 5))
    read = [item for item, _ in read_records(source, damage)]
    assert (len(read), damage.total, source.num_shards) == (5, 0, 3)
    for number, item in enumerate(read):
        wanted = record(number)
        for name in ("source", "target"):
            np.testing.assert_array_equal(np.asarray(getattr(item, name)), np.asarray(getattr(wanted, name)))
        assert (item.mask is None) == (wanted.mask is None)
        if item.mask is not None:
            np.testing.assert_array_equal(np.asarray(item.mask), np.asarray(wanted.mask))
        pictures = {"source": None, "target": None, "mask": None}
        assert vars(item) | pictures == vars(wanted) | pictures


def test_a_shard_is_as_the_released_loader_reads_it(tmp_path: Path) -> None:
    write(tmp_path, 2, ShardSettings(quality=90))
    with tarfile.open(tmp_path / "shard-00000.tar") as tar:
        names = tar.getnames()
        first = tar.extractfile(names[0])
        assert first is not None
        assert first.read(3) == b"\xff\xd8\xff"  # JPEG
    assert [name.partition(".") for name in names] == [
        (key, ".", member)
        for key, members in (
            ("000000000", ["src.jpg", "tgt.jpg", "txt", "json"]),
            ("000000001", ["src.jpg", "tgt.jpg", "txt", "json", "mask.png"]),
        )
        for member in members
    ]


def test_writing_again_gives_the_same_bytes_and_the_index_knows_them(tmp_path: Path) -> None:
    write(tmp_path / "a", 5)
    assert files(tmp_path / "a") == files(write(tmp_path / "b", 5))
    for entry in read_index(tmp_path / "a"):
        data = (tmp_path / "a" / entry.file).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert [entry.count for entry in read_index(tmp_path / "a")] == [2, 2, 1]


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4])
def test_a_writer_that_was_stopped_leaves_whole_shards_and_another_goes_on(stop: int, tmp_path: Path) -> None:
    def write_and_fail() -> None:
        with ShardWriter(tmp_path / "a", LOSSLESS) as writer:
            for number in range(stop):
                writer.write(record(number))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    left = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert left == [INDEX_NAME, "shard-00000.tar", "shard-00001.tar"][: stop // 2 + 1 if stop >= 2 else 0]
    (tmp_path / "a" / ".shard-00009.tar-0a.tmp").write_bytes(b"of a killed writer")
    assert files(write(tmp_path / "a", 5)) == files(write(tmp_path / "b", 5))


def test_shards_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with pytest.raises(UsageError, match="holds shards made with"):
        ShardWriter(tmp_path, replace(LOSSLESS, picture_format="JPEG"))
    with pytest.raises(UsageError, match="records_per_shard"):
        ShardSettings(records_per_shard=0)


def test_a_changed_or_missing_shard_is_found(tmp_path: Path) -> None:
    write(tmp_path, 5)
    assert damaged_shards(tmp_path) == []
    data = bytearray((tmp_path / "shard-00001.tar").read_bytes())
    data[700] ^= 1
    (tmp_path / "shard-00001.tar").write_bytes(data)
    (tmp_path / "shard-00002.tar").unlink()
    assert damaged_shards(tmp_path) == ["shard-00001.tar", "shard-00002.tar"]


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"shards": [{"file": "a"}]}), "{}"])
def test_an_index_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / INDEX_NAME).write_text(text)
    with pytest.raises(InputMissing, match="index"):
        read_index(tmp_path)


def test_a_full_disk_is_one_sentence_and_leaves_whole_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(headers: tarfile.TarFile, header: tarfile.TarInfo, file: object) -> Iterator[None]:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"), ShardWriter(tmp_path, LOSSLESS) as writer:
        for number in range(4):
            if number == 3:
                monkeypatch.setattr(tarfile.TarFile, "addfile", full)
            writer.write(record(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == [INDEX_NAME, "shard-00000.tar"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        ShardWriter(tmp_path / "file" / "shards")


def test_a_last_shard_that_cannot_be_finished_leaves_nothing_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"), ShardWriter(tmp_path, LOSSLESS) as writer:
        writer.write(record(0))
        monkeypatch.setattr("os.fsync", full)
    assert list(tmp_path.iterdir()) == []

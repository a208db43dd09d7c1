"""Scenes as files: what is read back is what was made, whatever the number of processes; and the command for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_array_equal
from PIL import Image

from tests.materials import write_material
from varedit.cli import cli
from varedit.data.readers.webdataset import open_shards
from varedit.data.records import EditRecord, usable_record
from varedit.data.scene_shards import write_scenes
from varedit.data.scenes import Scenes, held_out_scenes
from varedit.errors import InputMissing, OutputError

SIZE = (18, 20)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def scenes(material: Path) -> Scenes:
    return Scenes(material, split="train", size_hw=SIZE, seed=3)


def write(scenes: Scenes, out: Path, workers: int = 1, force: bool = False) -> list[tuple[int, int]]:
    progress: list[tuple[int, int]] = []
    write_scenes(
        scenes,
        out,
        count=7,
        workers=workers,
        records_per_shard=3,
        force=force,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    return progress


def test_what_is_read_back_is_what_was_made(scenes: Scenes, tmp_path: Path) -> None:
    assert write(scenes, tmp_path) == [(done, 7) for done in range(1, 8)]
    shards = open_shards(tmp_path, "scenes")
    assert shards.num_shards == 3
    candidates = [candidate for shard in range(3) for candidate in shards.candidates(shard)]
    for index, candidate in enumerate(candidates):
        record, scene = usable_record(candidate), scenes.scene(index)
        assert isinstance(record, EditRecord) and record.mask is not None
        assert (record.id, record.category) == (f"train-3-{index}", scene.category)
        assert record.meta == {"family": scene.family, "photograph": scene.photograph}
        assert record.instruction == scene.instruction
        for stored, made in ((record.source, scene.source), (record.target, scene.target), (record.mask, scene.mask)):
            assert_array_equal(np.asarray(stored), made)
    assert len(candidates) == 7


def test_the_files_do_not_depend_on_the_number_of_processes(scenes: Scenes, tmp_path: Path) -> None:
    write(scenes, tmp_path / "one")
    write(scenes, tmp_path / "two", workers=2)
    names = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert names == ["index.json", "shard-00000.tar", "shard-00001.tar", "shard-00002.tar", "sheet.jpg"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_earlier_files_are_replaced_only_when_asked_for_and_those_of_others_never(
    scenes: Scenes, material: Path, tmp_path: Path
) -> None:
    write(scenes, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "shard-00003.tar").write_bytes(b"of a longer call")
    before = (tmp_path / "shard-00000.tar").read_bytes()
    with pytest.raises(OutputError, match=r"holds index\.json already.*--force"):
        write(scenes, tmp_path)
    assert (tmp_path / "shard-00000.tar").read_bytes() == before
    write(Scenes(material, split="train", size_hw=SIZE, seed=4), tmp_path, force=True)
    assert (tmp_path / "shard-00000.tar").read_bytes() != before
    assert not (tmp_path / "shard-00003.tar").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_command_writes_the_scenes_that_models_are_compared_on(material: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    arguments = ["--out", str(out), "--material", str(material), "--split", "test", "--count", "2", "--size", "18x20"]
    done = CliRunner().invoke(cli, ["data", "scenes", *arguments, "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{out}\n" and "2 scenes" in done.stderr
    assert json.loads((out / "index.json").read_text())["shards"][0]["count"] == 2
    record = usable_record(next(iter(open_shards(out, "scenes").candidates(0))))
    assert isinstance(record, EditRecord)
    assert_array_equal(np.asarray(record.target), held_out_scenes(material, "test", SIZE).scene(0).target)
    with Image.open(out / "sheet.jpg") as sheet:
        assert sheet.width > 4 * 2 * 20


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--size", "7"], 2, "'7' is no size"),
        (["--size", "64x2000"], 2, "'64x2000' is no size"),
        (["--size", "big"], 2, "'big' is no size"),
        (["--split", "all"], 2, "'all' is not one of"),
        (["--seed", "-1"], 2, "-1 is not in the range"),
        (["--material", "nowhere"], 66, "varedit data fetch"),
    ],
)
def test_a_wrong_argument_is_one_sentence(
    arguments: list[str], code: int, sentence: str, material: Path, tmp_path: Path
) -> None:
    done = CliRunner().invoke(
        cli, ["data", "scenes", "--out", str(tmp_path / "out"), "--material", str(material), *arguments]
    )
    assert done.exit_code == code
    assert done.stderr.startswith("error: ") and sentence in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_damaged_photograph_is_named(tmp_path: Path) -> None:
    material = write_material(tmp_path / "material")
    for file in (material / "photographs").glob("*.jpg"):
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputMissing, match=r"photo-\d\d\.jpg is missing or damaged"):
        write(Scenes(material, split="train", size_hw=SIZE, seed=3), tmp_path / "out")
    assert not list((tmp_path / "out").glob("shard-*"))

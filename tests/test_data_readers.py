"""Every known editing set is read from a tiny file of its schema: what is good comes out, the rest is counted."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests import editing_sets
from tests.editing_sets import (
    WRITERS,
    Example,
    embedded,
    four_examples,
    picture_file,
    pixels,
    put,
    put_lines,
    put_parquet,
    put_tar,
    truncated,
    webdataset_members,
)
from varedit.data.readers.archives import archive_parts, packed_archives, unpack
from varedit.data.readers.json_files import JsonLines, Manifest
from varedit.data.readers.known_sets import DATASETS, open_dataset
from varedit.data.readers.rows import plain_row
from varedit.data.records import Damage, EditRecord, Position, RecordSource, Share, read_records
from varedit.data.shards import INDEX_NAME
from varedit.errors import InputMissing, UsageError


def read_all(source: RecordSource) -> tuple[list[EditRecord], Damage]:
    damage = Damage()
    return [record for record, _ in read_records(source, damage)], damage


@pytest.mark.parametrize("kind", WRITERS)
def test_a_known_set_gives_its_good_records_and_counts_the_damaged_one(kind: str, tmp_path: Path) -> None:
    records, damage = read_all(open_dataset(kind, WRITERS[kind](tmp_path, four_examples())))

    assert [record.instruction for record in records] == [
        "make it red", "make it larger", "füge ein Häschen 🐇 兔子 hinzu",
    ]  # fmt: skip
    assert damage.counts == {"damaged picture": 1}
    assert len({record.id for record in records}) == 3
    for record, source_seed, target_seed in zip(records, (1, 3, 6), (2, 4, 7), strict=True):
        size = (128, 96) if target_seed == 4 else (64, 48)
        np.testing.assert_array_equal(np.asarray(record.source), pixels(source_seed))
        np.testing.assert_array_equal(np.asarray(record.target), pixels(target_seed, *size))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_reader_can_be_sent_to_a_worker_and_reads_the_same_there(kind: str, tmp_path: Path) -> None:
    source = open_dataset(kind, WRITERS[kind](tmp_path, four_examples()))
    sent = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own bytes
    assert [record.id for record in read_all(sent)[0]] == [record.id for record in read_all(source)[0]]


@pytest.mark.parametrize("kind", WRITERS)
def test_reading_goes_on_from_every_position_as_if_never_interrupted(kind: str, tmp_path: Path) -> None:
    source = open_dataset(kind, WRITERS[kind](tmp_path, four_examples()))
    whole = [(record.id, position) for record, position in read_records(source, Damage())]
    for number, (_, position) in enumerate(whole):
        rest = [(record.id, at) for record, at in read_records(source, Damage(), start=position)]
        assert rest == whole[number + 1 :]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("count", [2, 7])
def test_shares_together_read_every_record_once(kind: str, count: int, tmp_path: Path) -> None:
    source = open_dataset(kind, WRITERS[kind](tmp_path, four_examples()))
    damage = Damage()
    shares = [[record.id for record, _ in read_records(source, damage, share=Share(n, count))] for n in range(count)]
    assert sorted(str(name) for share in shares for name in share) == sorted(
        str(record.id) for record in read_all(source)[0]
    )
    assert damage.total == 1


def test_every_kind_is_tested() -> None:
    assert set(DATASETS) - set(WRITERS) == {"parquet", "hq-edit"}


def test_an_unknown_kind_names_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'magicbrusch' is no kind .* magicbrush"):
        open_dataset("magicbrusch", tmp_path)


def test_a_set_opened_as_another_one_says_which_columns_it_has(tmp_path: Path) -> None:
    editing_sets.omniedit(tmp_path, four_examples())
    with pytest.raises(InputMissing, match="has no column image_file, edited_file, edit_instruction; it has src_img"):
        open_dataset("anyedit", tmp_path)


def test_training_reads_the_training_split_and_another_one_can_be_named(tmp_path: Path) -> None:
    folder = editing_sets.magicbrush(tmp_path, four_examples())
    assert open_dataset("magicbrush", folder).num_shards == 1
    (tmp_path / "data" / "dev-00001-of-00004-0c.parquet").write_bytes(
        (tmp_path / "data" / "dev-00000-of-00004-0b.parquet").read_bytes()
    )
    assert open_dataset("magicbrush", folder, split="dev").num_shards == 2
    with pytest.raises(InputMissing, match="test-"):
        open_dataset("magicbrush", folder, split="test")


def test_magicbrush_sessions_keep_turn_photograph_and_mask(tmp_path: Path) -> None:
    records, _ = read_all(open_dataset("magicbrush", editing_sets.magicbrush(tmp_path, four_examples())))
    assert [(record.session, record.turn) for record in records] == [("242679", 1), ("242679", 2), ("391895", 1)]
    assert [record.meta["coco_id"] for record in records] == ["242679", "242679", "391895"]
    assert records[0].mask is not None and records[0].mask.mode == "L"
    mask = np.asarray(records[0].mask)
    assert (mask[:24] == 255).all() and (mask[24:] == 0).all()


def test_a_mask_with_a_transparent_hole_marks_the_hole(tmp_path: Path) -> None:
    holed = Image.fromarray(pixels(1)).convert("RGBA")
    alpha = np.full((48, 64), 255, dtype=np.uint8)
    alpha[:, :10] = 0
    holed.putalpha(Image.fromarray(alpha))
    encoded = io.BytesIO()
    holed.save(encoded, "PNG")
    put(tmp_path / "mask.png", encoded.getvalue())
    put(tmp_path / "wrong.png", picture_file(8, 31, 17))
    put(tmp_path / "a.png", picture_file(1))
    row = {"source": "a.png", "target": "a.png", "instruction": "x", "mask": "mask.png"}
    put_lines(tmp_path / "rows.jsonl", [row, {**row, "mask": "wrong.png"}])

    (record,), damage = read_all(open_dataset("jsonl", tmp_path))
    assert record.mask is not None
    assert (np.asarray(record.mask)[:, :10] == 255).all() and not np.asarray(record.mask)[:, 10:].any()
    assert damage.counts == {"mask does not fit": 1}


def test_hq_edit_gives_each_edit_and_its_inverse(tmp_path: Path) -> None:
    columns = {
        "input": (pa.string(), ["a cat", "a cat"]),
        "input_image": embedded([picture_file(1), picture_file(3)]),
        "edit": (pa.string(), ["make it a dog", "x"]),
        "inverse_edit": (pa.string(), ["make it a cat", ""]),
        "output": (pa.string(), ["a dog", "a dog"]),
        "output_image": embedded([picture_file(2), truncated()]),
    }
    put_parquet(tmp_path / "data" / "train-00000-of-00067.parquet", columns)
    (there, back), damage = read_all(open_dataset("hq-edit", tmp_path))
    assert (there.instruction, there.source_caption, there.target_caption) == ("make it a dog", "a cat", "a dog")
    assert (back.instruction, back.source_caption, back.target_caption) == ("make it a cat", "a dog", "a cat")
    np.testing.assert_array_equal(np.asarray(back.source), pixels(2))
    np.testing.assert_array_equal(np.asarray(back.target), pixels(1))
    assert damage.counts == {"damaged picture": 1, "empty instruction": 1}


def test_anyedit_leaves_out_what_needs_a_second_picture(tmp_path: Path) -> None:
    columns = {
        "image_id": (pa.string(), ["a", "b", "c", "d"]),
        "edit_instruction": (pa.string(), ["add a hat", "follow [v*]", "follow [v*]", ""]),
        "edit_type": (pa.string(), ["add", "visual_sketch", "add", "add"]),
        "image_file": embedded([picture_file(1)] * 4),
        "edited_file": embedded([picture_file(2)] * 4),
        "visual_input": embedded([None, None, picture_file(3), None]),
    }
    put_parquet(tmp_path / "train-0.parquet", columns)
    records, damage = read_all(open_dataset("anyedit", tmp_path))
    assert [record.id for record in records] == ["a"]
    assert damage.counts == {"visual input": 2, "empty instruction": 1}


def test_omniedit_keeps_all_wordings_and_scores(tmp_path: Path) -> None:
    records, _ = read_all(open_dataset("omniedit", editing_sets.omniedit(tmp_path, four_examples())))
    assert records[0].other_instructions == ("please, make it red",)
    assert records[0].meta == {"sc_score_1": 9, "pq_score": 9, "o_score": 8.5}


def test_a_parquet_picture_may_be_named_instead_of_embedded(tmp_path: Path) -> None:
    put(tmp_path / "there.png", picture_file(1))
    cells = [{"bytes": None, "path": "there.png"}, {"bytes": None, "path": "gone.png"}, None]
    columns = {
        "source": (editing_sets.PICTURE, cells),
        "target": embedded([picture_file(2)] * 3),
        "instruction": (pa.string(), ["x"] * 3),
    }
    put_parquet(tmp_path / "own.parquet", columns)
    (record,), damage = read_all(open_dataset("parquet", tmp_path))
    np.testing.assert_array_equal(np.asarray(record.source), pixels(1))
    assert damage.counts == {"missing picture": 2}


def test_a_damaged_parquet_file_costs_only_itself(tmp_path: Path) -> None:
    editing_sets.scaleedit(tmp_path / "a", four_examples())
    damaged = put(tmp_path / "b" / "damaged.parquet", b"PAR1 and then nothing")
    records, damage = read_all(open_dataset("scaleedit", tmp_path))
    assert len(records) == 3
    assert damage.counts == {"damaged picture": 1, "damaged shard": 1}
    assert damaged.name in damage.examples["damaged shard"][0]


def test_a_session_of_seed_data_edit_becomes_single_turns_in_order(tmp_path: Path) -> None:
    session = {"source_image": "p0.png"}
    for turn in (1, 2, 3):
        session |= {f"edit_image_{turn}": f"p{turn}.png", f"instruction_{turn}": f"do {turn}"}
        session[f"inverse_instruction_{turn}"] = f"undo {turn}"
    for number in range(4):
        put(tmp_path / "images" / "data" / f"p{number}.png", picture_file(number))
    broken = {name: value for name, value in session.items() if name != "edit_image_2"}
    put_lines(tmp_path / "annotations" / "split_0001.jsonl", [session, broken])

    records, damage = read_all(open_dataset("seed-data-edit", tmp_path))
    assert [(record.instruction, record.turn) for record in records] == [("do 1", 1), ("do 2", 2), ("do 3", 3)]
    assert len({record.session for record in records}) == 1
    for turn, record in enumerate(records):
        np.testing.assert_array_equal(np.asarray(record.source), pixels(turn))
        np.testing.assert_array_equal(np.asarray(record.target), pixels(turn + 1))
    assert damage.counts == {"missing field": 1}


@pytest.mark.parametrize(("task", "turns"), [("content_understanding", 3), ("version_backtracking", 1)])
def test_later_turns_of_imgedit_count_only_where_they_stand_alone(task: str, turns: int, tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / "Multiturn" / f"origin_{number}.png", picture_file(number))
        put(tmp_path / "Multiturn" / f"result_{number}.png", picture_file(number + 10))
    session = [
        {"input_images": [f"origin_{n}.png"], "output_images": [f"result_{n}.png"], "prompt": f"do {n}"}
        for n in range(3)
    ]
    kind = pa.list_(
        pa.struct(
            [
                ("input_images", pa.list_(pa.string())),
                ("output_images", pa.list_(pa.string())),
                ("prompt", pa.string()),
            ]
        )
    )
    put_parquet(tmp_path / "Parquet" / f"{task}_part0.parquet", {"data": (kind, [session])})
    records, damage = read_all(open_dataset("imgedit", tmp_path))
    assert [(record.turn, record.instruction) for record in records] == [(n + 1, f"do {n}") for n in range(turns)]
    assert {record.category for record in records} == {task}
    assert damage.counts.get("refers to earlier turns", 0) == 3 - turns


def test_a_row_with_two_inputs_is_counted(tmp_path: Path) -> None:
    put(tmp_path / "image" / "a.png", picture_file(1))
    row = {"input_prompt": "merge them", "input_image": ["image/a.png", "image/a.png"], "output_image": "image/a.png"}
    put(tmp_path / "text_and_image_to_image.json", json.dumps([row, {**row, "input_image": ["image/a.png"]}]))
    records, damage = read_all(open_dataset("sharegpt-4o-image", tmp_path))
    assert (len(records), damage.counts) == (1, {"several inputs": 1})


def test_a_json_list_that_ends_early_gives_what_came_before(tmp_path: Path) -> None:
    folder = editing_sets.sharegpt_4o_image(tmp_path, four_examples())
    manifest = folder / "text_and_image_to_image.json"
    manifest.write_text(manifest.read_text()[:-40])
    records, damage = read_all(open_dataset("sharegpt-4o-image", folder))
    assert [record.instruction for record in records] == ["make it red", "make it larger"]
    assert damage.counts == {"damaged picture": 1, "damaged shard": 1}


def test_pico_banana_drops_all_rows_of_an_output_that_several_name(tmp_path: Path) -> None:
    folder = editing_sets.pico_banana(tmp_path, four_examples())
    manifest = folder / "sft_with_local_source_image_path.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[3]["output_image"] = rows[0]["output_image"]
    rows[1]["local_input_image"] = None
    put_lines(manifest, rows)
    records, damage = read_all(open_dataset("pico-banana", folder))
    assert records == []
    assert damage.counts == {"repeated output": 2, "missing picture": 1, "damaged picture": 1}


def test_pico_banana_photographs_are_found_by_the_end_of_the_helpers_path(tmp_path: Path) -> None:
    folder = editing_sets.pico_banana(tmp_path / "set", four_examples()[:1])
    (folder / "photos").rename(tmp_path / "elsewhere")
    manifest = folder / "sft_with_local_source_image_path.jsonl"
    manifest.write_text(manifest.read_text().replace("photos/train_0", "/another/machine/train_0"))
    (record,), _ = read_all(open_dataset("pico-banana", folder, pictures=tmp_path / "elsewhere"))
    np.testing.assert_array_equal(np.asarray(record.source), pixels(1))


def test_a_session_of_pico_banana_follows_the_roles_of_its_files(tmp_path: Path) -> None:
    for name, number in (("train_0/x.jpg", 0), ("m/1.png", 1), ("m/2.png", 2), ("m/3.png", 3)):
        put(tmp_path / name, picture_file(number))
    row = {
        "files": [
            {"id": "final_image", "url": "m/3.png"},
            {"id": "edit_turn2", "url": "m/2.png"},
            {"id": "edit_turn1", "url": "m/1.png"},
            {"id": "original_input_image", "url": "https://live.example.org/x_o.jpg"},
        ],
        "metadata_edit_turn_prompts": ["one", "two", "three"],
        "local_input_image": "train_0/x.jpg",
    }
    put_lines(tmp_path / "multi_turn_with_local.jsonl", [row])
    records, damage = read_all(open_dataset("pico-banana", tmp_path))
    assert [(record.turn, record.instruction) for record in records] == [(1, "one"), (2, "two"), (3, "three")]
    for turn, record in enumerate(records):
        np.testing.assert_array_equal(np.asarray(record.source), pixels(turn))
        np.testing.assert_array_equal(np.asarray(record.target), pixels(turn + 1))
    assert damage.total == 0


def test_nhr_edit_keeps_further_wordings(tmp_path: Path) -> None:
    records, _ = read_all(open_dataset("nhr-edit", editing_sets.nhr_edit(tmp_path, four_examples())))
    assert (records[0].id, records[0].other_instructions) == ("sample0", ("another wording",))


def test_lines_that_are_no_json_or_no_object_or_lack_a_field_are_counted(tmp_path: Path) -> None:
    folder = editing_sets.jsonl(tmp_path, four_examples()[:2])
    good = (folder / "rows.jsonl").read_text()
    lacking = '{"source": "s0.png", "target": "t0.png"}\n{"source": 3, "target": "t0.png", "instruction": "x"}\n'
    put(folder / "rows.jsonl", "{broken\n[1, 2]\n\n" + lacking + "[" * 100_000 + "\n" + good)
    records, damage = read_all(open_dataset("jsonl", folder))
    assert (len(records), damage.counts) == (2, {"damaged row": 3, "missing field": 2})


def test_paths_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    secret = put(tmp_path / "secret.png", picture_file(1))
    rows = [{"source": path, "target": path, "instruction": "x"} for path in ("../secret.png", str(secret))]
    put_lines(tmp_path / "set" / "rows.jsonl", rows)
    records, damage = read_all(open_dataset("jsonl", tmp_path / "set"))
    assert (records, damage.counts) == ([], {"missing picture": 2})


def test_a_manifest_cut_into_shards_at_any_byte_gives_each_line_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"source": f"{n}.png", "target": "t.png", "instruction": "é" * (n % 7)} for n in range(23)]
    manifest = put_lines(tmp_path / "rows.jsonl", rows)
    for size in (1, 2, 37, 64, 65, 10_000):
        monkeypatch.setattr("varedit.data.readers.json_files.SHARD_BYTES", size)
        source = JsonLines("x", [Manifest(manifest, [tmp_path])], plain_row)
        names = [candidate.id for shard in range(source.num_shards) for candidate in source.candidates(shard)]
        assert len(names) == 23 and names == sorted(names, key=lambda name: int(name.partition("@")[2]))


def test_pictures_are_turned_upright_before_shapes_are_compared(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    lying = picture_file(1, 48, 64, "JPEG", quality=100, exif=exif)
    put(tmp_path / "a.jpg", lying)
    put(tmp_path / "b.png", picture_file(2, 64, 48))
    put(tmp_path / "c.png", picture_file(2, 48, 64))
    rows = [{"source": "a.jpg", "target": name, "instruction": "x"} for name in ("b.png", "c.png")]
    put_lines(tmp_path / "rows.jsonl", rows)
    (record,), damage = read_all(open_dataset("jsonl", tmp_path))
    assert record.source.size == record.target.size == (64, 48)
    assert damage.counts == {"aspect differs": 1}


@pytest.mark.parametrize(("height", "accepted"), [(200, True), (209, True), (192, True), (212, False), (189, False)])
def test_aspect_ratios_may_differ_by_a_twentieth(height: int, accepted: bool, tmp_path: Path) -> None:
    put(tmp_path / "a.png", picture_file(1, 300, 200))
    put(tmp_path / "b.png", picture_file(2, 300, height))
    put_lines(tmp_path / "rows.jsonl", [{"source": "a.png", "target": "b.png", "instruction": "x"}])
    source = open_dataset("jsonl", tmp_path)
    assert bool(read_all(source)[0]) == accepted
    assert len(list(read_records(source, Damage(), aspect_tolerance=None))) == 1


def test_a_shard_that_is_cut_gives_what_came_before_and_counts_what_the_index_promised(tmp_path: Path) -> None:
    whole = put_tar(tmp_path / "shard.tar", webdataset_members(four_examples()[:2] * 3))
    with tarfile.open(whole) as tar:
        third = tar.getmembers()[6].offset
    whole.write_bytes(whole.read_bytes()[: third + 700])
    records, damage = read_all(open_dataset("webdataset", whole))
    assert (len(records), damage.counts) == (2, {"damaged shard": 1})

    entry = {"file": "shard.tar", "count": 6, "bytes": 0, "sha256": ""}
    put(tmp_path / INDEX_NAME, json.dumps({"shards": [entry]}))
    source = open_dataset("webdataset", tmp_path)
    records, damage = read_all(source)
    assert (len(records), damage.counts) == (2, {"damaged shard": 4})
    (first, position), *_ = read_records(source, Damage())
    assert position == Position(0, 1) and first.id == records[0].id


def test_a_damaged_header_in_a_shard_does_not_pass_for_its_end(tmp_path: Path) -> None:
    shard = put_tar(tmp_path / "shard.tar", webdataset_members(four_examples()[:2]))
    with tarfile.open(shard) as tar:
        header = tar.getmembers()[3].offset
    data = bytearray(shard.read_bytes())
    data[header + 148] ^= 1  # the checksum
    shard.write_bytes(data)
    records, damage = read_all(open_dataset("webdataset", shard))
    assert (len(records), damage.counts) == (1, {"damaged shard": 1})


def test_members_of_a_record_that_are_apart_or_missing_are_counted(tmp_path: Path) -> None:
    members = webdataset_members([Example(picture_file(1), picture_file(2), "one")])
    late = [("b/1.src.jpg", picture_file(1)), ("b/2.note", b"?"), ("b/1.tgt.jpg", picture_file(2))]
    unread = [("c/3.src.jpg", b""), ("c/3.tgt.jpg", b""), ("c/3.txt", b"\xff")]
    put_tar(tmp_path / "a.tar", [*members, ("a/000000.extra", b"harmless"), *late, *unread])
    records, damage = read_all(open_dataset("webdataset", tmp_path))
    assert [record.instruction for record in records] == ["one"]
    assert damage.counts == {"missing field": 3, "damaged row": 1}


def test_a_shard_that_a_list_names_and_that_is_not_there_is_told(tmp_path: Path) -> None:
    folder = editing_sets.webdataset(tmp_path, four_examples())
    put(folder / "SEEDEdit.txt", "openimages\t4\t3\n")
    with pytest.raises(InputMissing, match=r"wds_openimages_0002\.tar"):
        open_dataset("webdataset", folder)
    put(folder / "SEEDEdit.txt", "openimages 4 3\n")
    with pytest.raises(InputMissing, match="line 1"):
        open_dataset("webdataset", folder)


def split_archive(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """A compressed archive of two pictures, cut into as many parts as there are suffixes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, seed in (("source_images/a.jpg", 1), ("source_images/b.jpg", 2)):
            header = tarfile.TarInfo(name)
            header.size = len(picture_file(seed))
            tar.addfile(header, io.BytesIO(picture_file(seed)))
    data = packed.getvalue()
    bounds = [len(data) * number // len(suffixes) for number in range(len(suffixes) + 1)]
    return [
        put(folder / f"source_images.tar.gz{suffix}", data[bounds[n] : bounds[n + 1]])
        for n, suffix in enumerate(suffixes)
    ]


@pytest.mark.parametrize(
    "suffixes", [(".part-aa", ".part-ab"), (".part001", ".part002", ".part003"), (".split.000", ".split.001"), ("",)]
)
def test_an_archive_in_parts_is_unpacked_as_one(suffixes: tuple[str, ...], tmp_path: Path) -> None:
    parts = split_archive(tmp_path, suffixes)
    assert archive_parts(parts[-1]) == parts
    assert packed_archives(tmp_path) == parts[:1]
    assert unpack(parts[0], tmp_path / "out") == 2
    assert (tmp_path / "out" / "source_images" / "b.jpg").read_bytes() == picture_file(2)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["a.jpg", "b.jpg"]
    untouched = (tmp_path / "out" / "source_images" / "a.jpg").stat().st_ino
    (tmp_path / "out" / "source_images" / "b.jpg").write_bytes(b"cut")
    unpack(parts[0], tmp_path / "out")
    assert (tmp_path / "out" / "source_images" / "a.jpg").stat().st_ino == untouched
    assert (tmp_path / "out" / "source_images" / "b.jpg").read_bytes() == picture_file(2)


def test_a_part_that_is_missing_or_cut_is_told(tmp_path: Path) -> None:
    parts = split_archive(tmp_path, (".part-aa", ".part-ab", ".part-ac"))
    parts[2].write_bytes(parts[2].read_bytes()[:50])
    with pytest.raises(InputMissing, match="damaged after"):
        unpack(parts[0], tmp_path / "out")
    parts[1].unlink()
    with pytest.raises(InputMissing, match="part 2"):
        unpack(parts[0], tmp_path / "out")


def test_an_archive_writes_nothing_outside_its_folder(tmp_path: Path) -> None:
    archive = put_tar(tmp_path / "evil.tar", [("../outside.txt", b"x")])
    with pytest.raises(InputMissing, match="damaged after 0 files"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "outside.txt").exists()


def test_a_set_whose_pictures_are_still_packed_says_how_to_unpack_them(tmp_path: Path) -> None:
    folder = editing_sets.seed_data_edit(tmp_path, four_examples())
    for path in (folder / "images" / "source_images").iterdir():
        path.unlink()
    split_archive(folder / "images", (".part-aa", ".part-ab"))
    with pytest.raises(InputMissing, match=r"varedit data unpack .*part-aa"):
        open_dataset("seed-data-edit", folder)

"""`varedit data check` counts, measures, compares with a deny list, and shows what it found."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import editing_sets
from tests.editing_sets import Example, four_examples, picture_file, pixels
from tests.listed_source import ListedSource
from varedit.cli import cli
from varedit.data.check import SHEET_SIDE, DenyList, Thumbnail, check_source, quantiles
from varedit.data.contact_sheet import CAPTION_LINES, GAP, LINE_HEIGHT, contact_sheet
from varedit.data.material import picture_hash
from varedit.data.readers.known_sets import open_dataset
from varedit.errors import InputMissing


def run(*arguments: object) -> int:
    return int(cli.main([str(argument) for argument in arguments], standalone_mode=False))


def test_the_report_counts_sizes_words_repetitions_and_damage(tmp_path: Path) -> None:
    twice = Example(picture_file(1), picture_file(2), "make it really very red")
    report = check_source(open_dataset("jsonl", editing_sets.jsonl(tmp_path, [*four_examples(), twice])))
    facts = report.as_dict()
    assert (facts["records"], facts["sources"], facts["repeated_pairs"]) == (4, 3, 1)
    assert facts["skipped"] == {
        "damaged picture": {"count": 1, "examples": [next(iter(report.damage.examples.values()))[0]]}
    }
    assert facts["short_side"] == {"least": 48, "median": 48, "most": 48}
    assert facts["instruction_words"] == {"least": 3, "median": 5, "most": 6}


@pytest.mark.parametrize("values", [[5], [1, 2], [3, 1, 2], [1, 1, 1, 9], [4, 4, 2, 7, 7, 7]])
def test_quantiles_are_those_of_the_sorted_numbers(values: list[int]) -> None:
    ordered = sorted(values)
    told = {"least": ordered[0], "median": ordered[len(ordered) // 2], "most": ordered[-1]}
    assert quantiles(Counter(values)) == told


@pytest.mark.parametrize("count", [1, 3, 4, 7, 20])
def test_a_count_is_spread_over_all_shards(count: int) -> None:
    source = ListedSource("x", (9, 9, 9))
    seen: list[tuple[int, int]] = []
    report = check_source(source, count=count, on_progress=lambda done, total: seen.append((done, total)))
    assert report.num_records == count
    assert report.num_sources == min(3, count)  # the pictures of one shard are all alike
    assert {total for _, total in seen} == {count} and seen == sorted(seen)


def test_the_thumbnails_are_small_and_from_the_whole_stream() -> None:
    drawn: Counter[int] = Counter()
    source = ListedSource("x", tuple([1] * 12))
    hashes = [check_source(ListedSource("x", tuple([0] * n + [1]))).thumbnails[0].source.tobytes() for n in range(12)]
    report = check_source(source, num_thumbnails=5)
    for thumbnail in report.thumbnails:
        drawn[hashes.index(thumbnail.source.tobytes())] += 1
    assert len(report.thumbnails) == 5 and len(drawn) == 5
    assert max(drawn) >= 5  # not simply the first five


def test_thumbnails_fit_the_sheet(tmp_path: Path) -> None:
    example = Example(picture_file(1, 800, 300), picture_file(2, 1600, 600), "x")
    (thumbnail,) = check_source(open_dataset("jsonl", editing_sets.jsonl(tmp_path, [example]))).thumbnails
    assert thumbnail.source.shape == thumbnail.target.shape == (72, SHEET_SIDE, 3)


def test_a_deny_list_finds_recompressed_pictures_and_numbers(tmp_path: Path) -> None:
    smaller = Image.fromarray(pixels(6)).resize((40, 30), Image.Resampling.LANCZOS)
    deny = tmp_path / "deny.txt"
    deny.write_text(f"# a benchmark\n{picture_hash(smaller):016x}  # its first picture\n000000242679\n")
    folder = editing_sets.magicbrush(tmp_path, four_examples())
    report = check_source(open_dataset("magicbrush", folder), deny=DenyList.read(deny))
    assert (report.num_denied, report.denied) == (3, ["242679-1", "242679-2", "391895-1"])

    deny.write_text("31\n0000000000000000\n")
    assert check_source(open_dataset("magicbrush", folder), deny=DenyList.read(deny)).num_denied == 0
    deny.write_text("not a number\n")
    with pytest.raises(InputMissing, match=r"deny\.txt, line 1: 'not a number'"):
        DenyList.read(deny)


def test_an_id_in_the_form_of_coco_is_a_number_on_the_list(tmp_path: Path) -> None:
    folder = editing_sets.jsonl(tmp_path, four_examples()[:2])
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    rows[0]["id"] = "COCO_train2014_000000000057.jpg"
    rows[1]["id"] = "57"
    editing_sets.put_lines(folder / "rows.jsonl", rows)
    deny = DenyList(np.array([], dtype=np.uint64), frozenset({57}))
    assert check_source(open_dataset("jsonl", folder), deny=deny).denied == [rows[0]["id"]]


def test_the_command_reports_in_words_and_in_json_and_writes_a_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = editing_sets.magicbrush(tmp_path, four_examples())
    assert run("data", "check", "magicbrush", folder, "--sheet", tmp_path / "sheet.png") == 0
    out, err = capsys.readouterr()
    assert "magicbrush: 3 usable records, 1 skipped" in out
    assert "skipped: damaged picture: 1 (31-1)" in out
    assert "sheet.png" in err
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (3 * (2 * 128 + 3 * GAP), 96 + 2 * GAP + CAPTION_LINES * LINE_HEIGHT)

    assert run("data", "check", "magicbrush", folder, "--json", "--quiet", "--count", "2") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["records"], facts["categories"]) == (2, {})


def test_the_command_fails_on_denied_records_and_changed_shards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = editing_sets.magicbrush(tmp_path, four_examples())
    (tmp_path / "deny.txt").write_text("391895\n")
    assert run("data", "check", "magicbrush", folder, "--deny", tmp_path / "deny.txt") == 1
    assert "1 records on the deny list, such as 391895-1" in capsys.readouterr().err

    shards = tmp_path / "shards"
    editing_sets.put_tar(shards / "a.tar", editing_sets.webdataset_members(four_examples()))
    entry = {"file": "a.tar", "count": 4, "bytes": 1, "sha256": "0" * 64}
    editing_sets.put(shards / "index.json", json.dumps({"shards": [entry]}))
    assert run("data", "check", "webdataset", shards) == 66
    assert "a.tar" in capsys.readouterr().err
    assert run("data", "check", "webdataset", shards, "--count", "4") == 0


def test_a_source_with_nothing_usable_is_reported_without_a_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    editing_sets.put(tmp_path / "rows.jsonl", "{}\n")
    assert run("data", "check", "jsonl", tmp_path, "--sheet", tmp_path / "sheet.png") == 0
    assert "0 usable records, 1 skipped" in capsys.readouterr().out
    assert not (tmp_path / "sheet.png").exists()


def test_the_command_unpacks_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = editing_sets.put_tar(tmp_path / "a.tar", [("images/1.jpg", b"x"), ("images/2.jpg", b"yz")])
    assert run("data", "unpack", archive) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(tmp_path) and "2 files" in err
    assert (tmp_path / "images" / "2.jpg").read_bytes() == b"yz"


def test_pictures_of_unlike_size_stand_in_the_middle_of_their_places() -> None:
    small = Thumbnail(np.full((10, 30, 3), 7, np.uint8), np.full((40, 20, 3), 9, np.uint8), "a")
    sheet = np.asarray(contact_sheet([small, small], columns=2))
    assert sheet.shape == (40 + 2 * GAP + CAPTION_LINES * LINE_HEIGHT, 2 * (2 * 30 + 3 * GAP), 3)
    for x in (GAP, GAP + 2 * 30 + 3 * GAP):
        assert (sheet[GAP + 15 : GAP + 25, x : x + 30] == 7).all()
        assert (sheet[GAP : GAP + 40, x + 30 + GAP + 5 : x + 30 + GAP + 25] == 9).all()
    assert (sheet == 7).sum() == 2 * 10 * 30 * 3

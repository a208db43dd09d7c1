"""The readers of benchmarks, each on a tiny folder of its published schema, and the folder that a run makes of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.benchmark_folders import WRITERS, emu_edit, gedit, imgedit, magicbrush, pie_bench
from tests.editing_sets import picture_file
from tests.stub_scenes import StubScenes
from varedit.errors import InputMissing, UsageError
from varedit.evaluation.benchmarks.catalogue import BENCHMARKS
from varedit.evaluation.benchmarks.items import Item
from varedit.evaluation.benchmarks.pie_bench import decoded_mask
from varedit.evaluation.run_folder import RunFolder, RunItem
from varedit.evaluation.runner import Choice, prepare
from varedit.images import load_mask


def items_of(name: str, folder: Path, split: str | None = None) -> list[Item]:
    benchmark = BENCHMARKS[name]
    return list(benchmark.items(folder, benchmark.split(split)))


def prepared(name: str, folder: Path, out: Path, split: str | None = None, count: int | None = None) -> RunFolder:
    benchmark = BENCHMARKS[name]
    return prepare(Choice(benchmark, benchmark.split(split), count), str(folder), out)


def test_emu_edit_is_split_by_its_column_and_named_by_its_index(tmp_path):
    first, second = items_of("emu-edit", emu_edit(tmp_path))
    assert (first.id, first.category, first.instruction) == ("7", "add", "add a cat")
    assert first.source == picture_file(1) and first.target is None and first.mask is None
    assert (first.source_caption, first.target_caption) == ("a sofa", "a cat on a sofa")
    assert (second.id, second.category, second.source_caption) == ("12", "global", None)
    assert [item.id for item in items_of("emu-edit", tmp_path, "validation")] == ["8"]


def test_pie_bench_has_captions_without_brackets_and_masks(tmp_path):
    first, second = items_of("pie-bench", pie_bench(tmp_path))
    assert first.id == "0_random_140/000000000000" and first.category == "random"
    assert first.instruction == "Make the frame of the bike rusty"
    assert first.target_caption == "a slanted rusty mountain bicycle on the road"
    assert second.category == "change style" and second.target_caption == "watercolor of a dog"
    assert first.source == tmp_path / "annotation_images/0_random_140/000000000000.jpg"
    assert first.mask is not None and second.mask is not None
    mask = load_mask(first.mask, 512, 512) > 0.5
    assert mask[2, 10:15].all() and not mask[2, 9] and not mask[2, 15]  # 1034 is row 2, column 10
    assert mask[300, 500:].all() and mask[301, 0:18].all() and not mask[301, 18]  # a run goes on in the next row
    assert mask[0].all() and mask[-1].all() and mask[:, 0].all() and mask[:, -1].all()
    assert mask.sum() == 4 * 512 - 4 + 5 + (12 - 1) + (18 - 1)
    assert load_mask(second.mask, 512, 512).min() == 1


def test_a_mask_of_runs_by_hand():
    assert decoded_mask([6, 2, 17, 99], side=5).astype(int).tolist() == [
        [1, 1, 1, 1, 1],
        [1, 1, 1, 0, 1],
        [1, 0, 0, 0, 1],
        [1, 0, 1, 1, 1],
        [1, 1, 1, 1, 1],
    ]


def test_magicbrush_turns_come_in_the_order_of_their_numbers_from_true_results(tmp_path):
    items = items_of("magicbrush", magicbrush(tmp_path))
    assert [item.instruction for item in items] == [f"edit {number}" for number in range(1, 12)]
    assert items[0].id == "242679/242679_1" and items[10].id == "242679/242679_inde_11"
    session = tmp_path / "test" / "images" / "242679"
    assert (items[0].source, items[0].target) == (session / "242679-input.png", session / "242679-output1.png")
    assert (items[1].source, items[1].target) == (session / "242679-output1.png", session / "242679-output2.png")
    assert items[1].target_caption == "shows output2" and items[1].category == "turn 2"
    assert items[1].mask is not None
    mask = load_mask(items[1].mask, 64, 48)
    assert mask[:12].min() == 1 and mask[12:].max() == 0


def test_magicbrushs_turns_may_go_on_from_the_editors_own_results(tmp_path):
    single, items = items_of("magicbrush", magicbrush(tmp_path)), items_of("magicbrush", tmp_path, "multi-turn")
    assert [item.id for item in items[:3]] == ["242679/242679_1", "242679/242679_iter_2", "242679/242679_iter_3"]
    assert [item.after for item in items[:3]] == [None, "242679/242679_1", "242679/242679_iter_2"]
    assert items[0].source == single[0].source and items[1].source is None
    assert [item.target for item in items] == [item.target for item in single]
    assert [item.category for item in (items[0], items[9], items[10])] == ["turn 1", "turn 10", "last turn"]


def test_imgedit_has_two_suites(tmp_path):
    first, second = items_of("imgedit", imgedit(tmp_path))
    assert (first.id, first.category, first.instruction) == ("1082", "add", "Add a hat")
    assert first.source == tmp_path / "Benchmark/singleturn/animal/000342021.jpg" and second.category == "style"
    (hard,) = items_of("imgedit", tmp_path, "uge")
    assert (hard.id, hard.category) == ("1", "uge") and hard.source == tmp_path / "Benchmark/hard/000029784.jpg"


def test_gedit_has_two_languages_whatever_the_column_calls_them(tmp_path):
    items = items_of("gedit", gedit(tmp_path))
    assert [item.id for item in items] == ["color_alter/en/0a", "subject-add/en/0b", "subject-add/en/0b"]
    assert items[0].meta == {"key": "0a", "intersection": True} and items[1].meta["intersection"] is False
    (chinese,) = items_of("gedit", tmp_path, "cn")
    assert (chinese.id, chinese.language, chinese.instruction) == ("color_alter/cn/0a", "zh", "把它变红")
    assert chinese.source == picture_file(1)


def test_scenes_are_a_benchmark_with_targets_and_masks(tmp_path, monkeypatch):
    monkeypatch.setattr("varedit.evaluation.benchmarks.scenes.held_out_scenes", lambda *asked: StubScenes())
    run = prepared("scenes", tmp_path, tmp_path / "run", "generalisation", count=3)
    first, _, third = run.items()
    assert (first.id, first.category) == ("generalisation-00000", "object: recolour")
    assert first.target is not None and first.mask is not None and third.mask is not None
    scene = StubScenes().scene(0)
    np.testing.assert_array_equal(np.asarray(Image.open(run.picture(first.source))), scene.source)
    np.testing.assert_array_equal(np.asarray(Image.open(run.picture(first.target))), scene.target)
    np.testing.assert_array_equal(load_mask(run.picture(first.mask), 17, 16) * 255, scene.mask)
    assert load_mask(run.picture(third.mask), 17, 16).min() == 1


@pytest.mark.parametrize("name", WRITERS)
def test_a_run_holds_every_picture_unchanged_and_reads_back(name, tmp_path):
    folder = WRITERS[name](tmp_path / "benchmark")
    run = prepared(name, folder, tmp_path / "run")
    items = {item.id: item for item in items_of(name, folder)}
    stored = run.items()
    assert [item.id for item in stored] == list(items)
    for item in stored:
        given = items[item.id]
        assert (item.instruction, item.category, item.language) == (given.instruction, given.category, given.language)
        assert (item.source_caption, item.target_caption) == (given.source_caption, given.target_caption)
        for kind in ("source", "target", "mask"):
            picture, relative = getattr(given, kind), getattr(item, kind)
            assert (picture is None) == (relative is None)
            if relative is not None:
                data = picture if isinstance(picture, bytes) else picture.read_bytes()
                assert run.picture(relative).read_bytes() == data


def test_items_that_come_twice_count_once_and_a_partial_copy_is_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        run = prepared("gedit", gedit(tmp_path / "gedit"), tmp_path / "run")
    facts = {"name": "gedit", "split": "en", "count": None, "items": 2, "repeated": 1, "published": 606}
    assert run.benchmark() == facts
    assert "has 3 items, 606 are published" in caplog.text


def test_a_prepared_folder_is_taken_as_it_is_but_not_for_another_choice(tmp_path):
    folder = emu_edit(tmp_path / "emu")
    first = prepared("emu-edit", folder, tmp_path / "run", count=1)
    assert [item.id for item in first.items()] == ["7"]
    again = prepared("emu-edit", tmp_path / "gone", tmp_path / "run", count=1)
    assert again.items() == first.items()
    with pytest.raises(UsageError, match="holds a run of emu-edit, split test, 1 items; give -o another folder"):
        prepared("emu-edit", folder, tmp_path / "run")
    with pytest.raises(UsageError, match="holds a run of emu-edit, split test"):
        prepared("gedit", folder, tmp_path / "run")


def test_preparing_goes_on_after_it_was_stopped(tmp_path):
    folder = pie_bench(tmp_path / "pie")
    lost = folder / "annotation_images/9_change_style_80/1_artificial/1_animal/911000000003.jpg"
    data = lost.read_bytes()
    lost.unlink()
    with pytest.raises(InputMissing, match=r"911000000003\.jpg"):
        prepared("pie-bench", folder, tmp_path / "run")
    kept = tmp_path / "run/pictures/0_random_140/000000000000.source.jpg"
    before = kept.stat().st_mtime_ns
    lost.write_bytes(data)
    assert len(prepared("pie-bench", folder, tmp_path / "run").items()) == 2
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("name", "broken", "part"),
    [
        ("emu-edit", {"x.txt": ""}, r"has no \*\.parquet or \*\.arrow file"),
        ("emu-edit", {"a.parquet": "no table"}, "cannot be read as a parquet file"),
        ("gedit", {"a.arrow": "no table"}, "is damaged"),
        ("pie-bench", {}, "has no file mapping_file.json"),
        ("pie-bench", {"mapping_file.json": "{"}, "cannot be read as JSON"),
        (
            "pie-bench",
            {"mapping_file.json": '{"0": {"image_path": "a.jpg"}}'},
            "not hold pie-bench as published: missing",
        ),
        (
            "imgedit",
            {"basic_edit.json": '{"1": {"id": "../x", "prompt": "a", "edit_type": "b"}}'},
            "outside the folder",
        ),
        ("imgedit", {"basic_edit.json": "{}"}, "has no items of the split basic"),
        ("magicbrush", {"a/edit_sessions.json": "{}", "b/edit_sessions.json": "{}"}, "has 2 files edit_sessions.json"),
    ],
)
def test_a_folder_that_is_no_such_benchmark_is_one_sentence(name, broken, part, tmp_path):
    for file, text in broken.items():
        (tmp_path / "in" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / file).write_text(text)
    (tmp_path / "in").mkdir(exist_ok=True)
    with pytest.raises(InputMissing, match=part):
        prepared(name, tmp_path / "in", tmp_path / "run")


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path):
    row = {"id": "a.jpg", "prompt": "a", "edit_type": "b"}
    (tmp_path / "a.jpg").write_bytes(picture_file(1))
    (tmp_path / "basic_edit.json").write_text(json.dumps({"../../x": row}))
    with pytest.raises(InputMissing, match="cannot name a file"):
        prepared("imgedit", tmp_path, tmp_path / "run")


def test_what_is_neither_a_folder_nor_on_the_hub_is_one_sentence(tmp_path):
    with pytest.raises(InputMissing, match="there is no folder"):
        prepared("pie-bench", tmp_path / "nowhere", tmp_path / "run")


def test_a_benchmark_on_the_hub_is_fetched_as_a_data_set(tmp_path, monkeypatch):
    folder = emu_edit(tmp_path / "emu")
    asked = []

    def snapshot(name, **options):
        asked.append((name, options))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    benchmark = BENCHMARKS["emu-edit"]
    run = prepare(Choice(benchmark, "test"), "facebook/emu_edit_test_set", tmp_path / "run")
    assert len(run.items()) == 2
    assert asked == [("facebook/emu_edit_test_set", {"repo_type": "dataset", "allow_patterns": ["*.parquet"]})]


def test_a_split_that_does_not_exist_is_told_with_those_that_do():
    with pytest.raises(UsageError, match="gedit has no split 'de'; it has en, cn"):
        BENCHMARKS["gedit"].split("de")


def test_a_damaged_list_of_items_is_told_with_its_line(tmp_path):
    line = RunItem(id="a", category="b", instruction="c", source="d").to_json()
    (tmp_path / "items.jsonl").write_text(f"{line}\n{line[:20]}\n")
    with pytest.raises(InputMissing, match=r"items\.jsonl, line 2, is no item"):
        RunFolder(tmp_path).items()
    with pytest.raises(InputMissing, match="Make a run's folder with: varedit eval run"):
        RunFolder(tmp_path / "nowhere").items()


def test_a_result_may_be_of_several_kinds(tmp_path):
    item = RunItem(id="a/b.c", category="b", instruction="c", source="d")
    run = RunFolder(tmp_path)
    assert run.result(item) is None
    (tmp_path / "results" / "a").mkdir(parents=True)
    (tmp_path / "results" / "a" / "b.c.webp").write_bytes(b"")
    assert run.result(item) == tmp_path / "results" / "a" / "b.c.webp"

"""`varedit eval table`: the paper's rows as it states them, and runs beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.judged_folders import results_folder
from tests.sentences import assert_one_sentence
from varedit.cli import cli
from varedit.evaluation.benchmarks.pie_bench import TYPES
from varedit.evaluation.published import published_table
from varedit.evaluation.report_numbers import read_runs
from varedit.evaluation.report_table import run_table

EMU_SIZES = {  # items of each category, which the paper's overall rows imply
    "global": 219, "add": 533, "text": 534, "background": 373, "color": 519, "style": 434, "remove": 531, "local": 446,
}  # fmt: skip
PIE_SIZES = dict(zip(TYPES, (140, 80, 80, 80, 40, 40, 40, 40, 80, 80), strict=True))


def varedit(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["eval", *arguments], prog_name="varedit")


def put_run(
    folder: Path, benchmark: dict[str, Any], metrics: dict[str, float], clip: str = "x/clip-vit-base-patch32"
) -> Path:
    """A run whose scores.json has these means."""
    results_folder(folder, ["add"])
    (folder / "benchmark.json").write_text(json.dumps(benchmark))
    means = {
        name: {"mean": mean, "low": mean - 0.01, "high": mean + 0.01, "items": 1, "undefined": 0, "zeros": 0}
        for name, mean in metrics.items()
    }
    report = {
        "networks": {"clip": clip, "dino": None, "structure": None, "lpips": None},
        "date": "2026-01-01", "versions": {}, "items": 1, "scored": 1, "resized": 0, "missing": {},
        "metrics": means, "categories": {"add": means},
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(report))
    return folder


def put_judge(folder: Path, model: str, scheme: str, scores: dict[str, dict[str, float]]) -> None:
    """A judge's report with these means: "overall", and by category."""

    def intervals(means: dict[str, float]) -> dict[str, Any]:
        return {name: {"value": value, "low": None, "high": None, "n": 1} for name, value in means.items()}

    report = {
        "judge": {"model": model, "scheme": scheme}, "date": "2026-01-01", "is_suspicious": False, "items": {},
        "counts": {"edits": 1, "judged": 1, "unanswered": 0}, "overall": intervals(scores["overall"]),
        "categories": {name: intervals(means) for name, means in scores.items() if name != "overall"},
    }  # fmt: skip
    (folder / f"judge-{scheme}-{model}.json").write_text(json.dumps(report))


@pytest.mark.parametrize(("benchmark", "sizes"), [("emu-edit", EMU_SIZES), ("pie-bench", PIE_SIZES)])
@pytest.mark.parametrize("score", ["success", "balance"])
def test_published_means_of_categories_come_to_the_published_means_of_all(benchmark, sizes, score):
    split = {"emu-edit": "test", "pie-bench": "all"}[benchmark]
    by_category, overall = (published_table(benchmark, split, name) for name in (score, "overall"))
    assert by_category is not None and overall is not None
    assert [column.category for column in by_category.columns] == list(sizes)
    place = [column.measure for column in overall.columns].index(score)
    sizes_by_name = {"VAREdit-2B": "VAREdit 512 px, 2.2B", "VAREdit-8B": "VAREdit 512 px, 8.4B"}
    for method, numbers in by_category.rows.items():
        names = [name for name in overall.rows if name == sizes_by_name.get(method) or name.startswith(f"{method},")]
        (row,) = [overall.rows[name] for name in names]
        mean = sum(number * n for number, n in zip(numbers, sizes.values(), strict=True) if number is not None)
        assert mean / sum(sizes.values()) == pytest.approx(row[place], abs=1.1e-3)


def test_every_row_has_a_number_a_column_and_some_numbers_by_hand():
    for benchmark, split in (("emu-edit", "test"), ("pie-bench", "all"), ("imgedit", "basic"), ("gedit", "en")):
        table = published_table(benchmark, split)
        assert table is not None and {len(row) for row in table.rows.values()} == {len(table.columns)}
    emu, gedit = published_table("emu-edit", "test"), published_table("gedit", "en")
    assert emu is not None and gedit is not None
    assert emu.rows["VAREdit 512 px, 8.4B"] == [0.282, 0.125, 8.284, 8.461, 7.892]
    assert emu.rows["VAREdit 256 px, 2.2B, full"] == [None, None, 5.775, 5.892, 4.967]
    assert gedit.rows["VAREdit-2B"] == [5.121, 5.301, 4.460]
    assert published_table("gedit", "cn") is None and published_table("magicbrush", "test") is None


EMU = {"name": "emu-edit", "split": "test", "items": 1, "repeated": 0, "published": 3589}


def test_runs_stand_below_the_published_rows_and_each_says_who_judged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put_run(tmp_path / "ours", EMU, {"clip_text": 0.25, "clip_direction": 0.1})
    for model, balance in (("judge-a", 7.0), ("judge-b", 5.0)):
        scores = {"success": 8.0, "over_editing": 6.0, "balance": balance}
        put_judge(tmp_path / "ours", model, "paper", {"overall": scores, "add": scores})
    put_judge(tmp_path / "ours", "judge-c", "gedit", {"overall": {"overall": 1.0}})  # of another scheme
    put_run(tmp_path / "plain", EMU, {"clip_text": 0.3}, clip="y/clip-vit-large-patch14")
    result = varedit("table", "ours", "plain", "--markdown")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "| method | CLIP-Out | CLIP-Dir | Suc. | Over. | Bal. | judge |"
    assert "| VAREdit 512 px, 8.4B | 0.282 | 0.125 | 8.284 | 8.461 | 7.892 | GPT-4o |" in lines
    assert "| ours | 0.250 | 0.100 | 8.000 | 6.000 | 7.000 | judge-a |" in lines
    assert "| ours | 0.250 | 0.100 | 8.000 | 6.000 | 5.000 | judge-b |" in lines
    assert "| plain | 0.300* | - | - | - | - | - |" in lines
    notes = result.stdout.partition("\n\n")[2]
    assert "Suc., Over., Bal.: judged; by GPT-4o in published rows" in notes
    assert "compare only between rows of one judge" in notes
    assert "* not through openai/clip-vit-base-patch32" in notes
    assert "A row without a judge has none yet" in notes and "ours is of 1 items; 3589 are published." in notes
    shown = varedit("table", "ours")
    assert shown.exit_code == 0 and "VAREdit" in shown.stdout and "judge-a" in shown.stdout
    found = json.loads(varedit("table", "ours", "--table", "balance", "--json").stdout)
    (row,) = [row for row in found["rows"] if row["judge"] == "judge-a"]
    values = [None if number is None else number["value"] for number in row["numbers"]]
    assert values == [7.0 if column["category"] == "add" else None for column in found["columns"]]


def test_imgedit_is_told_by_its_types(tmp_path):
    folder = put_run(tmp_path / "run", {"name": "imgedit", "split": "basic"}, {"l1": 0.1})
    put_judge(folder, "judge", "imgedit", {"overall": {"score": 3.0}, "add": {"score": 4.5}, "action": {"score": 2.0}})
    row = run_table(read_runs([folder])).rows[-1]
    values = [None if number is None else number.value for number in row.numbers]
    assert values == [None, None, None, None, None, None, 4.5, 2.0, None, None]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("magic",), "the paper states no numbers for magicbrush, split test; set runs beside each other with"),
        (("emu", "pie"), "these runs are of different benchmarks"),
        (("gedit", "--table", "success"), "no numbers of success by category for gedit"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, name, split in (
        ("magic", "magicbrush", "test"), ("emu", "emu-edit", "test"),
        ("pie", "pie-bench", "all"), ("gedit", "gedit", "en"),
    ):  # fmt: skip
        put_run(tmp_path / folder, {"name": name, "split": split}, {"l1": 0.1})
    assert_one_sentence(varedit("table", *arguments), 2, part)

"""Reports of runs: from a benchmark's own files to a page, and what the page, the numbers and the table say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from tests.benchmark_folders import WRITERS
from tests.judged_folders import results_folder
from tests.sentences import assert_one_sentence
from tests.test_attention_page import Outline
from varedit.cli import cli
from varedit.evaluation.report_charts import Panel, interval_charts
from varedit.evaluation.report_comparison import compare_runs, most_unlike
from varedit.evaluation.report_numbers import MeasuredRun, read_runs
from varedit.evaluation.report_pictures import best_and_worst
from varedit.evaluation.run_folder import RunFolder
from varedit.evaluation.scorer import Row, scores_report, write_scores
from varedit.evaluation.statistics import Interval, compare

SVG = "{http://www.w3.org/2000/svg}"


def varedit(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["eval", *arguments], prog_name="varedit")


def whole_page(path: Path) -> str:
    """The page's text, once its tags are known to be closed and its addresses to be its own."""
    page = path.read_text(encoding="utf-8")
    outline = Outline(page)
    assert all(address.startswith(("data:image/", "#")) for address in outline.addresses)
    assert all(outline.alternatives) and "<script" not in page
    assert "//" not in re.sub(r'(src|xmlns)="[^"]*"|<dd>.*?</dd>', "", page)
    return page


@pytest.mark.parametrize("name", WRITERS)
def test_from_a_benchmarks_own_files_to_a_page_with_one_command_each(name, tmp_path, monkeypatch, toy):
    monkeypatch.chdir(tmp_path)
    WRITERS[name](tmp_path / "benchmark")
    count = ("--count", "2") if name == "magicbrush" else ()
    edited = varedit("run", name, "benchmark", "-o", "run", "-m", toy, "--greedy", "--device", "cpu", *count)
    assert edited.exit_code == 0, edited.output
    scored = varedit("score", "run", "--device", "cpu")
    assert scored.exit_code == 0, scored.output
    told = varedit("report", "run")
    assert told.exit_code == 0 and told.stdout == "run/report.html\n", told.output
    page, run = whole_page(Path("run/report.html")), RunFolder(Path("run"))
    for item in run.items():
        assert item.instruction in page and item.category in page
        pictures = 2 + (item.target is not None) + (item.mask is not None)
        card = page[page.index(f"{item.instruction}</h4>") :].partition("</article>")[0]
        assert card.count("data:image/jpeg") == pictures
    numbers = json.loads(Path("run/report.json").read_text())
    means = json.loads(Path("run/scores.json").read_text())["metrics"]
    assert numbers["benchmark"]["name"] == name and numbers["editor"]["model"]["name"] == toy
    assert {key: measure["overall"]["value"] for key, measure in numbers["measures"].items()} == {
        key: mean["mean"] for key, mean in means.items() if mean["mean"] is not None
    }
    rows = Path("run/report.md").read_text().splitlines()
    assert rows[0].startswith("| measure | all |") and rows[2].startswith(f"| l1 ↓ | {means['l1']['mean']:.4f}")


def scored_run(folder: Path, l1: Mapping[str, float | None], *, clip: str | None = None, **judged: float) -> Path:
    """A run of four items of the categories add, add, style and style with these values, and perhaps a judge's."""
    results_folder(folder, ["add", "add", "style", "style"])
    rows = [
        Row(str(number), category, {"l1": l1.get(str(number)), "clip_image": 0.5}, origin=f"picture {number}")
        for number, category in enumerate(["add", "add", "style", "style"])
    ]
    rows[3] = Row("3", "style", problem="there is no result 3.png") if "3" not in l1 else rows[3]
    facts: dict[str, Any] = {
        "benchmark": {"benchmark": "toy"},
        "networks": {"clip": clip},
        "date": "2026-01-01",
        "versions": {},
    }
    write_scores(RunFolder(folder), rows, scores_report(rows, facts))
    if judged:
        put_judge(folder, "toy/judge", judged)
    return folder


def put_judge(folder: Path, model: str, balance: dict[str, float]) -> None:
    interval = {"value": 5.0, "low": 4.0, "high": 6.0, "n": len(balance)}
    items = {
        str(number): {
            "category": "add",
            "state": "judged",
            "reason": None if f"i{number}" in balance else "the judge refused",
            "source": f"s{number}",
            "scores": {"balance": balance[f"i{number}"]} if f"i{number}" in balance else None,
            "answers": {"edit": {"numbers": {}, "reasoning": f"I see <{number}>"}} if f"i{number}" in balance else {},
        }
        for number in range(4)
    }
    report = {
        "judge": {"scheme": "paper", "model": model},
        "date": "2026-01-02",
        "counts": {"edits": 4, "judged": len(balance), "unanswered": 4 - len(balance)},
        "is_suspicious": len(balance) < 4,
        "overall": {"balance": interval},
        "categories": {"add": {"balance": interval}},
        "items": items,
    }
    (folder / f"judge-paper-{model.replace('/', '-')}.json").write_text(json.dumps(report))


L1 = {"0": 0.3, "1": 0.1, "2": 0.25, "3": 0.2}


def test_judges_scores_and_what_is_missing_stand_in_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scored_run(tmp_path / "run", {name: L1[name] for name in "012"}, i0=2.0, i1=8.0, i2=5.0)
    assert varedit("report", "run").exit_code == 0
    page = whole_page(Path("run/report.html"))
    assert "balance (toy/judge) ↑" in page and "5.00 [4.00, 6.00]" in page and "l1 ↓" in page
    assert "I see &lt;1&gt;" in page and "<1>" not in page
    assert "gave no usable answer to 1 of 4 edits" in page
    assert "there is no result 3.png" in page
    shown = json.loads(Path("run/report.json").read_text())["shown"]
    assert shown["by"] == "balance (toy/judge)"
    assert shown["categories"]["add"] == {"best": ["1"], "worst": ["0"]}
    assert shown["categories"]["style"] == {"best": ["2"], "worst": []}  # the other one has no number


def test_pictures_go_from_the_best_to_the_worst_whatever_way_is_better(tmp_path):
    run = MeasuredRun.read(scored_run(tmp_path / "run", L1, i0=1.0, i1=9.0, i2=7.0, i3=3.0))
    best, worst = best_and_worst(run.measure("l1"), run.items, 3)
    assert ([item.id for item in best], [item.id for item in worst]) == (["1", "3"], ["0"])
    best, worst = best_and_worst(run.measure(None), run.items, 4)
    assert ([item.id for item in best], [item.id for item in worst]) == (["1", "2"], ["0", "3"])
    best, worst = best_and_worst(run.measure("l1"), run.items, 9)
    assert sorted(item.id for item in [*best, *worst]) == ["0", "1", "2", "3"]


def test_two_runs_are_compared_item_by_item_and_the_better_one_is_named(tmp_path):
    first = scored_run(tmp_path / "ours", {"0": 0.1, "1": 0.06, "2": 0.2, "3": 0.02})
    second = scored_run(tmp_path / "theirs", L1 | {"3": None})
    found = compare_runs(read_runs([first, second]))
    assert found.keys == ["l1", "clip_image"]
    told = found.differences[0]
    assert (told.measure.key, told.other, told.words) == ("l1", "theirs", "ours is better")
    expected = compare({"0": 0.1, "1": 0.06, "2": 0.2}, {"0": 0.3, "1": 0.1, "2": 0.25})
    assert told.comparison == expected and told.comparison.difference.value == pytest.approx(-0.29 / 3)
    assert told.cells[4] == "3/0/0"  # of items on which ours is better, though its numbers are lower
    assert told.adjusted_p == min(1.0, 2 * told.comparison.p_value)
    assert found.differences[1].words == "no difference shown"
    unlike = most_unlike(found.runs, "l1", found.runs[0].items, 2)
    assert {item.id: lead for item, lead in unlike} == pytest.approx({"0": 0.2, "1": 0.04})
    assert [item.id for item, _ in unlike] == ["0", "1"]


def test_what_was_measured_in_unlike_ways_is_left_out(tmp_path):
    first = scored_run(tmp_path / "a", L1, clip="vit-b", i0=1.0, i1=2.0, i2=3.0, i3=4.0)
    second = scored_run(tmp_path / "b", L1, clip="vit-l")
    put_judge(second, "other/judge", {"i0": 9.0})
    found = compare_runs(read_runs([first, second]))
    assert found.keys == ["l1"]
    assert set(found.left_out) == {"clip_image", "balance (toy/judge)", "balance (other/judge)"}


def test_the_comparison_shows_the_same_items_of_all_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, shift in {"ours": 0.0, "theirs": 0.1, "third": -0.05}.items():
        scored_run(tmp_path / name, {item: value + shift for item, value in L1.items()})
    result = varedit("report", "ours", "theirs", "third", "--pictures", "1")
    assert result.exit_code == 0 and result.stdout == "comparison/report.html\n", result.output
    page = whole_page(Path("comparison/report.html"))
    assert page.count("<article") == 2 and page.count("data:image/") == 2 * 4  # a source and three results
    assert "ours is better" in page and "third is better" in page
    numbers = json.loads(Path("comparison/report.json").read_text())
    assert [row["words"] for row in numbers["differences"][:2]] == ["ours is better", "third is better"]
    assert numbers["measures"]["l1"]["theirs"]["overall"]["value"] == pytest.approx(0.3125)
    assert "| l1 ↓ | theirs | 4 | -0.1000" in Path("comparison/report.md").read_text()


def test_bars_lie_where_the_numbers_are():
    rows: dict[str, list[Interval | None]] = {
        "add": [Interval(2.0, 1.0, 4.0, 9)],
        "style": [Interval(6.0, 5.0, 9.0, 9)],
        "none": [None],
    }
    drawn = ElementTree.fromstring(interval_charts([Panel("l1", rows, 2)], ["run"]))  # noqa: S314  # our own
    bars = [(float(bar.get("x", 0)), float(bar.get("width", 0))) for bar in drawn.iter(f"{SVG}rect")]
    unit = (350 - 24 - 130) / (9 - 1)  # pixels, as the axis goes from 1 to 9
    assert [x for x, _ in bars] == pytest.approx([130, 130 + 4 * unit])
    assert [width for _, width in bars] == pytest.approx([3 * unit, 4 * unit])


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("report", "nowhere"), 66, "nowhere/items.jsonl cannot be read"),
        (("report", "bare"), 66, "bare has no scores. Make them with: varedit eval score bare"),
        (("report", "ours", "--by", "beauty"), 2, "ours has no measure 'beauty'; it has l1, clip_image"),
        (("report", "ours", "ours"), 2, "a run is named twice"),
        (("report", "ours", "other"), 2, "ours and other are of different benchmarks"),
        (("report", "old"), 66, "damaged or of an older version"),
        (("report", "ours", "-o", "ours/items.jsonl"), 73, "cannot be written to"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments, code, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results_folder(tmp_path / "bare", ["add"])
    for name in ("ours", "other", "old"):
        scored_run(tmp_path / name, L1)
    Path("other/benchmark.json").write_text('{"name": "another"}')
    report = json.loads(Path("old/scores.json").read_text())
    del report["metrics"]["l1"]["low"]
    Path("old/scores.json").write_text(json.dumps(report))
    assert_one_sentence(varedit(*arguments), code, part)

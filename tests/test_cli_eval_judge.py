"""`varedit eval judge`, `agreement` and `compare` as a person or a script meets them; the judge is a fake endpoint."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.fake_judge import FakeJudge, Says, Status, running_judge
from tests.judged_folders import results_folder
from tests.sentences import assert_one_sentence
from varedit.cli import cli

GOOD = '{"reasoning": "fine", "success": 8, "over_editing": 7}'


@pytest.fixture
def fake() -> Iterator[FakeJudge]:
    with running_judge() as judge:
        yield judge


def varedit(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["eval", *arguments], prog_name="varedit")


def judge(fake: FakeJudge, folder: Path, *options: str) -> Result:
    return varedit("judge", str(folder), "--endpoint", fake.url, "--model", "toy/judge 1", *options)


def test_it_prints_a_table_writes_the_numbers_and_names_what_is_missing(fake, tmp_path):
    fake.answer = lambda asked: Says("hm" if "do 2" in asked.words else GOOD)
    folder = results_folder(tmp_path / "run", ["add", "add", "style"])
    result = judge(fake, folder, "--price", "1", "10")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["category", "n", "success", "over_editing", "balance"]
    assert rows[1][:5] == ["all", "2", "8.00", "[8.00,", "8.00]"] and rows[2][:2] == ["add", "2"] and len(rows) == 3
    assert "2 edits judged, 1 unanswered" in result.stderr
    assert "2: the answer is malformed" in result.stderr and "more than 1 %" in result.stderr
    assert "5 replies paid, 500 tokens read, 50 written, cost 0.001" in result.stderr
    report = json.loads((folder / "judge-paper-toy-judge-1.json").read_text())
    assert report["counts"] == {"edits": 3, "judged": 2, "unanswered": 1, "no picture": 0, "open": 0}
    assert report["items"]["2"]["scores"] is None and "malformed" in report["items"]["2"]["reason"]
    assert report["items"]["0"]["answers"]["edit"] == {
        "numbers": {"success": 8, "over_editing": 7},
        "reasoning": "fine",
    }
    assert report["judge"]["model"] == "toy/judge 1" and report["usage"]["cost_of_all"] == pytest.approx(0.001)


def test_the_same_command_again_asks_nothing_and_says_the_same(fake, tmp_path):
    folder = results_folder(tmp_path / "run", ["add"] * 2)
    first, second = (json.loads(judge(fake, folder, "--json", "--quiet").stdout) for _ in range(2))
    assert len(fake.asked) == 2
    assert first["items"] == second["items"] and first["overall"] == second["overall"]
    assert second["usage"]["this_run"]["replies"] == 0 and second["usage"]["from_store"]["replies"] == 2


def test_a_dry_run_asks_nothing_writes_nothing_and_shows_what_it_would_send(fake, tmp_path):
    folder = results_folder(tmp_path / "run", ["add"] * 3)
    (folder / "results" / "2.png").unlink()
    before = sorted(folder.rglob("*"))
    result = judge(fake, folder, "--dry-run", "--price", "1", "10")
    assert result.exit_code == 0, result.output
    assert fake.asked == [] and sorted(folder.rglob("*")) == before
    assert "calls to make: 2 (0 more are answered already)" in result.stdout
    assert "without a readable picture: 1" in result.stdout and "at most 800 to write" in result.stdout
    assert '"<PNG of 8x6 pixels>"' in result.stdout and "do 0" in result.stdout and "base64" not in result.stdout


def test_a_dry_run_knows_what_is_answered(fake, tmp_path):
    folder = results_folder(tmp_path / "run", ["add"] * 3)
    fake.answer = lambda asked: Status(400) if "do 1" in asked.words else Says(GOOD)
    assert judge(fake, folder).exit_code == 0
    plan = json.loads(judge(fake, folder, "--dry-run", "--json", "--price", "0", "2.5").stdout)
    assert (plan["calls"], plan["kept"], plan["completion_tokens"]) == (1, 2, 400)
    assert plan["cost_at_most"] == pytest.approx(0.001)
    assert "do 1" in json.dumps(plan["example"])


def test_a_budget_that_ends_is_told_and_what_is_open_too(fake, tmp_path):
    folder = results_folder(tmp_path / "run", ["add"] * 2)
    result = judge(fake, folder, "--price", "1000", "1000", "--budget", "0.001")
    assert result.exit_code == 0 and fake.asked == []
    assert "0 edits judged, 2 open" in result.stderr and "the budget is spent" in result.stderr


def test_the_key_comes_from_the_environment_and_is_written_nowhere(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("VAREDIT_JUDGE_KEY", "sk-secret")
    folder = results_folder(tmp_path / "run", ["add"])
    result = judge(fake, folder, "-v")
    assert fake.asked[0].key == "Bearer sk-secret"
    assert "sk-secret" not in result.output
    assert not any(b"sk-secret" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_the_answers_may_be_kept_elsewhere(fake, tmp_path):
    folder = results_folder(tmp_path / "run", ["add"])
    assert judge(fake, folder, "--answers", str(tmp_path / "all.sqlite")).exit_code == 0
    rows = sqlite3.connect(tmp_path / "all.sqlite").execute("SELECT attempt, reply FROM replies").fetchall()
    assert len(rows) == 1 and json.loads(rows[0][1])["usage"]["prompt_tokens"] == 100
    assert not (folder / "judge-answers.sqlite").exists()


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        (("nowhere", "--endpoint", "http://h/v1", "--model", "m"), 66, "items.jsonl cannot be read"),
        (("run", "--model", "m"), 2, "--endpoint"),
        (("run", "--endpoint", "h", "--model", "m"), 2, "'h' is no address"),
        (("run", "--endpoint", "http://h/v1", "--model", "m", "--scheme", "best"), 2, "'best' is not one of"),
        (("run", "--endpoint", "http://h/v1", "--model", "m", "--budget", "1"), 2, "give --price too"),
        (("run", "--endpoint", "http://h/v1", "--model", "m", "--scheme", "imgedit"), 2, "category 'turn 1'"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, monkeypatch, options, code, part):
    results_folder(tmp_path / "run", ["turn 1"])
    monkeypatch.chdir(tmp_path)
    assert_one_sentence(varedit("judge", *options), code, part)


def test_a_wrong_key_is_one_sentence(fake, tmp_path):
    fake.answer = lambda asked: Status(401, "invalid key")
    result = judge(fake, results_folder(tmp_path / "run", ["add"]))
    assert_one_sentence(result, 69, "HTTP 401, invalid key", "VAREDIT_JUDGE_KEY")


def scores_file(path: Path, scores: Mapping[str, float | None], judge: Any = None, **more: Any) -> str:
    items = {item: {"scores": None if score is None else {"success": score}, **more} for item, score in scores.items()}
    path.write_text(json.dumps({"judge": judge, "items": items}))
    return str(path)


def test_agreement_takes_items_that_both_scored(tmp_path):
    first = scores_file(tmp_path / "qwen.json", {"a": 1, "b": 2, "c": 3, "d": 4, "e": None, "only": 9})
    second = scores_file(tmp_path / "people.json", {"d": 3, "c": 3, "b": 2, "a": 1, "e": 7})
    result = varedit("agreement", first, second, "--json")
    assert result.exit_code == 0, result.output
    (pair,) = json.loads(result.stdout)["pairs"]
    assert (pair["first"], pair["second"], pair["n"]) == (0, 1, 4)
    assert (pair["equal"], pair["near"], pair["difference"]) == (0.75, 1.0, 0.25)
    assert pair["kappa"] == pytest.approx(0.875)
    # Krippendorff by hand: observed (1 + 1) / 8; expected over the 56 ordered pairs of 1 1 2 2 3 3 3 4: 112 / 56.
    alpha = json.loads(result.stdout)["alphas"]["success"]
    assert alpha["n"] == 4 and alpha["value"] == pytest.approx(1 - (2 / 8) / (sum_of_squares() / 56))
    table = varedit("agreement", first, second)
    rows = [line.split() for line in table.stdout.splitlines()]
    assert rows[1] == ["success", "1,", "2", "4", "0.75", "1.00", "0.25", "0.95", "0.91", "0.88"]
    assert rows[3][:3] == ["success", "4", "0.89"]


def sum_of_squares() -> float:
    values = [1, 1, 2, 2, 3, 3, 3, 4]
    return float(sum((a - b) ** 2 for a in values for b in values))


def test_editors_are_compared_within_one_judge(tmp_path):
    rules = {"scheme": "paper", "model": "qwen"}
    files = [
        scores_file(tmp_path / f"{name}.json", scores, rules)
        for name, scores in {
            "ours": {str(index): 7 + index % 2 for index in range(20)},
            "worse": {str(index): 5 + index % 3 for index in range(20)},
            "same": {str(index): 7 + (index + 1) % 2 for index in range(20)},
        }.items()
    ]
    result = varedit("compare", *files, "--json")
    assert result.exit_code == 0, result.output
    worse, same = json.loads(result.stdout)
    assert (worse["second"], worse["words"], same["words"]) == (1, "first is better", "no difference shown")
    assert worse["comparison"]["difference"]["value"] == pytest.approx(7.5 - 5.95)
    assert worse["adjusted_p"] == pytest.approx(2 * worse["comparison"]["p_value"])
    assert same["comparison"]["wins"] == same["comparison"]["losses"] == 10
    rows = varedit("compare", *files).stdout.splitlines()
    assert rows[1].split()[:3] == ["success", "2", "20"] and rows[1].endswith("first is better ")
    assert rows[2].endswith("no difference shown ") and "10/0/10" in rows[2]


@pytest.mark.parametrize(
    ("names", "code", "part"),
    [
        (("a.json",), 2, "at least two files"),
        (("a.json", "missing.json"), 66, "missing.json cannot be read"),
        (("a.json", "text.json"), 66, "text.json holds no scores"),
        (("a.json", "words.json"), 66, "words.json holds no scores"),
        (("a.json", "others.json"), 2, "in common|same item"),
    ],
)
@pytest.mark.parametrize("command", ["agreement", "compare"])
def test_files_that_do_not_fit_are_one_sentence(tmp_path, monkeypatch, command, names, code, part):
    monkeypatch.chdir(tmp_path)
    scores_file(tmp_path / "a.json", {"x": 1.0})
    scores_file(tmp_path / "others.json", {"y": 1.0})
    (tmp_path / "text.json").write_text("text")
    (tmp_path / "words.json").write_text('{"items": {"x": {"scores": {"success": "8"}}}}')
    result = varedit(command, *names)
    assert_one_sentence(result, code)
    assert any(words in result.stderr for words in part.split("|"))


def test_different_judges_are_not_compared(tmp_path):
    files = [scores_file(tmp_path / f"{model}.json", {"x": 1.0}, {"scheme": "paper", "model": model}) for model in "ab"]
    assert_one_sentence(varedit("compare", *files), 2, "a and b are of different judges")

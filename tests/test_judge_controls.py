"""Controls: edits whose right scores are known, and what a judge's answers on them say of the judge."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.fake_judge import Asked, FakeJudge, Says, running_judge
from tests.judged_folders import coloured
from tests.sentences import assert_one_sentence
from tests.test_table import EMU, put_judge, put_run
from varedit.cli import cli
from varedit.evaluation.judges.controls import DAMAGED, NOTHING, OTHER, TARGET, WRONG, Trial, write_controls
from varedit.evaluation.run_folder import RunFolder, RunItem
from varedit.images import read_image


def varedit(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["eval", *arguments], prog_name="varedit")


def put_items(folder: Path, count: int, *, with_targets: bool = True) -> RunFolder:
    """Sources of red, and targets that have green in their upper left corner."""
    (folder / "pictures").mkdir(parents=True)
    lines = []
    for number in range(count):
        source = coloured((50 + number, 0, 0), (40, 20))
        target = source.copy()
        target[:8, :10] = (0, 200, number)
        paths = (f"pictures/{number}.png", f"pictures/{number}.target.png")
        for path, picture in zip(paths, (source, target), strict=True):
            Image.fromarray(picture).save(folder / path)
        item = RunItem(
            id=str(number), category="add", instruction=f"do {number}", source=paths[0],
            target=paths[1] if with_targets else None,
        )  # fmt: skip
        lines.append(item.to_json())
    (folder / "items.jsonl").write_text("\n".join(lines))
    (folder / "benchmark.json").write_text('{"name": "toy"}')
    return RunFolder(folder)


def test_controls_are_what_they_are_called(tmp_path):
    run = put_items(tmp_path / "run", 5)
    controls = write_controls(run, tmp_path / "controls", count=3)
    items = controls.items()
    assert len({item.id for item in items}) == len(items) == 3 * 5
    own = {item.id: item for item in run.items()}
    for item in items:
        of = own[item.meta["item"]]
        source, target = (read_image(run.picture(str(path))).rgb for path in (of.source, of.target))
        path = controls.result(item)
        assert path is not None
        result = read_image(path).rgb
        assert np.array_equal(read_image(controls.picture(item.source)).rgb, source)
        assert (item.instruction == of.instruction) == (item.category != WRONG)
        if item.category == NOTHING:
            assert np.array_equal(result, source)
        elif item.category == OTHER:
            assert not np.array_equal(result, source)
        elif item.category in (TARGET, WRONG):
            assert np.array_equal(result, target)
        else:
            assert item.category == DAMAGED
            changed = (result != target).any(-1)
            assert 0.08 <= changed.mean() <= 0.12 and not changed[:8, :10].any()


def test_without_true_results_there_are_two_kinds(tmp_path):
    items = write_controls(put_items(tmp_path / "run", 4, with_targets=False), tmp_path / "controls").items()
    assert sorted(item.category for item in items) == sorted([NOTHING, OTHER] * 4)


def test_the_area_is_how_often_good_ones_have_more():
    scores = {
        TARGET: [(9, 9), (5, 9)],
        NOTHING: [(1, 10), (5, 10)],
        WRONG: [(6, 3)],
        DAMAGED: [(9, 9)],
        OTHER: [(0, 0)],
    }
    items = {
        f"{kind}{number}": {"category": kind, "scores": {"success": success, "over_editing": over, "balance": 0}}
        for kind, rows in scores.items()
        for number, (success, over) in enumerate(rows)
    }
    items["gone"] = {"category": NOTHING, "scores": None}  # type: ignore[dict-item]  # one that was not answered
    trial = Trial.of({"judge": {"scheme": "paper", "model": "m"}, "items": items})
    # Success: 9 is above 1, 5, 6 and 0; 5 above 1 and 0, as much as 5. Kept: all are above 0, two above 9, two at 9.
    assert trial.areas == {"success": pytest.approx(6.5 / 8), "over_editing": pytest.approx(7 / 8)}
    assert trial.means[NOTHING] == {"success": 3.0, "over_editing": 10.0}
    assert trial.failure is not None and "a success of 3.00 of 10" in trial.failure


def answer(judge: FakeJudge, success_of_nothing: int) -> None:
    def answered(asked: Asked) -> Says:
        source, result = asked.pictures
        success = success_of_nothing if np.array_equal(source, result) else 8
        return Says(json.dumps({"reasoning": "x", "success": success, "over_editing": 9}))

    judge.answer = answered


@pytest.mark.parametrize(("success", "is_sound"), [(1, True), (4, False)])
def test_a_judge_that_sees_edits_where_there_are_none_ranks_nobody(success, is_sound, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put_items(tmp_path / "run", 3)
    assert varedit("controls", "run", "-o", "controls").stdout == "controls\n"
    with running_judge() as judge:
        answer(judge, success)
        told = varedit("judge", "controls", "--endpoint", judge.url, "--model", "m")
    assert told.exit_code == 0, told.output
    put_judge(put_run(tmp_path / "ours", EMU, {"clip_text": 0.2}), "m", "paper", {"overall": {"success": 8.0}})
    shown = varedit("table", "ours", "--controls", "controls/judge-paper-m.json", "--markdown")
    if is_sound:
        assert "success 0.667, over_editing 0.500" in told.stderr  # only those that do nothing are told apart
        assert shown.exit_code == 0 and "m, good controls told from bad ones" in shown.stdout
    else:
        assert "where at most 2 is sound: its scores rank nobody" in told.stderr
        assert_one_sentence(shown, 2, "m gives edits that change nothing a success of 4.00 of 10")
    assert "Not tried on controls here (--controls): m." in varedit("table", "ours", "--markdown").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("controls", "run", "-o", "run"), 2, "run holds a run already"),
        (("controls", "one", "-o", "new"), 2, "only one source picture"),
        (("table", "run", "--controls", "nothing.json"), 66, "nothing.json is no report of varedit eval judge"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments, code, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put_run(tmp_path / "run", EMU, {"l1": 0.1})
    put_items(tmp_path / "one", 1)
    assert_one_sentence(varedit(*arguments), code, part)

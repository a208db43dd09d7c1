"""A study's plan, its store, and what is made of its answers."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.judged_folders import coloured
from tests.studies import EDITORS, study_folders
from varedit.cli import cli
from varedit.errors import InputMissing, OutputError, UsageError
from varedit.evaluation.study.contents import ruined
from varedit.evaluation.study.database import Database
from varedit.evaluation.study.judged import judge_agreement
from varedit.evaluation.study.plan import QUESTIONS, RUINED, SOURCE, StudyPlan, Trial
from varedit.evaluation.study.results import rater_reports, study_results
from varedit.evaluation.study.store import Answer, StudyStore
from varedit.evaluation.study.study import Study, StudyChoice

ITEMS = tuple(f"item {number}" for number in range(20))


def plan_of(editors=("a", "b", "c", "d"), items=ITEMS, pairs=30, seed=0):
    return StudyPlan(editors=editors, items=items, pairs=pairs, seed=seed)


def answer(code, number, choice, trial, *, question="overall", seconds=9.0):
    return Answer(code=code, number=number, question=question, choice=choice, seconds=seconds, trial=trial)


def answers_to(trial, number, choice, *, code="r", seconds=9.0):
    return [answer(code, number, choice, trial, question=question, seconds=seconds) for question in QUESTIONS]


# The plan


def test_comparisons_pairs_and_sides_are_balanced_over_raters():
    plan = plan_of()  # 20 items x 6 pairs: every four raters see all of it once
    seen = [trial for rater in range(8) for trial in plan.trials(rater) if trial.kind == "pair"]
    comparisons = Counter((trial.item, *sorted((trial.left, trial.right))) for trial in seen)
    assert len(comparisons) == 120 and set(comparisons.values()) == {2}
    assert set(Counter((trial.item, trial.left, trial.right) for trial in seen).values()) == {1}  # once on each side


def test_each_rater_sees_every_editor_as_often_and_as_often_on_either_side():
    plan = plan_of()
    for rater in range(12):
        pairs = [trial for trial in plan.trials(rater) if trial.kind == "pair"]
        matches = Counter(frozenset((trial.left, trial.right)) for trial in pairs)
        assert len(matches) == 6 and set(matches.values()) <= {4, 5, 6}
        lefts = Counter(trial.left for trial in pairs)
        rights = Counter(trial.right for trial in pairs)
        assert all(abs(lefts[editor] - rights[editor]) <= 2 for editor in plan.editors), (lefts, rights)


def test_order_is_the_raters_own_and_the_same_again():
    plan = plan_of()
    assert plan.trials(3) == plan_of().trials(3)
    assert plan.trials(3) != plan_of(seed=1).trials(3)
    first, later = ([trial.item for trial in plan.trials(rater) if trial.kind == "pair"] for rater in (0, 4))
    assert sorted(first) == sorted(later) and first != later  # the same stretch, in another order


def test_a_repeat_is_an_earlier_pair_with_sides_exchanged_and_a_check_has_a_source_and_a_ruined_one():
    for rater in range(20):
        trials = plan_of().trials(rater)
        assert Counter(trial.kind for trial in trials) == {"pair": 30, "check": 3, "repeat": 4}
        for place, trial in enumerate(trials):
            if trial.kind == "repeat":
                assert Trial("pair", trial.item, trial.right, trial.left) in trials[:place]
            if trial.kind == "check":
                assert {trial.left, trial.right} == {SOURCE, RUINED}


def test_a_small_study_asks_no_rater_twice():
    trials = plan_of(editors=("a", "b"), items=("x", "y", "z"), pairs=60).trials(1)
    pairs = [trial.item for trial in trials if trial.kind == "pair"]
    assert sorted(pairs) == ["x", "y", "z"]


# The store


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """The address of a PostgreSQL server of our own."""
    pg_ctl = shutil.which("pg_ctl") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), None)
    if pg_ctl is None:
        pytest.skip("there is no PostgreSQL server on this machine; Debian's package postgresql has one")
    bin_folder = Path(pg_ctl).resolve().parent
    folder = tmp_path_factory.mktemp("postgres")
    user = None
    if os.geteuid() == 0:  # the server refuses to run as root
        user = "nobody"
        shutil.chown(folder, user)
        for parent in [folder, *folder.parents]:
            if parent == Path(tempfile.gettempdir()):
                break
            parent.chmod(parent.stat().st_mode | 0o011)

    def run(name, *options):
        command = [bin_folder / name, *options]
        subprocess.run(command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL, env={"LC_ALL": "C"})

    data = folder / "data"
    run("initdb", "-D", data, "-U", "tester", "--auth=trust", "--no-sync", "--encoding=UTF8")
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    run("pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
    yield f"postgresql://tester@/postgres?host={folder}"
    run("pg_ctl", "-D", data, "-m", "immediate", "stop")


@pytest.fixture(params=["sqlite", "postgres"])
def address(request, tmp_path):
    if request.param == "sqlite":
        return str(tmp_path / "study.sqlite")
    address = request.getfixturevalue("postgres")
    database = Database(address)
    for table in ("study_answers", "study_raters", "study_facts"):
        database.execute(f"DROP TABLE IF EXISTS {table}")
    database.close()
    return address


def test_answers_come_back_as_they_were_given_and_count_once(address):
    trial, other = Trial("pair", "café?", "a", "b"), Trial("check", "%s", SOURCE, RUINED)
    with StudyStore(Database(address)) as store:
        assert [store.joined(code) for code in ("anna", "ben", "anna")] == [0, 1, 0]
        given = [answer("anna", 4, "both good", trial, seconds=2.25), answer("ben", 0, "left", other)]
        for each in (*given, given[0]):
            store.keep(each)
        assert store.answers() == given
    with StudyStore(Database(address, must_exist=True)) as store:
        changed = answer("anna", 4, "right", trial, seconds=7.0)
        store.keep(changed)
        assert store.answers() == [changed, given[1]]
        assert store.answers("ben") == [given[1]]
        assert store.number("carl") is None


def test_raters_who_come_at_once_get_numbers_of_their_own(address):
    codes = [f"rater{number}" for number in range(24)]
    stores = [StudyStore(Database(address)) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda code: stores[int(code[5:]) % 4].joined(code), codes))
    for store in stores:
        store._database.close()
    assert sorted(numbers) == list(range(24))


def test_the_key_and_the_first_plan_stay(address):
    with StudyStore(Database(address)) as store, StudyStore(Database(address)) as beside:
        assert store.key == beside.key and len(store.key) == 64
        assert store.plan() is None
        assert store.begin(plan_of(), {"seed": 0}) == plan_of()
        assert beside.begin(plan_of(seed=7), {"seed": 7}) == plan_of()
        assert beside.plan() == plan_of() and beside.facts() == {"seed": 0}


def test_a_lost_postgres_connection_is_told_and_made_anew(postgres):
    database = Database(postgres)
    (process,) = database.execute("SELECT pg_backend_pid()")[0]
    other = Database(postgres)
    other.execute("SELECT pg_terminate_backend(?)", [process])
    other.close()
    with pytest.raises(OutputError, match="cannot be kept in postgresql:///postgres"):
        database.execute("SELECT 1")
    assert database.execute("SELECT 1") == [(1,)]
    database.close()


def test_no_password_is_told():
    with pytest.raises(OutputError) as told:
        Database("postgresql://me:secret@127.0.0.1:1/answers")
    assert "postgresql://127.0.0.1/answers" in str(told.value) and "secret" not in str(told.value)


def test_what_is_no_store_is_told(tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough to be looked at as one")
    with pytest.raises(OutputError, match="not a database"):
        StudyStore(Database(str(tmp_path / "text")))
    with pytest.raises(InputMissing, match="there is no study in"):
        Database(str(tmp_path / "none.sqlite"), must_exist=True)
    assert not (tmp_path / "none.sqlite").exists()


# What is made of the answers


def simulated(store, plan, strengths, raters, seed):
    """Votes by known strengths, given by raters who pass every check, through the store."""
    draws = random.Random(seed)
    for rater in range(raters):
        code = f"rater{rater}"
        for number, trial in enumerate(plan.trials(store.joined(code))):
            if trial.kind == "check":
                for each in answers_to(trial, number, "left" if trial.left == SOURCE else "right", code=code):
                    store.keep(each)
            else:
                chance = 1 / (1 + math.exp(strengths[trial.right] - strengths[trial.left]))
                store.keep(answer(code, number, "left" if draws.random() < chance else "right", trial))


def test_known_strengths_are_recovered_within_their_intervals_through_the_store(tmp_path):
    truth = {"a": 0.9, "b": 0.3, "c": -0.2, "d": -1.0}
    with StudyStore(Database(str(tmp_path / "study.sqlite"))) as store:
        simulated(store, plan_of(), truth, raters=16, seed=5)
        found = study_results(store.answers())
    assert set(found.questions) == {"overall"}
    ranking = found.questions["overall"].ranking
    assert list(ranking.strengths) == ["a", "b", "c", "d"]
    for editor, strength in truth.items():
        each = ranking.strengths[editor]
        assert each.low is not None and each.high is not None
        assert each.low < strength < each.high and each.high - each.low < 1
        assert each.n == 16 * 30 // 2  # of 6 matches each editor is in 3; checks and repeats are no votes
    assert all(not rater.reasons and rater.passed == rater.checks == 3 for rater in found.raters)


def test_raters_who_fail_checks_or_hurry_are_left_out_and_named():
    pair, check = Trial("pair", "x", "a", "b"), Trial("check", "x", SOURCE, RUINED)
    good = [*answers_to(pair, 0, "left", code="good"), *answers_to(check, 1, "left", code="good")]
    blind = [*answers_to(pair, 0, "right", code="blind"), *answers_to(check, 1, "both good", code="blind")]
    hasty = answers_to(pair, 0, "right", code="hasty", seconds=1.5)
    found = study_results([*good, *blind, *hasty])
    assert [rater.reasons for rater in found.raters] == [(), ("passed 0 of 1 checks",), ("took 1.5 s a trial",)]
    assert found.questions["overall"].ranking.wins == {("a", "b"): 1, ("b", "a"): 0}
    everybody = study_results([*good, *blind, *hasty], keep_all=True)
    assert everybody.questions["overall"].ranking.wins == {("b", "a"): 2, ("a", "b"): 1}
    with pytest.raises(UsageError, match="1 raters so far, all left out by the rule"):
        study_results(hasty)
    with pytest.raises(UsageError, match="no rater has come yet"):
        study_results([])


def test_a_check_is_passed_whatever_was_said_about_the_instruction_and_half_a_trial_is_none():
    check = Trial("check", "x", RUINED, SOURCE)
    choices = dict.fromkeys(QUESTIONS, "right") | {"instruction": "both bad"}
    whole = [answer("r", 0, choice, check, question=question) for question, choice in choices.items()]
    (report,) = rater_reports([*whole, answer("r", 1, "left", Trial("pair", "x", "a", "b"))])
    assert (report.trials, report.checks, report.passed, report.consistency) == (1, 1, 1, None)


def test_consistency_is_the_same_editor_again_not_the_same_side():
    pair, repeat = Trial("pair", "x", "a", "b"), Trial("repeat", "x", "b", "a")
    other, again = Trial("pair", "y", "b", "a"), Trial("repeat", "y", "a", "b")
    answers = [
        *answers_to(pair, 0, "left"), *answers_to(repeat, 1, "right"),
        *answers_to(other, 2, "left"), *answers_to(again, 3, "left"),
    ]  # fmt: skip
    (report,) = rater_reports(answers)
    assert report.consistency == 0.5


def test_agreement_between_raters_does_not_depend_on_sides():
    answers = []
    for number, choice in enumerate(["left", "right", "both bad", "left"]):
        other = {"left": "right", "right": "left"}.get(choice, choice)
        answers += answers_to(Trial("pair", f"item {number}", "a", "b"), number, choice, code="r1")
        answers += answers_to(Trial("pair", f"item {number}", "b", "a"), number, other, code="r2")
    alpha = study_results(answers).questions["overall"].alpha
    assert alpha is not None and alpha.value == 1 and alpha.n == 4


def test_a_judge_is_held_against_people(tmp_path):
    """Five comparisons of a and b. People: a, a, b, b, tie. Judge: a, b, b, tie, a."""
    scores: dict[str, list[float]] = {"a": [9, 3, 4, 5, 9], "b": [2, 8, 6, 5.5, 1]}
    folders = {}
    for editor, values in scores.items():
        folders[editor] = tmp_path / editor
        folders[editor].mkdir()
        items = {str(item): {"scores": {"balance": value}} for item, value in enumerate(values)}
        (folders[editor] / "judge.json").write_text(json.dumps({"items": items}))
    answers = [
        answer("r", number, choice, Trial("pair", str(number), left, right))
        for number, (choice, left, right) in enumerate(
            [("left", "a", "b"), ("right", "b", "a"), ("right", "a", "b"), ("left", "b", "a"), ("both good", "a", "b")]
        )
    ]
    (found,) = judge_agreement(answers, folders, "judge.json")
    assert (found.question, found.score) == ("overall", "balance")
    assert (found.decided, found.right, found.abstained, found.pair.n) == (3, 2, 1, 5)
    # ranks of people (4.5, 4.5, 1.5, 1.5, 3) and judge (4.5, 1.5, 1.5, 3, 4.5): covariance 2.25, variances 9 and 9
    assert found.pair.spearman == pytest.approx(0.25)
    with pytest.raises(InputMissing, match="cannot be read"):
        judge_agreement(answers, folders, "other.json")


# A study of folders


@pytest.fixture
def folders(tmp_path):
    return study_folders(tmp_path)


def opened(folders, store, **choice):
    return Study.open(folders, store, StudyChoice(**choice))


def test_only_items_with_a_readable_result_of_every_editor_take_part(folders, tmp_path):
    (folders[0] / "results" / "2.png").unlink()
    (folders[1] / "results" / "4.jpg").write_bytes(b"no picture")
    with StudyStore(Database(str(tmp_path / "s"))) as store:
        study = opened(folders, store)
        assert sorted(study.plan.items) == ["0", "1", "3", "5"]
        assert study.plan.editors == EDITORS


def test_a_part_of_the_items_is_spread_over_categories(folders, tmp_path):
    chosen = set()
    for seed in range(8):
        with StudyStore(Database(str(tmp_path / f"s{seed}"))) as store:
            items = opened(folders, store, items=4, seed=seed).plan.items
        assert sorted(int(item) % 2 for item in items) == [0, 0, 1, 1]
        chosen.add(items)
    assert len(chosen) > 4


def test_a_store_of_another_study_is_refused_and_the_same_study_goes_on(folders, tmp_path):
    with StudyStore(Database(str(tmp_path / "s"))) as store:
        first = opened(folders, store)
        tokens = [trial["left"] for trial in first.session("anna")["trials"]]
        again = opened(folders, store)
        assert again.plan == first.plan
        assert [trial["left"] for trial in again.session("anna")["trials"]] == tokens
        with pytest.raises(UsageError, match=r"holds another study \(seed differ\)"):
            opened(folders, store, seed=1)
        with pytest.raises(UsageError, match="folders differ"):
            opened(folders[:2], store)


def test_what_was_never_asked_is_refused(folders, tmp_path):
    with StudyStore(Database(str(tmp_path / "s"))) as store:
        study = opened(folders, store, pairs=3)
        with pytest.raises(UsageError, match="has not begun"):
            study.keep("anna", 0, "overall", "left", 1.0)
        code = study.session("")["code"]
        for wrong in [(99, "overall", "left"), (-1, "overall", "left"), (0, "other", "left"), (0, "overall", "up")]:
            with pytest.raises(UsageError, match="no answer to a question"):
                study.keep(code, *wrong, 1.0)
        with pytest.raises(UsageError, match="1 to 64 letters"):
            study.session("../x")
        assert store.answers() == []


def test_a_ruined_picture_differs_from_its_source_in_two_tiles_of_five():
    for size in [(640, 480), (5, 300), (1, 1)]:
        flat = coloured((90, 120, 60), size)
        assert ruined(flat).shape == flat.shape
    hit = (ruined(coloured((90, 120, 60), (640, 480))) != (90, 120, 60)).any(2).mean()
    assert 0.3 < hit < 0.5


def run(*arguments):
    return CliRunner().invoke(cli, ["eval", *map(str, arguments)], prog_name="varedit")


def test_the_command_says_what_is_wrong(folders, tmp_path):
    store = ("--store", tmp_path / "s", "--port", "0")
    few = run("study", folders[0], *store)
    assert few.exit_code == 2 and "give at least two folders" in few.stderr
    twice = run("study", folders[0], folders[0], *store)
    assert twice.exit_code == 2 and "called the same (hidden-alpha, hidden-alpha)" in twice.stderr
    other = run("study", folders[0], tmp_path, *store)
    assert other.exit_code == 66 and "items.jsonl cannot be read" in other.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = run("study", *folders, "--store", tmp_path / "s", "--port", taken.getsockname()[1])
    assert busy.exit_code == 2 and "cannot be listened at: Address already in use" in busy.stderr


def test_without_the_extra_the_command_says_what_to_install(folders, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "varedit.evaluation.study.server", raising=False)
    result = run("study", *folders, "--store", tmp_path / "s")
    assert result.exit_code == 69 and "pip install 'varedit[serve]'" in result.stderr


def test_results_as_table_and_as_json(folders, tmp_path):
    path = tmp_path / "s"
    for folder, scores in zip(folders, ([9] * 6, [5] * 6, [1] * 6), strict=True):
        items = {str(item): {"scores": {"balance": score, "success": score}} for item, score in enumerate(scores)}
        (folder / "judge.json").write_text(json.dumps({"items": items}))
    with StudyStore(Database(str(path))) as store:
        study = opened(folders, store, pairs=18)
        simulated(store, study.plan, dict(zip(EDITORS, (2.0, 0.0, -2.0), strict=True)), raters=3, seed=1)
    told = json.loads(run("study-results", path, "--judge", "judge.json", "--json").stdout)
    assert list(told["questions"]["overall"]["strengths"]) == list(EDITORS)
    (judge,) = told["judges"]
    assert judge["question"] == "overall" and judge["right"] > 0.7 * judge["decided"]
    table = run("study-results", path, "--judge", "judge.json").stdout
    assert all(word in table for word in (*EDITORS, "alpha", "same side", "rater2"))
    none = run("study-results", tmp_path / "none")
    assert none.exit_code == 66 and "there is no study in" in none.stderr

"""Judges against an endpoint that speaks the real protocol and fails in every way that endpoints fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fake_judge import Asked, FakeJudge, Raw, Reaction, Says, Silence, Status, running_judge
from tests.judged_folders import coloured, results_folder
from varedit.errors import InputMissing, ModelError, OutputError, UsageError
from varedit.evaluation.judges.costs import Budget, Price
from varedit.evaluation.judges.endpoint import ChatEndpoint, NoReply, _retry_after
from varedit.evaluation.judges.judge import Judge, Verdict
from varedit.evaluation.judges.pictures import sent_pictures
from varedit.evaluation.judges.questions import Answer, EditToJudge, MalformedAnswer, Question, edits_of
from varedit.evaluation.judges.report import judged_run
from varedit.evaluation.judges.schemes import IMGEDIT_FIELDS, SCHEMES, balance
from varedit.evaluation.judges.store import ReplyStore
from varedit.evaluation.run_folder import RunFolder

GOOD = '{"reasoning": "fine", "success": 8, "over_editing": 7}'


class NoWaiting(threading.Event):
    """Remembers how long it was to wait, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout or 0.0)
        return self.is_set()


@pytest.fixture
def fake() -> Iterator[FakeJudge]:
    with running_judge() as judge:
        yield judge


@pytest.fixture
def make(fake: FakeJudge, tmp_path: Path) -> Any:
    """A judge that asks the fake one; the store outlives it."""

    def made(scheme: str = "paper", model: str = "toy", **options: Any) -> Judge:
        endpoint = options.pop("endpoint", None) or ChatEndpoint(fake.url, timeout=options.pop("timeout", 20.0))
        store = ReplyStore(tmp_path / "answers.sqlite")
        return Judge(SCHEMES[scheme], model, store, endpoint, stop=NoWaiting(), **options)

    return made


def edits(folder: Path) -> list[EditToJudge]:
    return edits_of(RunFolder(folder))


def verdicts(judge: Judge, folder: Path) -> list[Verdict]:
    try:
        return judge.judge(edits(folder), lambda done, total: None)
    finally:
        judge.store.close()


def test_an_edit_is_asked_about_with_its_instruction_and_both_pictures_in_order(fake, make, tmp_path):
    folder = results_folder(tmp_path / "run", ["add"])
    (verdict,) = verdicts(make(), folder)
    assert verdict.state == "judged"
    assert verdict.scores == {"success": 8, "over_editing": 7, "balance": pytest.approx(2 * 8 * 7 / 15)}
    (asked,) = fake.asked
    assert "do 0" in asked.words and asked.words.index("Original picture:") < asked.words.index("Edited picture:")
    assert [picture.tolist() for picture in asked.pictures] == [
        coloured((0, 0, 0)).tolist(),
        coloured((0, 200, 0)).tolist(),
    ]
    assert (asked.body["model"], asked.body["temperature"], asked.key) == ("toy", 0, None)
    schema = asked.body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["success"] == {"type": "integer", "minimum": 0, "maximum": 10}
    assert schema["required"] == ["reasoning", "success", "over_editing"]


def test_a_result_takes_the_size_of_its_source_and_large_pictures_are_made_smaller(tmp_path):
    folder = results_folder(tmp_path / "run", ["add"])
    Image.new("RGB", (2048, 100), (9, 9, 9)).save(folder / "pictures" / "0.png")
    pictures = sent_pictures(edits(folder)[0])
    assert pictures["source"].rgb.shape == pictures["result"].rgb.shape == (50, 1024, 3)
    assert np.all(pictures["result"].rgb == (0, 200, 0))


def test_the_key_is_sent_and_not_shown(fake):
    endpoint = ChatEndpoint(fake.url, key="secret")
    endpoint.ask({"model": "toy", "messages": []}, NoWaiting().wait)
    assert fake.asked[0].key == "Bearer secret" and "secret" not in repr(endpoint)


FAULTS: list[Reaction] = [
    Status(429, headers={"Retry-After": "7"}),
    Status(500),
    Status(503),
    Raw(b"<html>bad gateway</html>"),
    Raw(b'{"error": {"message": "upstream failed"}}'),
    Raw(json.dumps({"choices": [{"message": {"content": GOOD}}]}).encode(), is_cut=True),
]


@pytest.mark.parametrize("fault", FAULTS, ids=[str(index) for index in range(len(FAULTS))])
def test_a_fault_of_the_server_is_tried_again_and_paid_once(fake, make, tmp_path, fault):
    fake.script.extend([fault] * 7)
    judge = make()
    (verdict,) = verdicts(judge, results_folder(tmp_path / "run", ["add"]))
    assert (verdict.state, verdict.paid.replies, verdict.paid.prompt_tokens) == ("judged", 1, 100)
    assert len(fake.asked) == 8 and len(judge.stop.pauses) == 7


def test_pauses_grow_with_jitter_and_end(fake, monkeypatch):
    fake.answer = lambda asked: Status(500, "overloaded")
    lows: list[float] = []

    def longest(low: float, high: float) -> float:
        lows.append(low)
        return high

    monkeypatch.setattr("random.uniform", longest)
    waiting = NoWaiting()
    with pytest.raises(NoReply, match="after 8 tries: HTTP 500, overloaded"):
        ChatEndpoint(fake.url).ask({"model": "toy", "messages": []}, waiting.wait)
    assert waiting.pauses == [2, 4, 8, 16, 32, 60, 60] and len(fake.asked) == 8
    assert set(lows) == {0.0}


@pytest.mark.parametrize(("asked_for", "pause"), [("55", 55.0), ("0.5", 2.0), ("nonsense", 2.0)])
def test_retry_after_is_waited_for(fake, monkeypatch, asked_for, pause):
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    fake.script.append(Status(429, headers={"Retry-After": asked_for}))
    waiting = NoWaiting()
    ChatEndpoint(fake.url).ask({"model": "toy", "messages": []}, waiting.wait)
    assert waiting.pauses == [pause]


def test_retry_after_may_be_a_date(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 784111777.0)
    assert _retry_after("Sun, 06 Nov 1994 08:50:37 GMT") == 60.0
    assert _retry_after("Sun, 06 Nov 1994 08:40:37 GMT") == 0.0


def test_a_server_that_wants_an_hour_is_not_waited_for(fake):
    fake.script.append(Status(429, "daily limit", headers={"Retry-After": "3600"}))
    waiting = NoWaiting()
    with pytest.raises(NoReply, match="daily limit"):
        ChatEndpoint(fake.url).ask({"model": "toy", "messages": []}, waiting.wait)
    assert waiting.pauses == []


def test_silence_is_a_fault_too(fake):
    fake.script.append(Silence())
    text, _ = ChatEndpoint(fake.url, timeout=0.2).ask({"model": "toy", "messages": []}, NoWaiting().wait)
    assert "success" in text and len(fake.asked) == 2


@pytest.mark.parametrize(
    "bad",
    [
        Says("I would give it an 8."),
        Says('{"reasoning": "x", "success": 8'),
        Says('{"reasoning": "x", "success": 11, "over_editing": 7}'),
        Says('{"reasoning": "x", "success": 7.5, "over_editing": 7}'),
        Says('{"reasoning": "x", "success": true, "over_editing": 7}'),
        Says('{"reasoning": "x", "success": "8", "over_editing": 7}'),
        Says(None),
    ],
)
def test_a_malformed_answer_is_asked_again_with_another_seed(fake, make, tmp_path, bad):
    fake.script.append(bad)
    (verdict,) = verdicts(make(), results_folder(tmp_path / "run", ["add"]))
    assert verdict.state == "judged" and verdict.paid.replies == 2
    assert [asked.body["seed"] for asked in fake.asked] == [0, 1]


def test_an_edit_without_a_usable_answer_has_no_score_and_is_left_out_of_the_mean(fake, make, tmp_path):
    fake.answer = lambda asked: Says("no idea" if "do 1" in asked.words else GOOD)
    folder = results_folder(tmp_path / "run", ["add", "add", "add"])
    judge = make()
    run = judged_run(judge, verdicts(judge, folder), folder)
    assert run.verdicts[1].scores is None
    assert run.verdicts[1].reason == "the answer is malformed: there is no JSON object with success, over_editing"
    assert run.counts == {"judged": 2, "unanswered": 1, "no picture": 0, "open": 0}
    assert run.is_suspicious
    assert (run.overall()["success"].value, run.overall()["success"].n) == (8, 2)
    assert len([asked for asked in fake.asked if "do 1" in asked.words]) == 3


def test_a_refusal_is_not_pressed_and_not_asked_again(fake, make, tmp_path):
    fake.answer = lambda asked: Says(None, refusal="I cannot look at this")
    folder = results_folder(tmp_path / "run", ["add"])
    for paid in (1, 0):
        (verdict,) = verdicts(make(), folder)
        assert (verdict.state, verdict.paid.replies) == ("unanswered", paid)
        assert verdict.reason == "the judge refused: I cannot look at this"
    assert len(fake.asked) == 1


def test_a_content_filter_is_a_refusal(fake, make, tmp_path):
    fake.answer = lambda asked: Says("", finish_reason="content_filter")
    (verdict,) = verdicts(make(), results_folder(tmp_path / "run", ["add"]))
    assert (verdict.state, verdict.reason) == ("unanswered", "the judge refused: the content filter")


def test_a_cut_answer_is_asked_again_with_more_room(fake, make, tmp_path):
    fake.script.extend([Says('{"reasoning": "so long that', finish_reason="length")] * 2)
    (verdict,) = verdicts(make(), results_folder(tmp_path / "run", ["add"]))
    assert verdict.state == "judged"
    assert [asked.body["max_tokens"] for asked in fake.asked] == [400, 800, 1600]


def test_an_edit_that_the_endpoint_cannot_answer_does_not_stop_the_others(fake, make, tmp_path):
    fake.answer = lambda asked: Status(500) if "do 1" in asked.words else Says(GOOD)
    found = verdicts(make(), results_folder(tmp_path / "run", ["add"] * 3))
    assert [verdict.state for verdict in found] == ["judged", "unanswered", "judged"]
    fake.answer = lambda asked: Says(GOOD)
    fake.asked.clear()
    again = verdicts(make(), tmp_path / "run")
    assert [verdict.state for verdict in again] == ["judged"] * 3 and len(fake.asked) == 1  # only what had no reply


def test_parameters_that_an_endpoint_does_not_take_are_left_out_from_then_on(fake, make, tmp_path):
    def particular(asked: Asked) -> Reaction:
        if "response_format" in asked.body:
            return Status(400, "unknown parameter: response_format")
        if "max_tokens" in asked.body:
            return Status(400, "use max_completion_tokens in place of max_tokens")
        return Says(GOOD)

    fake.answer = particular
    judge = make(workers=1)
    found = verdicts(judge, results_folder(tmp_path / "run", ["add"] * 3))
    assert [verdict.state for verdict in found] == ["judged"] * 3 and len(fake.asked) == 3 + 2
    assert judge.endpoint.dropped == {"response_format", "max_tokens"}
    assert fake.asked[-1].body["max_completion_tokens"] == 400


def test_a_question_that_is_turned_down_for_other_reasons_is_unanswered(fake, make, tmp_path):
    fake.answer = lambda asked: Status(400, "this picture may not be looked at")
    (verdict,) = verdicts(make(), results_folder(tmp_path / "run", ["add"]))
    assert verdict.state == "unanswered" and "this picture may not be looked at" in str(verdict.reason)
    assert len(fake.asked) == 1


@pytest.mark.parametrize("code", [401, 402, 403, 404, 302])
def test_a_wrong_key_or_model_stops_everything_with_a_sentence(fake, make, tmp_path, code):
    fake.answer = lambda asked: Status(code, "go away", {"Location": "http://127.0.0.1:9/v1"})
    with pytest.raises(ModelError, match=f"HTTP {code}, go away.*VAREDIT_JUDGE_KEY"):
        verdicts(make(workers=2), results_folder(tmp_path / "run", ["add"] * 9))
    assert len(fake.asked) <= 2


def test_an_empty_account_is_not_asked_eight_times(fake, make, tmp_path):
    fake.answer = lambda asked: Status(429, "insufficient_quota: pay first")
    with pytest.raises(ModelError, match="pay first"):
        verdicts(make(workers=1), results_folder(tmp_path / "run", ["add"]))
    assert len(fake.asked) == 1


def test_an_endpoint_that_is_not_there_is_one_sentence(make, tmp_path):
    with pytest.raises(ModelError, match=r"http://127.0.0.1:1/v1 cannot be reached.*start it again"):
        verdicts(make(endpoint=ChatEndpoint("http://127.0.0.1:1/v1")), results_folder(tmp_path / "run", ["add"]))


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://", "file:///etc/passwd"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError, match="no address of an endpoint"):
        ChatEndpoint(url)


def test_a_second_run_asks_nothing_and_gives_the_same(fake, make, tmp_path):
    folder = results_folder(tmp_path / "run", ["add"] * 3)
    first = verdicts(make(), folder)
    second = verdicts(make(), folder)
    assert len(fake.asked) == 3
    assert [verdict.scores for verdict in first] == [verdict.scores for verdict in second]
    assert [verdict.kept for verdict in second] == [verdict.paid for verdict in first]
    assert all(verdict.paid.replies == 0 for verdict in second)


@pytest.mark.parametrize("change", ["model", "instruction", "source", "result", "scheme"])
def test_whatever_changes_the_question_is_asked_anew(fake, make, tmp_path, change):
    fake.answer = lambda asked: Says(GOOD if "over_editing" in asked.words else '{"naturalness": 1, "artifacts": 2}')
    folder = results_folder(tmp_path / "run", ["add"])
    verdicts(make(), folder)
    if change == "instruction":
        (folder / "items.jsonl").write_text((folder / "items.jsonl").read_text().replace("do 0", "do it"))
    elif change in ("source", "result"):
        picture = folder / ("pictures" if change == "source" else "results") / "0.png"
        Image.fromarray(coloured((0, 0, 1))).save(picture)
    options = {"model": {"model": "other"}, "scheme": {"scheme": "gedit"}}.get(change, {})
    verdicts(make(**options), folder)
    assert len(fake.asked) == (3 if change == "scheme" else 2)


def test_equal_questions_in_flight_are_paid_once(fake, make, tmp_path):
    folder = results_folder(tmp_path / "run", ["add"] * 4)
    for name in ("pictures", "results"):
        for index in range(4):
            Image.fromarray(coloured((5, 5, 5))).save(folder / name / f"{index}.png")
    lines = (folder / "items.jsonl").read_text().splitlines()
    rows = [{**json.loads(line), "instruction": "the same"} for line in lines]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = verdicts(make(workers=4), folder)
    assert len(fake.asked) == 1 and [verdict.paid.replies for verdict in found].count(1) == 1
    assert [verdict.state for verdict in found] == ["judged"] * 4


def test_missing_and_broken_pictures_are_told_and_cost_nothing(fake, make, tmp_path):
    folder = results_folder(tmp_path / "run", ["add"] * 3)
    (folder / "results" / "0.png").unlink()
    (folder / "results" / "1.png").write_bytes(b"no picture")
    found = verdicts(make(), folder)
    assert [verdict.state for verdict in found] == ["no picture", "no picture", "judged"]
    assert "no result for 0" in str(found[0].reason) and "1.png" in str(found[1].reason)
    assert len(fake.asked) == 1


def test_a_budget_is_never_passed_and_what_is_left_open_is_done_later(fake, make, tmp_path):
    folder = results_folder(tmp_path / "run", ["add"] * 6)
    price = Price(prompt=1000.0, completion=10_000.0)  # a reply of the fake one costs 0.2
    judge = make(budget=Budget(price, limit=4.9), workers=3)
    most = price.of(judge.calls(edits(folder)[0], sent_pictures(edits(folder)[0]))[0].estimated_tokens, 400)
    assert most > 4.0  # what is set aside for one call, so that no two fit
    found = verdicts(judge, folder)
    judged = [verdict for verdict in found if verdict.state == "judged"]
    assert len(judged) == 1 + int((4.9 - most) / 0.2) < 6
    assert judge.budget.spent == pytest.approx(0.2 * len(judged))
    assert {verdict.state for verdict in found} == {"judged", "open"}
    later = verdicts(make(budget=Budget(price, limit=100.0)), folder)
    assert [verdict.state for verdict in later] == ["judged"] * 6 and len(fake.asked) == 6


def test_a_budget_books_the_dearest_call_again_and_all_of_an_untold_one():
    budget = Budget(Price(1e6, 1e6), limit=100.0)
    aside = budget.set_aside(10, 10)
    assert aside == 20.0
    budget.settle(aside, reply_of(50, 5))
    assert budget.spent == 55.0
    assert budget.set_aside(1, 1) is None  # it may cost 55 again
    told = Budget(Price(1e6, 1e6), limit=100.0)
    told.settle(told.set_aside(10, 10) or 0, reply_of(None, None))
    assert told.spent == 20.0


def reply_of(prompt: int | None, written: int | None) -> Any:
    from varedit.evaluation.judges.endpoint import Reply

    return Reply("", None, False, prompt, written)


def test_a_limit_needs_a_price():
    with pytest.raises(UsageError, match="--price"):
        Budget(None, limit=3.0)
    with pytest.raises(UsageError, match="at least 0"):
        Price(-1.0, 0.0)


def test_tokens_that_are_not_told_are_counted_as_untold(fake, make, tmp_path):
    fake.answer = lambda asked: Says(GOOD, usage=None if "do 0" in asked.words else (30, 4))
    first, second = verdicts(make(), results_folder(tmp_path / "run", ["add"] * 2))
    both = first.paid + second.paid
    assert (both.replies, both.untold, both.prompt_tokens, both.completion_tokens) == (2, 1, 30, 4)


def test_a_killed_run_pays_for_nothing_twice(fake, tmp_path):
    folder = results_folder(tmp_path / "run", ["add"] * 6)
    command = [sys.executable, "-m", "varedit", "eval", "judge", str(folder), "--endpoint", fake.url, "--model", "toy"]
    command += ["--workers", "1", "--json"]
    stuck = threading.Event()

    def answer(asked: Asked) -> Reaction:
        if len(fake.asked) == 4 and not stuck.is_set():
            stuck.set()
            return Silence()  # so that exactly three replies were sent when it is killed
        return Says(GOOD)

    fake.answer = answer
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert stuck.wait(120)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    report = json.loads(done.stdout)
    assert len(fake.asked) == 4 + 3  # three replies, one call that was cut off, and the three that were open
    assert report["counts"] == {"edits": 6, "judged": 6, "unanswered": 0, "no picture": 0, "open": 0}
    assert report["usage"]["this_run"]["replies"] == 3 and report["usage"]["from_store"]["replies"] == 3


def test_two_items_of_one_id_are_refused(tmp_path):
    folder = results_folder(tmp_path / "run", ["add"])
    (folder / "items.jsonl").write_text((folder / "items.jsonl").read_text() * 2)
    with pytest.raises(InputMissing, match="1 ids more than once, such as 0"):
        edits(folder)


def test_a_store_that_is_none_is_refused(tmp_path):
    (tmp_path / "text").write_text("this is no database, and longer than a header of sixteen bytes")
    with pytest.raises(OutputError, match="cannot be kept in"):
        ReplyStore(tmp_path / "text")
    with pytest.raises(OutputError, match="cannot be kept in"):
        ReplyStore(tmp_path / "no folder" / "file")


def test_a_store_keeps_the_first_reply_of_an_attempt(tmp_path):
    with ReplyStore(tmp_path / "a") as store:
        for attempt, reply in ((1, "c"), (0, "a"), (0, "b")):
            store.add("question", attempt, reply, 0.5)
    with ReplyStore(tmp_path / "a") as store:
        assert store.replies("question") == ["a", "c"] and store.replies("other") == []


QUESTION = Question(name="q", text="", shown=("source",), fields=("a", "b"), low=1, high=5)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 3, "b": 5}',
        '```json\n{"reasoning": "r", "a": 3, "b": 5}\n```',
        'Here it is: {"a": 3.0, "b": 5} I hope it helps {really}.',
        '<think>maybe {"a": 1, "b": 1}</think> {"a": 3, "b": 5}',
        '{"a": 3} then {"a": 3, "b": 5}',
    ],
)
def test_what_stands_around_an_answer_does_not_matter(text):
    assert QUESTION.read(text).numbers == {"a": 3, "b": 5}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no JSON object"),
        ('{"a": 3}', "no JSON object with a, b"),
        ('{"a": 0, "b": 5}', "a is 0 and not a whole number from 1 to 5"),
        ('{"a": 6, "b": 5}', "a is 6"),
        ('{"a": NaN, "b": 5}', "a is NaN"),
        ('{"a": Infinity, "b": 5}', "a is Infinity"),
        ('{"a": null, "b": 5}', "a is null"),
        ('{"a": 3, "b": 5} or {"a": 4, "b": 5}', "contradict"),
        ("{" * 5000, "no JSON object"),
        ('{"a":' * 5000, "no JSON object"),
    ],
)
def test_an_answer_is_never_bent_into_shape(text, part):
    with pytest.raises(MalformedAnswer, match=part):
        QUESTION.read(text)


@pytest.mark.parametrize(
    ("success", "over", "expected"), [(0, 10, 0.0), (10, 0, 0.0), (0, 0, 0.0), (10, 10, 10.0), (10, 9, 9.474),
     (8, 7, 7.467), (5, 3, 3.75)],
)  # fmt: skip
def test_balance_is_the_harmonic_mean(success, over, expected):
    assert balance(success, over) == pytest.approx(expected, abs=5e-4)


def test_the_papers_balance_is_the_mean_over_edits_and_not_that_of_the_means(fake, make, tmp_path):
    numbers = {"do 0": (10, 0), "do 1": (8, 7), "do 2": (5, 3)}

    def answer(asked: Asked) -> Reaction:
        success, over = next(pair for words, pair in numbers.items() if words in asked.words)
        return Says(json.dumps({"reasoning": "", "success": success, "over_editing": over}))

    fake.answer = answer
    folder = results_folder(tmp_path / "run", ["a", "b", "b"])
    judge = make()
    run = judged_run(judge, verdicts(judge, folder), folder)
    assert run.overall()["balance"].value == pytest.approx((0 + 112 / 15 + 3.75) / 3)
    assert run.categories()["b"]["balance"].value == pytest.approx((112 / 15 + 3.75) / 2)
    assert run.categories()["a"]["balance"].low is None  # one edit tells nothing of the spread


def test_gedit_takes_the_smallest_of_each_kind_and_the_geometric_mean_of_an_edit():
    answers = {
        "consistency": Answer({"success": 9, "over_editing": 10}, ""),
        "quality": Answer({"naturalness": 4, "artifacts": 8}, ""),
    }
    assert SCHEMES["gedit"].combine(answers) == {"consistency": 9, "quality": 4, "overall": 6}


def test_gedit_means_its_types_and_shows_only_the_result_for_quality(fake, make, tmp_path):
    def answer(asked: Asked) -> Reaction:
        if "naturalness" in asked.words:
            return Says('{"naturalness": 9, "artifacts": 9}')
        return Says(json.dumps({"success": 4 if "do 0" in asked.words else 9, "over_editing": 10}))

    fake.answer = answer
    folder = results_folder(tmp_path / "run", ["x", "y", "y", "y"])
    judge = make("gedit")
    run = judged_run(judge, verdicts(judge, folder), folder)
    assert run.overall()["overall"].value == pytest.approx((6 + 9) / 2)  # edits would give (6 + 27) / 4
    quality = [asked for asked in fake.asked if "naturalness" in asked.words]
    assert len(quality) == 4 and [len(asked.pictures) for asked in quality] == [1] * 4
    assert all(asked.pictures[0][0, 0, 1] == 200 for asked in quality)
    assert not any(f"do {index}" in asked.words for asked in quality for index in range(4))


def test_imgedit_asks_by_type_means_three_scores_and_keeps_the_hard_suite_apart(fake, make, tmp_path):
    def answer(asked: Asked) -> Reaction:
        fields = asked.body["response_format"]["json_schema"]["schema"]["required"][1:]
        numbers = {"remove": (5, 4, 4), "style": (2, 1, 1), "uge": (1,)}[kinds[asked.words.partition("do ")[2][0]]]
        return Says(json.dumps(dict(zip(fields, numbers, strict=True))))

    kinds = {"0": "remove", "1": "style", "2": "style", "3": "uge"}
    fake.answer = answer
    folder = results_folder(tmp_path / "run", list(kinds.values()))
    judge = make("imgedit")
    run = judged_run(judge, verdicts(judge, folder), folder)
    assert [verdict.scores for verdict in run.verdicts] == [{"score": s} for s in (4.33, 1.33, 1.33, 1)]
    assert run.overall()["score"].value == pytest.approx((4.33 + 1.33) / 2)
    assert run.categories()["uge"]["score"].value == 1


def test_imgedit_knows_nine_types_of_three_scores():
    assert len(IMGEDIT_FIELDS) == 9 and {len(fields) for fields in IMGEDIT_FIELDS.values()} == {3}


def test_an_unknown_type_is_told_before_anything_is_asked(fake, make, tmp_path):
    with pytest.raises(UsageError, match=r"1 is of the category 'turn 1'; the scheme imgedit judges replace, remove"):
        verdicts(make("imgedit"), results_folder(tmp_path / "run", ["add", "turn 1"]))
    assert fake.asked == []


def test_braces_in_an_instruction_stay_what_they_are(tmp_path):
    edit = EditToJudge(id="a", category="add", instruction="write {criteria} {0}", source=tmp_path, result=None)
    for scheme in SCHEMES.values():
        assert "write {criteria} {0}" in scheme.ask(edit)[0].prompt

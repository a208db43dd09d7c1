"""A judge at work: every edit gets its scores, or the reason why it has none.

An edit without a usable answer is never a zero: it is left out of all means, counted, and named with its reason.
Replies go to the store the moment they arrive, and what the store holds is not asked again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from varedit.errors import ImageError, InputMissing, ModelError
from varedit.evaluation.judges.costs import Budget, Usage
from varedit.evaluation.judges.endpoint import ChatEndpoint, NoReply, Reply
from varedit.evaluation.judges.pictures import SentPicture, sent_pictures
from varedit.evaluation.judges.questions import LABELS, Answer, EditToJudge, MalformedAnswer, Question, Shown
from varedit.evaluation.judges.schemes import Scheme
from varedit.evaluation.judges.store import ReplyStore

ATTEMPTS = 3
MAX_TOKENS = 400  # of an answer
PARAMETERS = {"temperature": 0, "top_p": 1, "seed": 0, "max_tokens": MAX_TOKENS}
State = Literal["judged", "unanswered", "no picture", "open"]
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one edit.

    Attributes:
        state: "judged"; "unanswered" if the judge gave no usable answer; "no picture" if the edit's pictures cannot be
            read; "open" if the budget ended before it.
        scores: of the scheme; None unless judged.
        answers: by the question's name, as far as there are any.
        reason: why it is not judged, a clause; None if it is.
        source: SHA-256 of the source's pixels as sent; edits of one source are not independent. None without picture.
        paid: replies that this run asked for.
        kept: replies that were in the store.
    """

    edit: EditToJudge
    state: State
    scores: Mapping[str, float] | None = None
    answers: Mapping[str, Answer] = field(default_factory=dict)
    reason: str | None = None
    source: str | None = None
    paid: Usage = field(default_factory=Usage)
    kept: Usage = field(default_factory=Usage)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A question about an edit's pictures, ready to be sent to a model."""

    model: str
    question: Question
    pictures: Mapping[Shown, SentPicture]

    @property
    def key(self) -> str:
        """Names the call in the store: SHA-256 over model, words, parameters and pixels."""
        shown = [self.pictures[name].sha256 for name in self.question.shown]
        named = [self.model, self.question.prompt, self.question.schema, PARAMETERS, shown]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()

    @property
    def estimated_tokens(self) -> int:
        """Of the prompt with its pictures, roughly: four letters are a token."""
        pictures = sum(self.pictures[name].estimated_tokens for name in self.question.shown)
        return len(self.question.prompt) // 4 + pictures

    def body(self, *, attempt: int = 0, max_tokens: int = MAX_TOKENS, with_pictures: bool = True) -> dict[str, Any]:
        """JSON values of the request; every attempt has another seed. Without pictures their place says their size."""
        content: list[dict[str, Any]] = [{"type": "text", "text": self.question.prompt}]
        for name in self.question.shown:
            content.append({"type": "text", "text": LABELS[name]})
            url = self.pictures[name].url if with_pictures else self.pictures[name].words
            content.append({"type": "image_url", "image_url": {"url": url, "detail": "high"}})
        schema = {"name": "answer", "strict": True, "schema": self.question.schema}
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            **PARAMETERS,
            "seed": PARAMETERS["seed"] + attempt,
            "max_tokens": max_tokens,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What judging some edits would take.

    Attributes:
        calls: questions that would be asked.
        kept: questions whose answer is in the store.
        without_picture: edits that cannot be judged.
        prompt_tokens: of all calls, roughly.
        completion_tokens: of all calls, at most, if every first answer is usable.
        example: the body of the first call, pictures left out; None if there is no call.
    """

    calls: int
    kept: int
    without_picture: int
    prompt_tokens: int
    completion_tokens: int
    example: dict[str, Any] | None


@dataclass
class Judge:
    """A model that judges by a scheme.

    Attributes:
        model: its name at the endpoint.
        endpoint: None for a judge that only says what it would ask.
        workers: calls in flight.
        stop: whether everything should come to an end; every pause between tries waits for it.
    """

    scheme: Scheme
    model: str
    store: ReplyStore
    endpoint: ChatEndpoint | None = None
    budget: Budget = field(default_factory=Budget)
    workers: int = 8
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._locks_lock = threading.Lock()

    def judge(self, edits: Sequence[EditToJudge], on_progress: OnProgress) -> list[Verdict]:
        """Judge edits, in the order in which they are given.

        Raises:
            ModelError: the endpoint is not there or does not serve the model; what was answered is in the store.
            UsageError: an edit's category is unknown to the scheme; nothing was asked.
            OutputError: the store cannot be written.
        """
        for edit in edits:
            self.scheme.ask(edit)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="judge") as pool:
            futures = [pool.submit(self.verdict, edit) for edit in edits]
            try:
                for done, future in enumerate(as_completed(futures), start=1):
                    future.result()
                    on_progress(done, len(edits))
            except BaseException:
                self.stop.set()  # whoever pauses before another try gives up
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [future.result() for future in futures]

    def verdict(self, edit: EditToJudge) -> Verdict:
        """Judge one edit."""
        try:
            pictures = sent_pictures(edit)
        except (ImageError, InputMissing) as error:
            return Verdict(edit=edit, state="no picture", reason=str(error).rstrip("."))
        answers: dict[str, Answer] = {}
        paid, kept = Usage(), Usage()
        for call in self.calls(edit, pictures):
            hearing = self._hear(call)
            paid, kept = paid + Usage.of(hearing.paid), kept + Usage.of(hearing.kept)
            if hearing.answer is None:
                return Verdict(
                    edit=edit, state=hearing.state, answers=answers, reason=hearing.reason,
                    source=pictures["source"].sha256, paid=paid, kept=kept,
                )  # fmt: skip
            answers[call.question.name] = hearing.answer
        return Verdict(
            edit=edit, state="judged", scores=self.scheme.combine(answers), answers=answers,
            source=pictures["source"].sha256, paid=paid, kept=kept,
        )  # fmt: skip

    def plan(self, edits: Sequence[EditToJudge], on_progress: OnProgress) -> Plan:
        """What `judge` would ask; asks nothing. Raises as it does."""
        calls, kept, without_picture = 0, 0, 0
        tokens, example = 0, None
        for done, edit in enumerate(edits, start=1):
            try:
                asked = self.calls(edit, sent_pictures(edit))
            except (ImageError, InputMissing):
                without_picture, asked = without_picture + 1, []
            for call in asked:
                if not self._kept(call).is_open(call.question):
                    kept += 1
                    continue
                calls, tokens = calls + 1, tokens + call.estimated_tokens
                example = example or call.body(with_pictures=False)
            on_progress(done, len(edits))
        return Plan(
            calls=calls,
            kept=kept,
            without_picture=without_picture,
            prompt_tokens=tokens,
            completion_tokens=calls * MAX_TOKENS,
            example=example,
        )

    def calls(self, edit: EditToJudge, pictures: Mapping[Shown, SentPicture]) -> list[Call]:
        """The questions about an edit as they are sent."""
        questions = self.scheme.ask(edit)
        return [Call(model=self.model, question=question, pictures=pictures) for question in questions]

    def _hear(self, call: Call) -> _Hearing:
        """The answer to a question, from the store or from the endpoint; unusable ones are asked for again."""
        with self._alone(call.key):  # or two equal questions in flight would both be paid
            hearing = self._kept(call)
            while hearing.is_open(call.question) and self._ask(call, hearing):
                pass
            return hearing

    def _kept(self, call: Call) -> _Hearing:
        return _Hearing([Reply.from_json(reply) for reply in self.store.replies(call.key)])

    def _ask(self, call: Call, hearing: _Hearing) -> bool:
        """One more reply for a hearing; False if there is none."""
        assert self.endpoint is not None, "this judge has nobody to ask"
        if self.stop.is_set():
            hearing.state, hearing.reason = "open", "it was stopped"
            return False
        tokens = MAX_TOKENS * 2**hearing.cuts  # an answer that was cut would be cut again
        aside = self.budget.set_aside(call.estimated_tokens, tokens)
        if aside is None:
            hearing.state, hearing.reason = "open", "the budget is spent"
            return False
        reply = None
        try:
            body = call.body(attempt=hearing.attempts, max_tokens=tokens)
            text, seconds = self.endpoint.ask(body, self.stop.wait)
            reply = Reply.from_json(text)
            self.store.add(call.key, hearing.attempts, text, seconds)
        except NoReply as error:
            hearing.reason = str(error)
            return False
        except ModelError:
            self.stop.set()  # at once: no other thread shall find out for itself
            raise
        finally:
            self.budget.settle(aside, reply)
        hearing.paid.append(reply)
        return True

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        with self._locks_lock:
            lock = self._locks[key]
        with lock:
            yield


@dataclass
class _Hearing:
    """All replies to one question so far, and what they come to."""

    kept: list[Reply]
    paid: list[Reply] = field(default_factory=list)
    answer: Answer | None = None
    state: State = "unanswered"
    reason: str | None = None

    @property
    def attempts(self) -> int:
        """Replies so far."""
        return len(self.kept) + len(self.paid)

    @property
    def cuts(self) -> int:
        """Replies that were cut at the longest allowed length."""
        return sum(reply.is_cut for reply in (*self.kept, *self.paid))

    def is_open(self, question: Question) -> bool:
        """Look for a usable answer in what has come; True if there is none and the judge should be asked again."""
        for reply in (*self.kept, *self.paid):
            if reply.refusal is not None:
                self.reason = f"the judge refused: {reply.refusal}"
                return False  # who refuses is not pressed
            try:
                self.answer = question.read(reply.text)
            except MalformedAnswer as error:
                self.reason = "the answer was cut" if reply.is_cut else f"the answer is malformed: {error}"
            else:
                self.state, self.reason = "judged", None
                return False
        return self.attempts < ATTEMPTS

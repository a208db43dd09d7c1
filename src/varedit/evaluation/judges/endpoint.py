"""One call to a chat endpoint that speaks OpenAI's protocol: a local vLLM or SGLang, or a hosted model.

Faults of the line and of the server are tried again with growing pauses; what the model said is not judged here.
"""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Self

from varedit.errors import ModelError, UsageError, VAREditError

MAX_TRIES = 8
LONGEST_PAUSE = 60.0  # seconds
LONGEST_WISH = 600.0  # seconds; a server that asks for more will not answer today
MAX_REPLY_BYTES = 16 * 2**20
_AGAIN = (408, 409, 425, 429)
_OPTIONAL = {  # what some endpoints do not know, and the words by which they say so
    "response_format": ("response_format", "json_schema", "grammar"),
    "max_tokens": ("max_tokens",),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "seed": ("seed",),
}


@dataclass(frozen=True)
class Reply:
    """What an endpoint sent back.

    Attributes:
        text: what the model said; "" if nothing.
        refusal: its own words, or the reason, if it would not answer; None if it did.
        is_cut: whether the answer reached the longest allowed length.
        prompt_tokens, completion_tokens: as the endpoint counted them; None if it does not tell.
    """

    text: str
    refusal: str | None
    is_cut: bool
    prompt_tokens: int | None
    completion_tokens: int | None

    @classmethod
    def from_json(cls, body: str) -> Self:
        """Read a response of /chat/completions. Raises ValueError if it is none, such as an error with status 200."""
        try:
            values = json.loads(body)
            choice = values["choices"][0]
            message, reason, usage = choice["message"], choice.get("finish_reason"), values.get("usage") or {}
            refusal = message.get("refusal") or ("the content filter" if reason == "content_filter" else None)
            return cls(
                text=_text_of(message.get("content")),
                refusal=refusal,
                is_cut=reason == "length",
                prompt_tokens=_count(usage.get("prompt_tokens")),
                completion_tokens=_count(usage.get("completion_tokens")),
            )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise ValueError("the endpoint's reply is no chat completion") from error


class NoReply(VAREditError):
    """This question got no reply; others may. The message is a clause."""


@dataclass
class ChatEndpoint:
    """An address, and what was learned about it.

    Attributes:
        url: such as "http://localhost:8000/v1".
        key: of the account; None sends none.
        timeout: seconds of silence after which a call has failed.
        dropped: parameters that the endpoint does not take.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    dropped: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(f"{self.url!r} is no address of an endpoint; one looks like http://localhost:8000/v1.")
        self._address = self.url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        self._opener = urllib.request.build_opener(_NoRedirect)

    def ask(self, body: Mapping[str, Any], pause: Callable[[float], bool]) -> tuple[str, float]:
        """Send a question until it is replied to.

        Args:
            body: JSON values of the request. Parameters that the endpoint turns down are left out from then on.
            pause: waits some seconds before another try; True says that nobody wants the reply any more
                (`threading.Event.wait`).

        Returns: the reply, which `Reply.from_json` can read, and the seconds that the last try took.

        Raises:
            NoReply: this question cannot be replied to, or not after `MAX_TRIES`.
            ModelError: no question can: the endpoint is not there, or the key or the model is wrong.
        """
        tries = 0
        while True:
            started = time.monotonic()
            try:
                return self._send(body), time.monotonic() - started
            except _Rejected as rejection:
                if not self._learn(rejection, body):
                    raise NoReply(f"the endpoint turned the question down: {rejection}") from rejection
            except _Fault as fault:
                tries += 1
                if tries == MAX_TRIES or fault.wish > LONGEST_WISH:
                    raise fault.final(self.url, tries) from fault
                if pause(max(fault.wish, random.uniform(0.0, min(LONGEST_PAUSE, 2.0**tries)))):
                    raise NoReply("it was stopped") from fault

    def _send(self, body: Mapping[str, Any]) -> str:
        dropped = self.dropped  # other threads may learn more meanwhile
        data = json.dumps(_without(body, dropped)).encode()
        request = urllib.request.Request(self._address, data, method="POST")  # noqa: S310 - the scheme was checked
        request.add_header("Content-Type", "application/json")
        if self.key is not None:
            request.add_header("Authorization", f"Bearer {self.key}")
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                text: str = response.read(MAX_REPLY_BYTES).decode()
            Reply.from_json(text)
        except urllib.error.HTTPError as error:
            raise self._refusal(error, dropped) from error
        except TimeoutError as error:
            raise _Fault(f"it was silent for {self.timeout:g} s") from error
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TimeoutError):
                raise _Fault(f"it was silent for {self.timeout:g} s") from error
            is_there = isinstance(error, http.client.HTTPException)
            raise _Fault(f"{type(reason).__name__}: {reason}", is_there=is_there) from error
        except ValueError as error:
            raise _Fault("its reply is no chat completion") from error
        return text

    def _learn(self, rejection: _Rejected, body: Mapping[str, Any]) -> bool:
        """Drop the parameter that a rejection is about; False if it is about none that could be dropped."""
        for name, words in _OPTIONAL.items():
            could_go = name in body and name not in rejection.dropped
            if could_go and any(word in str(rejection) for word in words):
                self.dropped |= {name}
                return True
        return False

    def _refusal(self, error: urllib.error.HTTPError, dropped: frozenset[str]) -> Exception:
        """What a status other than 200 means."""
        with error:
            try:
                said = error.read(MAX_REPLY_BYTES).decode(errors="replace")
            except (OSError, http.client.HTTPException):
                said = ""
        told = f"HTTP {error.code}{_message_of(said)}"
        if error.code in _AGAIN + tuple(range(500, 600)) and "insufficient_quota" not in said:
            return _Fault(told, wish=_retry_after(error.headers.get("Retry-After")))
        if error.code in (400, 413, 415, 422):
            return _Rejected(told, dropped)
        what = "Look at the address, the key (VAREDIT_JUDGE_KEY) and the model's name."
        return ModelError(f"the judge at {self.url} does not serve this: {told}. {what}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects would take the key to an address that nobody named."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _Rejected(Exception):
    """The endpoint does not take the question as it is; ``dropped`` had been left out of it."""

    def __init__(self, message: str, dropped: frozenset[str]) -> None:
        super().__init__(message)
        self.dropped = dropped


class _Fault(Exception):
    """A try that failed and may succeed later; ``wish`` is how many seconds the server wants to be left alone."""

    def __init__(self, message: str, *, wish: float = 0.0, is_there: bool = True) -> None:
        super().__init__(message)
        self.wish, self.is_there = wish, is_there

    def final(self, url: str, tries: int) -> VAREditError:
        """The error after the last try: of one question, or of the endpoint if nothing listens there."""
        if self.is_there:
            return NoReply(f"after {tries} tries: {self}")
        return ModelError(f"the judge at {url} cannot be reached: {self}. What was answered is kept; start it again.")


def _without(body: Mapping[str, Any], dropped: frozenset[str]) -> dict[str, Any]:
    kept = {name: value for name, value in body.items() if name not in dropped}
    if "max_tokens" in dropped:
        kept["max_completion_tokens"] = body["max_tokens"]  # its name for models that think before they answer
    return kept


def _text_of(content: Any) -> str:
    """A message's words, whether sent as one string or in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part["text"] for part in content if part.get("type") == "text")


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _message_of(said: str) -> str:
    """The first words of an error's message, after a comma."""
    try:
        error = json.loads(said)["error"]
        message = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        message = said
    words = " ".join(message.split())[:200]
    return f", {words}" if words else ""


def _retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for, given as seconds or as a date; 0 if it asks for none."""
    if value is None:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0

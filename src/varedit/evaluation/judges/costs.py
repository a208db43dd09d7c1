"""What judging costs: tokens as the endpoint counts them, money by the user's prices, and a budget that holds."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from varedit.errors import UsageError
from varedit.evaluation.judges.endpoint import Reply


@dataclass(frozen=True)
class Price:
    """Of a million tokens, in whatever currency the budget is in."""

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        """Raises UsageError."""
        if not (0 <= self.prompt < float("inf") and 0 <= self.completion < float("inf")):
            raise UsageError(f"prices ({self.prompt:g} and {self.completion:g}) must be numbers of at least 0.")

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Cost of these tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


@dataclass(frozen=True)
class Usage:
    """Tokens of some replies.

    Attributes:
        replies: how many came.
        untold: those whose tokens the endpoint did not tell; they are not in the sums.
    """

    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    untold: int = 0

    @classmethod
    def of(cls, replies: Iterable[Reply]) -> Self:
        """The sum over replies."""
        listed = list(replies)
        prompt = [reply.prompt_tokens for reply in listed]
        completion = [reply.completion_tokens for reply in listed]
        untold = sum(None in pair for pair in zip(prompt, completion, strict=True))
        return cls(len(listed), sum(n or 0 for n in prompt), sum(n or 0 for n in completion), untold)

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.replies + other.replies,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.untold + other.untold,
        )


@dataclass
class Budget:
    """Money that may still be spent; the most that a call may cost is set aside before it, as many are in flight.

    Attributes:
        limit: for all calls; None is no limit.
        price: None if nobody gave one; then there can be no limit.
    """

    price: Price | None = None
    limit: float | None = None
    spent: float = 0.0
    _aside: float = 0.0
    _calls: int = 0  # in flight
    _dearest: float = 0.0  # an estimate may be low, and what a call did cost may come again
    _settled: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        """Raises UsageError."""
        if self.limit is not None and self.price is None:
            raise UsageError("a budget needs the price of a million tokens: give --price too.")

    def set_aside(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """The most that a call of so many tokens may cost; None if there is not so much left.

        While calls in flight hold what would be enough, it waits for what they do cost.
        """
        if self.price is None:
            return 0.0
        estimate = self.price.of(prompt_tokens, completion_tokens)
        with self._settled:
            while True:
                cost = max(estimate, self._dearest)
                if self.limit is None or self.spent + self._aside + cost <= self.limit:
                    self._aside += cost
                    self._calls += 1
                    return cost
                if not self._calls:
                    return None
                self._settled.wait()

    def settle(self, aside: float, reply: Reply | None) -> None:
        """Book what a call did cost: None if no reply came; all that was set aside if the endpoint does not tell."""
        if self.price is None:
            return
        with self._settled:
            self._calls -= 1
            self._aside = self._aside - aside if self._calls else 0.0  # sums of floats do not cancel
            self._settled.notify_all()
            if reply is None:
                return
            is_told = reply.prompt_tokens is not None and reply.completion_tokens is not None
            cost = self.price.of(reply.prompt_tokens or 0, reply.completion_tokens or 0) if is_told else aside
            self.spent += cost
            self._dearest = max(self._dearest, cost)

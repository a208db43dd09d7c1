"""What a command says of a bad input: one sentence, and nothing on the standard output."""

from __future__ import annotations

from click.testing import Result


def assert_one_sentence(result: Result, code: int, *parts: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    for part in parts:
        assert part in result.stderr

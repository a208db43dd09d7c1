"""What a package says about the licence of one of its pictures, and whether that licence asks for more than credit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

_PERMISSIVE = re.compile(r"(CC0|public-domain|CC-BY-\d|OFL)", re.IGNORECASE)


def is_permissive(licence: str) -> bool:
    """Whether the licence asks for nothing but credit: CC0, public domain, CC-BY (not -SA, -NC, -ND) and OFL."""
    return _PERMISSIVE.match(licence) is not None


def licence_of(copyright_text: str, path: str) -> str | None:
    """The short licence name that a Debian copyright file gives to the source file ``path``; None where it is silent.

    As DEP-5 has it, the last paragraph whose ``Files`` match wins. Extensions are left out of the comparison, because
    some packages convert their pictures after the copyright file was written.
    """
    found = None
    for patterns, licence in _paragraphs(copyright_text):
        if any(fnmatchcase(_bare(path), _bare(pattern)) for pattern in patterns):
            found = licence
    return found


def _bare(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))


def _paragraphs(text: str) -> Iterator[tuple[list[str], str]]:
    """(patterns, licence) of every ``Files`` paragraph."""
    for paragraph in re.split(r"\n\s*\n", text):
        files = re.search(r"^Files:((?:.*\n)(?:[ \t].*\n)*)", paragraph + "\n", re.MULTILINE)
        licence = re.search(r"^License:[ \t]*(.+)$", paragraph, re.MULTILINE)
        if files and licence:
            yield files.group(1).split(), licence.group(1).strip()

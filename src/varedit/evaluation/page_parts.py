"""What the pages of evaluations are made of: one file each, without scripts and without outside addresses.

Plain HTML and CSS; light and dark follow the reader's system. Callers escape the text that they put into markup.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from varedit.evaluation.page_style import STYLE


def page(title: str, header: str, main: str, *, style: str = "", skip: tuple[str, str] | None = None) -> str:
    """A whole page.

    Args:
        title: as plain text; it is the first heading too.
        header: markup below the heading.
        main: markup.
        style: CSS beside that of all pages.
        skip: an anchor and the words of a first link to it, for those who read by keyboard.
    """
    link = "" if skip is None else f'<a class="skip" href="#{skip[0]}">{escape(skip[1])}</a>\n'
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n{link}"
        f"<header><h1>{escape(title)}</h1>\n{header}</header>\n<main>\n{main}\n</main>\n</body>\n</html>\n"
    )


def figure(data: bytes, caption: str, alt: str) -> str:
    """A picture inside the page.

    Args:
        data: a PNG or JPEG file.
        caption: markup.
        alt: plain text.
    """
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    encoded = base64.b64encode(data).decode("ascii")
    return (
        f'<figure><img src="data:image/{kind};base64,{encoded}" alt="{escape(alt)}" loading="lazy">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def wide(markup: str, label: str) -> str:
    """Scrolled sideways where it has no room."""
    return f'<div class="wide" role="region" aria-label="{escape(label)}" tabindex="0">{markup}</div>'


def chart(svg: str, caption: str) -> str:
    """A drawing with its caption; scrolled where it has no room, as its letters would get too small."""
    return f"<figure>{wide(svg, caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def table(headings: Sequence[str], rows: Iterable[str], label: str) -> str:
    """A table of numbers.

    Args:
        headings: plain text.
        rows: markup of `row`.
    """
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    return wide(f"<table><thead><tr>{head}</tr></thead>\n<tbody>{''.join(rows)}</tbody></table>", label)


def row(name: str, cells: Iterable[str], kind: str = "") -> str:
    """A row of `table`: markup of its name, plain text of its cells, and its class."""
    numbers = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    given = f' class="{kind}"' if kind else ""
    return f'<tr{given}><th scope="row">{name}</th>{numbers}</tr>\n'


def facts_list(facts: Mapping[str, Any]) -> str:
    """What numbers rest on, folded away."""
    told = ((words(name), _fact(value)) for name, value in facts.items())
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in told)
    return f"<details><summary>How this was measured</summary><dl>{items}</dl></details>"


def words(name: str) -> str:
    """A name of a program's kind as words."""
    return name.replace("_", " ")


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{words(str(name))} {_fact(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_fact, value))
    return str(value)

"""Pieces of drawings: SVG as text, in the colour of the text around it."""

from __future__ import annotations

from html import escape


def drawing(title: str, content: str, width: float, height: float, *, background: str = "none") -> str:
    """A whole drawing; a file of its own needs a background."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" style="background: {background}" role="img" fill="currentColor" '
        f'font-family="system-ui, sans-serif" font-size="11"><title>{escape(title)}</title>{content}</svg>'
    )


def box(x: float, y: float, width: float, height: float, colour: str, told: str = "") -> str:
    """A filled rectangle, with what is told when a pointer rests on it."""
    title = f"<title>{escape(told)}</title>" if told else ""
    size = f'width="{width:.1f}" height="{height:.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{colour}">{title}</rect>'


def text(x: float, y: float, words: str, anchor: str = "start", *, bold: bool = False) -> str:
    """Words whose start, middle or end is at x."""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'

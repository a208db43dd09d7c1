"""What a file is by its first bytes, whatever its name claims; knows nothing of pixels.

Only used to choose the words of a message and to tell HEIC apart: which parser reads a file is Pillow's own decision
among the allowed formats.
"""

from __future__ import annotations

HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

# the kinds, as `kind_of` calls them, that are damaged if no parser recognises them; all others are merely not read
READABLE_KINDS = frozenset(
    {f"a {name} picture" for name in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WebP", "HEIC")} | {"an AVIF picture"}
)

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\0\0\x01\0", "an icon"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x1aE\xdf\xa3", "a video"),
)


def kind_of(data: bytes) -> str | None:
    """What ``data`` looks like, as words with an article ("a PDF document"), or None if nothing is recognised."""
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "a WebP picture"
    if data[4:8] == b"ftyp":
        return "a HEIC picture" if is_heif(data) else "an AVIF picture" if b"avi" in data[8:40] else "a video"
    return _text_kind(data[:1024])


def is_heif(data: bytes) -> bool:
    """Whether ``data`` is HEIC or HEIF, which Pillow reads only with a plug-in; AVIF shares just the container."""
    return data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS and b"avif" not in data[8:40]


def declared_length(data: bytes) -> int:
    """How many bytes the file says it has; 0 for the formats that do not say."""
    return int.from_bytes(data[4:8], "little") + 8 if data[:4] == b"RIFF" else 0


def _text_kind(head: bytes) -> str | None:
    """Tell SVG, HTML and plain text apart; None for bytes that are no text."""
    lowered = head.lower().lstrip(b"\xef\xbb\xbf \t\r\n")
    if b"<svg" in lowered:
        return "an SVG drawing"
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not merely a letter that the cut at 1024 bytes divides
            return None
        text = head[: error.start].decode("utf-8")
    readable = text and all(letter.isprintable() or letter in "\t\r\n" for letter in text)
    return "a text file" if readable else None

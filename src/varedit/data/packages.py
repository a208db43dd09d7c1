"""Reading files out of packages without installing them: Debian packages, Python wheels, Qt resources, colour fonts.

Downloads go through the distribution's own clients (``apt-get download``, ``pip download``), whatever their set-up.
"""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import sys
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from varedit.errors import InputMissing, VAREditError

Origin = Literal["debian", "wheel"]


@dataclass(frozen=True, kw_only=True)
class UnpackedPackage:
    """A package's files below ``folder``; nothing of it has been run or installed."""

    name: str
    version: str
    folder: Path

    def copyright_text(self) -> str:
        """The Debian copyright file, or an empty text where there is none (wheels)."""
        path = self.folder / "usr" / "share" / "doc" / self.name / "copyright"
        return path.read_text("utf-8", errors="replace") if path.exists() else ""


def fetch_package(name: str, origin: Origin, workspace: Path) -> UnpackedPackage:
    """Download the package ``name`` into the folder ``workspace`` and unpack it there.

    Raises: `InputMissing` where the client is missing, or does not find or reach the package.
    """
    download = workspace / "download" / name
    download.mkdir(parents=True)
    return unpack(download_package(name, origin, download), name, workspace / "unpacked" / name)


def download_package(name: str, origin: Origin, folder: Path) -> Path:
    """Fetch the one archive of the package into the empty ``folder``."""
    if origin == "debian":
        _run(["apt-get", "download", name], name, folder)
    else:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        _run([*pip, name], name, folder)
    archives = sorted(folder.glob("*.deb" if origin == "debian" else "*.whl"))
    if len(archives) != 1:
        raise InputMissing(f"fetching {name} left {len(archives)} archives where one was expected.")
    return archives[0]


def unpack(archive: Path, name: str, folder: Path) -> UnpackedPackage:
    """Unpack a ``.deb`` or ``.whl`` archive into ``folder``, which is made."""
    folder.mkdir(parents=True)
    if archive.suffix == ".deb":
        _run(["dpkg-deb", "-x", str(archive), str(folder)], name, folder)
        version = _run(["dpkg-deb", "-f", str(archive), "Version"], name, folder).strip()
    else:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
        version = archive.name.split("-")[1]
    return UnpackedPackage(name=name, version=version, folder=folder)


def _run(command: list[str], package: str, folder: Path) -> str:
    if shutil.which(command[0]) is None:
        raise InputMissing(f"{package} needs the program {command[0]}, which this machine does not have.")
    # No shell, and the names come from our own table.
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if finished.returncode:
        reason = (finished.stderr.strip() or finished.stdout.strip() or "no reason given").splitlines()[-1]
        raise InputMissing(f"{package} could not be fetched: {reason}")
    return finished.stdout


def read_files(package: UnpackedPackage, paths: Sequence[str], archive: str | None = None) -> dict[str, bytes]:
    """Path and contents of those of the files that this version of the package holds.

    With ``archive``, the paths lie inside that file of the package: a Qt resource file (.rcc), or a colour font (.ttf),
    whose "paths" are the Unicode names of characters and whose contents are their pictures, as PNG.
    """
    if archive is None:
        return {path: (package.folder / path).read_bytes() for path in paths if (package.folder / path).is_file()}
    container = package.folder / archive
    if not container.is_file():
        return {}
    if container.suffix == ".ttf":
        return dict(font_pictures(container.read_bytes(), paths))
    return {path: contents for path, contents in qt_resources(container.read_bytes()) if path in paths}


FONT_SIZE = 109  # the one size of the bitmaps in Noto Color Emoji; FreeType offers no other


def font_pictures(font: bytes, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """(name, PNG with transparency) of those characters, given by their Unicode names, that the colour font draws."""
    drawing = ImageFont.truetype(io.BytesIO(font), FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
    for name in names:
        picture = Image.new("RGBA", (2 * FONT_SIZE, 2 * FONT_SIZE))
        ImageDraw.Draw(picture).text((0, 0), unicodedata.lookup(name), font=drawing, embedded_color=True)
        if picture.getbbox():  # a character that the font lacks leaves nothing
            # Pillow blends the glyph into transparent black, so what it leaves is multiplied by alpha.
            multiplied = Image.frombytes("RGBa", picture.size, picture.tobytes())
            encoded = io.BytesIO()
            multiplied.convert("RGBA").save(encoded, "PNG")
            yield name, encoded.getvalue()


# Qt resource files: a header of four big-endian words after the magic (version, and where the tree, the data and the
# names begin); the tree is an array of fixed-size nodes, the first of which is the root folder.
_COMPRESSED, _FOLDER, _ZSTANDARD = 1, 2, 4


def qt_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Every file (path, contents) of a binary Qt resource file; Zstandard-compressed ones are left out."""
    if data[:4] != b"qres":
        raise VAREditError("this is not a Qt resource file: it does not begin with 'qres'.")
    version, tree, contents, names = struct.unpack_from(">4I", data, 4)
    node_size = 14 if version == 1 else 22  # later versions append a modification time
    folders = [(0, "")]
    while folders:
        index, prefix = folders.pop()
        count, first = struct.unpack_from(">2I", data, tree + index * node_size + 6)
        for child in range(first, first + count):
            node = tree + child * node_size
            name_offset, flags = struct.unpack_from(">IH", data, node)
            path = prefix + _qt_name(data, names + name_offset)
            if flags & _FOLDER:
                folders.append((child, path + "/"))
            elif not flags & _ZSTANDARD:
                (offset,) = struct.unpack_from(">I", data, node + 10)
                (length,) = struct.unpack_from(">I", data, contents + offset)
                body = data[contents + offset + 4 : contents + offset + 4 + length]
                yield path, zlib.decompress(body[4:]) if flags & _COMPRESSED else body


def _qt_name(data: bytes, offset: int) -> str:
    (length,) = struct.unpack_from(">H", data, offset)
    return data[offset + 6 : offset + 6 + 2 * length].decode("utf-16-be")  # two bytes length, four bytes hash

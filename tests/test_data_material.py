"""Fetching image material: reading packages, finding licences, dropping duplicates, writing the lists. No network."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import subprocess
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from varedit.data import material
from varedit.data.licences import is_permissive, licence_of
from varedit.data.material import fetch_material, file_stem, picture_hash, shrunk
from varedit.data.material_table import PackageSource, PictureGroup, choose_sources, material_sources
from varedit.data.packages import FONT_SIZE, UnpackedPackage, qt_resources, read_files, unpack
from varedit.errors import InputMissing, UsageError

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020 Someone
License: GPL-3+
 A text that begins here

Files: pictures/a.jpg
       pictures/sea*.jpg
Copyright: 2021 Someone Else
License: CC-BY-4.0

Files: pictures/seal.jpg
License: CC0-1.0
"""


CONTROL = """\
Package: tiny
Version: 1:2.3-4
Architecture: all
Maintainer: Someone <someone@example.org>
Description: a package of one picture
"""


def picture(seed: int, size: tuple[int, int] = (60, 40)) -> Image.Image:
    blobs = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize(size, Image.Resampling.BICUBIC)


def png(image: Image.Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()


def qt_resource_file(files: dict[str, bytes], compressed: set[str]) -> bytes:
    """A version-3 resource file with one folder per file, written after the format's description."""
    names, contents, nodes = b"", b"", []

    def name(text: str) -> int:
        nonlocal names
        offset = len(names)
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
        return offset

    paths = [path.split("/") for path in files]
    nodes.append(struct.pack(">IHII", 0, 2, len(files), 1) + bytes(8))
    for position, (folder, _) in enumerate(paths):
        nodes.append(struct.pack(">IHII", name(folder), 2, 1, 1 + len(files) + position) + bytes(8))
    for (_, file), body in zip(paths, files.values(), strict=True):
        flags = 1 if file in compressed else 0
        nodes.append(struct.pack(">IHHHI", name(file), flags, 0, 0, len(contents)) + bytes(8))
        stored = struct.pack(">I", len(body)) + zlib.compress(body) if flags else body
        contents += struct.pack(">I", len(stored)) + stored
    tree = b"".join(nodes)
    start = 24
    offsets = (start, start + len(tree), start + len(tree) + len(contents))
    return b"qres" + struct.pack(">5I", 3, *offsets, 0) + tree + contents + names


def test_qt_resources_are_read_plain_and_compressed() -> None:
    files = {"sea/whale.webp": b"a whale" * 9, "land/goat.webp": b"a goat"}
    assert dict(qt_resources(qt_resource_file(files, compressed={"whale.webp"}))) == files


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="Debian packages are unpacked by Debian's own tool")
def test_a_debian_package_is_unpacked(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for path, body in {
        "DEBIAN/control": CONTROL.encode(),
        "usr/share/doc/tiny/copyright": COPYRIGHT.encode(),
        "usr/share/pictures/a.jpg": b"picture",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(body)
    subprocess.run(["dpkg-deb", "--build", str(root), str(tmp_path / "tiny.deb")], check=True, capture_output=True)
    package = unpack(tmp_path / "tiny.deb", "tiny", tmp_path / "out")
    assert (package.name, package.version) == ("tiny", "1:2.3-4")
    assert package.copyright_text() == COPYRIGHT
    assert read_files(package, ["usr/share/pictures/a.jpg", "b.jpg"]) == {"usr/share/pictures/a.jpg": b"picture"}


def test_a_wheel_is_unpacked_and_resources_inside_are_found(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tiny_package-4.5.6-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny/all.rcc", qt_resource_file({"sea/whale.webp": b"a whale"}, compressed=set()))
    package = unpack(tmp_path / "tiny_package-4.5.6-py3-none-any.whl", "tiny-package", tmp_path / "out")
    assert package.version == "4.5.6" and package.copyright_text() == ""
    assert read_files(package, ["sea/whale.webp", "sea/shark.webp"], "tiny/all.rcc") == {"sea/whale.webp": b"a whale"}
    assert read_files(package, ["sea/whale.webp"], "tiny/none.rcc") == {}


def test_characters_of_a_font_are_read_by_their_unicode_names(tmp_path: Path) -> None:
    font = ImageFont.load_default(FONT_SIZE)
    assert isinstance(font, ImageFont.FreeTypeFont)
    (tmp_path / "tiny.ttf").write_bytes(font.font_bytes)
    package = UnpackedPackage(name="tiny", version="1", folder=tmp_path)
    read = read_files(package, ["latin small letter i", "space", "QUESTION MARK"], "tiny.ttf")
    assert list(read) == [
        "latin small letter i",
        "QUESTION MARK",
    ]  # nothing is drawn for a space, nor for a lacking one
    for name, character in (("latin small letter i", "i"), ("QUESTION MARK", "?")):
        expected = Image.new("RGBA", (300, 300))
        ImageDraw.Draw(expected).text((50, 50), character, font=font)
        with Image.open(io.BytesIO(read[name])) as image:  # white to its faintest edge
            assert image.crop(image.getbbox()).tobytes() == expected.crop(expected.getbbox()).tobytes()


@pytest.mark.parametrize(
    ("path", "licence"),
    [
        ("pictures/a", "CC-BY-4.0"),  # converted to another format since
        ("pictures/sea3.jpg", "CC-BY-4.0"),
        ("pictures/seal.webp", "CC0-1.0"),  # the last paragraph that matches wins
        ("pictures/b.jpg", "GPL-3+"),
    ],
)
def test_the_licence_is_that_of_the_last_matching_paragraph(path: str, licence: str) -> None:
    assert licence_of(COPYRIGHT, path) == licence


def test_a_silent_copyright_file_is_told_apart() -> None:
    assert licence_of("just words", "a.jpg") is None


def test_permissive_licences_ask_for_credit_at_most() -> None:
    permissive = ["CC0", "CC0-1.0", "public-domain", "CC-BY-4.0", "CC-BY-1.0", "OFL-1.1"]
    others = ["CC-BY-SA-3.0", "CC-BY-NC-SA-1.0", "CC-BY-ND-4.0", "GPL-2+", "GFDL-NIV-1.2", "LGPL-3", "not stated"]
    assert [licence for licence in permissive + others if is_permissive(licence)] == permissive


def test_pictures_are_shrunk_but_never_enlarged() -> None:
    assert shrunk(Image.new("RGB", (3000, 2048))).size == (1500, 1024)
    assert shrunk(Image.new("P", (50, 30))).size == (50, 30)
    assert shrunk(Image.new("P", (50, 30))).mode == "RGB"


def test_the_hash_survives_scaling_and_tells_pictures_apart() -> None:
    large = picture(0, (640, 400))
    small = large.resize((160, 100), Image.Resampling.LANCZOS)
    assert (picture_hash(large) ^ picture_hash(small)).bit_count() <= 3
    distances = [(picture_hash(picture(a)) ^ picture_hash(picture(b))).bit_count() for a in range(9) for b in range(a)]
    assert min(distances) > material.DUPLICATE_DISTANCE


def test_file_names_tell_package_label_and_picture() -> None:
    assert file_stem("some-package", None, "HR_Cork 02") == "some-package-HR_Cork_02"
    assert file_stem("some-package", "things", "fishes/fish1.png") == "some-package-things-fishes-fish1"
    assert file_stem("wallpapers-16.04", None, "v1.5_dusk.jpg") == "wallpapers-16.04-v1.5_dusk"
    assert file_stem("some-font", None, "fire engine", "fire truck") == "fire_truck--some-font-fire_engine"


def test_the_table_is_sound() -> None:
    stems = []
    for source in material_sources():
        for group in source.groups:
            assert (group.licence is None) != (group.copyright is None), (source.package, group.label)
            assert group.kind in material.FOLDERS and source.origin in ("debian", "wheel")
            assert set(group.nouns) == (set(group.names) if group.kind == "cutout" else set())
            if group.archive and group.archive.endswith(".ttf"):
                assert all(len(unicodedata.lookup(name)) == 1 for name in group.names)
            stems += [file_stem(source.package, group.label, name, group.nouns.get(name)) for name in group.names]
    assert len(stems) == len(set(stems)) > 500


def test_sources_are_chosen_by_name_and_unknown_ones_are_told() -> None:
    known = material_sources()
    assert tuple(choose_sources(known, None)) == known
    assert [source.package for source in choose_sources(known, ["scikit-image", "mate-backgrounds"])] == [
        "mate-backgrounds",
        "scikit-image",
    ]
    with pytest.raises(UsageError, match="'no-such-package'"):
        choose_sources(known, ["no-such-package"])
    with pytest.raises(UsageError, match="empty"):
        choose_sources(known, [])


def test_packages_known_to_hold_nothing_permissive_are_not_downloaded() -> None:
    known = material_sources()
    emoji, stamps = "fonts-noto-color-emoji", "tuxpaint-stamps-default"
    assert [source.package for source in choose_sources(known, [stamps, emoji], permissive_only=True)] == [emoji]
    by_picture = choose_sources(known, ["gcompris-qt-data"], permissive_only=True)  # each picture has its own licence
    assert by_picture == choose_sources(known, ["gcompris-qt-data"])
    with pytest.raises(UsageError, match="tuxpaint-stamps-default is under a permissive licence"):
        choose_sources(known, [stamps], permissive_only=True)


@pytest.fixture
def tiny_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packages of which one can be had; it lacks one picture and has one twice, which is a cut-out as well."""
    folder = tmp_path / "unpacked"
    for path, body in {
        "a.png": png(picture(0)),
        "seal.png": png(picture(1)),
        "a-large.png": png(picture(0, (120, 80))),
        "paper.png": png(picture(0)),
        "usr/share/doc/tiny/copyright": COPYRIGHT.encode(),
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)
    group = PictureGroup(
        kind="photograph", path="{name}.png", copyright="pictures/{name}", names=("a", "a-large", "seal", "gone")
    )
    paper = PictureGroup(kind="texture", path="{name}.png", licence="GPL-2", names=("paper",))
    toys = PictureGroup(
        kind="cutout", path="{name}.png", licence="OFL-1.1", names=("a", "seal"), nouns={"a": "toy car", "seal": "seal"}
    )
    tiny = PackageSource(package="tiny", origin="debian", groups=(group, paper, toys))
    lost = PackageSource(package="lost", origin="wheel", groups=(group,))

    def fetch(name: str, origin: str, workspace: Path) -> UnpackedPackage:
        if name == "lost":
            raise InputMissing("lost could not be fetched: nowhere to be found")
        return UnpackedPackage(name=name, version="1.2", folder=folder)

    monkeypatch.setattr(material, "fetch_package", fetch)
    monkeypatch.setattr(material, "material_sources", lambda: (tiny, lost))


@pytest.mark.usefixtures("tiny_packages")
def test_material_is_written_with_its_lists(tmp_path: Path) -> None:
    out = tmp_path / "out"
    progress = []
    report = fetch_material(out, on_progress=lambda *step: progress.append(step))
    assert progress == [("tiny", 0, 2), ("lost", 1, 2)]
    assert [file.file for file in report.files] == [
        "cutouts/seal--tiny-seal.png",
        "photographs/tiny-a-large.jpg",
        "textures/tiny-paper.jpg",
        "photographs/tiny-seal.jpg",
        "cutouts/toy_car--tiny-a.png",
    ]
    assert (report.num_photographs, report.num_cutouts) == (2, 2)
    assert report.duplicates == ("tiny-a",) and report.missing == ("tiny 1.2: gone.png",)
    assert report.unavailable == ("lost could not be fetched: nowhere to be found",)

    manifest = {entry["file"]: entry for entry in json.loads((out / "manifest.json").read_text())}
    for file, entry in manifest.items():
        assert hashlib.sha256((out / file).read_bytes()).hexdigest() == entry["sha256"]
    seal = manifest["photographs/tiny-seal.jpg"]
    assert (seal["licence"], seal["permissive"], seal["version"]) == ("CC0-1.0", True, "1.2")
    assert manifest["photographs/tiny-a-large.jpg"]["licence"] == "GPL-3+"
    toy = manifest["cutouts/toy_car--tiny-a.png"]
    assert (toy["noun"], toy["kind"], toy["split"], toy["permissive"]) == ("toy car", "cutout", "held_out", True)
    assert "noun" not in seal
    with Image.open(out / "photographs/tiny-seal.jpg") as written:
        difference = np.abs(np.asarray(written).astype(int) - np.asarray(picture(1)))
    assert difference.mean() < 4  # JPEG at quality 95
    assert "| textures/tiny-paper.jpg | GPL-2 |" in (out / "LICENCES.md").read_text()


@pytest.mark.usefixtures("tiny_packages")
def test_a_stricter_second_call_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    fetch_material(tmp_path / "out")
    (tmp_path / "out/photographs/my-own.jpg").write_bytes(b"not ours to delete")
    fetch_material(tmp_path / "out", permissive_only=True)
    left = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert left == [
        *("LICENCES.md", "manifest.json", "my-own.jpg", "seal--tiny-seal.png", "tiny-a.jpg", "tiny-seal.jpg"),
        "toy_car--tiny-a.png",
    ]


@pytest.mark.usefixtures("tiny_packages")
def test_a_picture_that_stays_is_never_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_material(tmp_path / "out")
    seal, seen = tmp_path / "out/photographs/tiny-seal.jpg", []
    write_bytes = Path.write_bytes

    def watched(path: Path, data: bytes) -> int:
        seen.append(seal.stat().st_size)  # an error where the picture is away for a moment
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", watched)
    fetch_material(tmp_path / "out", permissive_only=True)
    assert len(seen) > 4 and set(seen) == {seal.stat().st_size}


@pytest.mark.usefixtures("tiny_packages")
def test_no_package_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="nowhere to be found"):
        fetch_material(tmp_path / "out", sources=["lost"])

"""Fetches the photographs, textures and cut-outs that training starts from, out of Linux and Python packages.

Which pictures, and why those, is in `material.toml` and `cutouts.toml`. Nothing of them is shipped with
this package: everyone fetches them again, with the licences written beside them.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from varedit.data.cutouts import cut_out
from varedit.data.licences import is_permissive, licence_of
from varedit.data.material_table import Kind, PackageSource, PictureGroup, choose_sources, material_sources
from varedit.data.packages import UnpackedPackage, fetch_package, read_files
from varedit.data.splits import NounSplit, Split, noun_split, split_of
from varedit.errors import InputMissing, OutputError

logger = logging.getLogger(__name__)

FOLDERS: dict[Kind, str] = {"photograph": "photographs", "texture": "textures", "cutout": "cutouts"}
LARGEST_SHORT_SIDE = 1024  # pixels
JPEG_QUALITY = 95
DUPLICATE_DISTANCE = 6  # differing bits of 64, at most, between two sizes or encodings of one picture

OnProgress = Callable[[str, int, int], None]  # package, packages done, packages in all


@dataclass(frozen=True, kw_only=True)
class MaterialFile:
    """One picture that was written, as `manifest.json` lists it."""

    file: str  # below the output folder
    kind: Kind
    split: Split | NounSplit
    package: str
    version: str
    source: str  # path inside the package
    licence: str
    permissive: bool
    sha256: str  # of the written file
    noun: str | None = None  # of cut-outs: what the picture shows


@dataclass(frozen=True, kw_only=True)
class MaterialReport:
    """What `fetch_material` wrote, and what it could not or would not write, each with the reason."""

    files: tuple[MaterialFile, ...]
    unavailable: tuple[str, ...] = ()  # packages
    missing: tuple[str, ...] = ()  # listed pictures that this version of a package lacks
    duplicates: tuple[str, ...] = ()  # pictures already there in a larger copy

    @property
    def num_photographs(self) -> int:
        return sum(file.kind == "photograph" for file in self.files)

    @property
    def num_cutouts(self) -> int:
        return sum(file.kind == "cutout" for file in self.files)


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A picture on its way to the output folder."""

    name: str  # file stem
    kind: Kind
    package: UnpackedPackage
    source: str
    licence: str
    noun: str | None
    source_pixels: int
    fingerprint: int
    suffix: str
    encoded: bytes


def fetch_material(
    out: Path,
    *,
    sources: Sequence[str] | None = None,
    permissive_only: bool = False,
    on_progress: OnProgress | None = None,
) -> MaterialReport:
    """Fetch the listed packages and write their pictures.

    Photographs and textures become RGB JPEG files with a short side of at most 1024 pixels, cut-outs RGBA PNG files
    with a longest side of at most 96. Writes ``out/photographs``, ``out/textures``, ``out/cutouts``,
    ``out/LICENCES.md`` and ``out/manifest.json``. What an earlier call wrote there is replaced. A package that cannot
    be had is reported, and the others are fetched all the same.

    Args:
        sources: names of packages out of the tables; None takes all of them.
        permissive_only: keep only what asks for nothing but credit (`is_permissive`).

    Raises: `UsageError` for an unknown package or where nothing is permissive, `InputMissing` if no package could be
        fetched, `OutputError`.
    """
    chosen = choose_sources(material_sources(), sources, permissive_only=permissive_only)
    candidates: list[_Candidate] = []
    unavailable: list[str] = []
    missing: list[str] = []
    for done, source in enumerate(chosen):
        if on_progress:
            on_progress(source.package, done, len(chosen))
        with tempfile.TemporaryDirectory(prefix="varedit-material-") as workspace:
            try:
                package = fetch_package(source.package, source.origin, Path(workspace))
            except InputMissing as error:
                logger.warning("%s", error)
                unavailable.append(str(error))
                continue
            candidates += _pictures(package, source, permissive_only, missing)
    if len(unavailable) == len(chosen):
        raise InputMissing(f"No package could be fetched ({unavailable[-1]}). Run 'apt-get update' once and try again.")
    kept, duplicates = without_duplicates(candidates)
    return MaterialReport(
        files=tuple(_write(out, kept)),
        unavailable=tuple(unavailable),
        missing=tuple(missing),
        duplicates=tuple(duplicate.name for duplicate in duplicates),
    )


def _pictures(
    package: UnpackedPackage, source: PackageSource, permissive_only: bool, missing: list[str]
) -> Iterator[_Candidate]:
    """Decode the listed pictures of one package; what this version lacks is added to ``missing``."""
    for group in source.groups:
        paths = {name: group.path.format(name=name) for name in group.names}
        contents = read_files(package, tuple(paths.values()), group.archive)
        missing += [f"{package.name} {package.version}: {path}" for path in paths.values() if path not in contents]
        for name, path in paths.items():
            licence = _licence(package, group, name)
            if path in contents and (is_permissive(licence) or not permissive_only):
                yield _candidate(contents[path], package, group, name, licence)


def _candidate(contents: bytes, package: UnpackedPackage, group: PictureGroup, name: str, licence: str) -> _Candidate:
    noun = group.nouns.get(name)
    with Image.open(io.BytesIO(contents)) as image:
        source_pixels = image.width * image.height
        picture = shrunk(image) if noun is None else cut_out(image)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG" if noun is None else "PNG", quality=JPEG_QUALITY)
    return _Candidate(
        name=file_stem(package.name, group.label, name, noun),
        kind=group.kind,
        package=package,
        source=":".join(part for part in (group.archive, group.path.format(name=name)) if part),
        licence=licence,
        source_pixels=source_pixels,
        noun=noun,
        fingerprint=picture_hash(picture),
        suffix=".jpg" if noun is None else ".png",
        encoded=encoded.getvalue(),
    )


def _licence(package: UnpackedPackage, group: PictureGroup, name: str) -> str:
    if group.licence is not None:
        return group.licence
    assert group.copyright is not None, f"a group of {package.name} names neither licence nor copyright"
    return licence_of(package.copyright_text(), group.copyright.format(name=name)) or "not stated"


def file_stem(package: str, label: str | None, name: str, noun: str | None = None) -> str:
    """The stem of the written file: package, label of the group and name of the picture, joined by hyphens.

    Cut-outs have their noun and two hyphens before it.
    """
    path = PurePosixPath(name)
    bare = path.with_suffix("") if path.suffix in (".jpg", ".png") else path
    stem = "-".join(part for part in (package, label, *bare.parts) if part)
    return (stem if noun is None else f"{noun}--{stem}").replace(" ", "_")


def shrunk(image: Image.Image) -> Image.Image:
    """The picture upright, in RGB, its short side at most 1024 pixels; smaller ones keep their size."""
    upright = ImageOps.exif_transpose(image).convert("RGB")
    scale = LARGEST_SHORT_SIDE / min(upright.size)
    if scale >= 1:
        return upright
    width, height = (round(side * scale) for side in upright.size)
    return upright.resize((width, height), Image.Resampling.LANCZOS)


def picture_hash(image: Image.Image) -> int:
    """64 bits that survive scaling and re-encoding: whether each of 8x8 cells is darker than its right neighbour."""
    cells = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (cells[:, 1:] > cells[:, :-1]).flatten()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def without_duplicates(candidates: Sequence[_Candidate]) -> tuple[list[_Candidate], list[_Candidate]]:
    """(kept, dropped): of photographs that look alike, the one with most pixels is kept; textures are left alone.

    Two copies of one photograph could otherwise land in two splits.
    """
    kept: list[_Candidate] = []
    dropped: list[_Candidate] = []
    for candidate in sorted(candidates, key=lambda candidate: (-candidate.source_pixels, candidate.name)):
        alike = candidate.kind == "photograph" and any(
            other.kind == "photograph" and (other.fingerprint ^ candidate.fingerprint).bit_count() <= DUPLICATE_DISTANCE
            for other in kept
        )
        (dropped if alike else kept).append(candidate)
    return sorted(kept, key=lambda candidate: candidate.name), dropped


def _write(out: Path, candidates: Iterable[_Candidate]) -> list[MaterialFile]:
    """Replace the pictures and the lists of an earlier call by these; what stays is never absent."""
    manifest = out / "manifest.json"
    try:
        earlier = {entry["file"] for entry in json.loads(manifest.read_text("utf-8"))} if manifest.exists() else set()
        for folder in FOLDERS.values():
            (out / folder).mkdir(parents=True, exist_ok=True)
        files = [_write_picture(out, candidate) for candidate in candidates]
        _write_whole(manifest, (json.dumps([_entry(file) for file in files], indent=1) + "\n").encode())
        _write_whole(out / "LICENCES.md", licences_page(files).encode())
        for file in earlier - {file.file for file in files}:
            (out / file).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error}.") from error
    return files


def _entry(file: MaterialFile) -> dict[str, object]:
    return {name: value for name, value in asdict(file).items() if value is not None}


def _write_picture(out: Path, candidate: _Candidate) -> MaterialFile:
    file = f"{FOLDERS[candidate.kind]}/{candidate.name}{candidate.suffix}"
    _write_whole(out / file, candidate.encoded)
    return MaterialFile(
        file=file,
        kind=candidate.kind,
        split=split_of(candidate.name) if candidate.noun is None else noun_split(candidate.noun),
        package=candidate.package.name,
        version=candidate.package.version,
        source=candidate.source,
        licence=candidate.licence,
        permissive=is_permissive(candidate.licence),
        sha256=hashlib.sha256(candidate.encoded).hexdigest(),
        noun=candidate.noun,
    )


def _write_whole(path: Path, contents: bytes) -> None:
    """Whoever reads ``path`` meanwhile, such as a training, finds the old file or the new one."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_bytes(contents)
    temporary.replace(path)


def licences_page(files: Sequence[MaterialFile]) -> str:
    """A Markdown page: every package with its version, every picture with the licence that the package states."""
    lines = ["# Licences of these pictures", "", "All were re-encoded, large ones shrunk, cut-outs cropped.", ""]
    for package, version in sorted({(file.package, file.version) for file in files}):
        lines += [f"## {package} {version}", "", "| file | licence |", "| --- | --- |"]
        lines += [f"| {file.file} | {file.licence} |" for file in files if file.package == package]
        lines.append("")
    return "\n".join(lines)

"""What a job of many edits consists of: the edits of a folder or a JSONL file, each with a name, a seed and a result.

Opens no picture and no model. Everything that can be wrong with a list is told before the first edit, with its line.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Self

from varedit.errors import InputMissing, UsageError
from varedit.output import FORMAT_OF_SUFFIX
from varedit.requests import MAX_SEED
from varedit.sampling import SamplingSettings
from varedit.text import clean_instruction

READ_SUFFIXES = frozenset({*FORMAT_OF_SUFFIX, ".gif", ".bmp", ".heic", ".heif", ".jfif", ".mpo"})
_FIELDS = ("image", "instruction", "seed", "mask", "output", "guidance", "temperature", "id")  # of a JSONL line


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One edit of a job.

    Attributes:
        id: unique in the job; the seed comes of it.
        image: file, absolute.
        instruction: without control characters.
        output: file below the folder of results, with forward slashes; unique in the job.
        seed: None until `seeded` derives one.
        mask: file, absolute; None allows changes everywhere.
        guidance, temperature: one number or one per scale; None for the job's own.
    """

    id: str
    image: Path
    instruction: str
    output: str
    seed: int | None = None
    mask: Path | None = None
    guidance: float | list[float] | None = None
    temperature: float | list[float] | None = None

    def to_json(self) -> str:
        """One line, from which `from_json` makes the edit again on another machine."""
        return json.dumps(asdict(self), default=str)  # in ASCII, as names may hold bytes of no encoding

    @classmethod
    def from_json(cls, line: str) -> Self:
        """What `to_json` wrote."""
        values = json.loads(line)
        mask = values.pop("mask")
        return cls(image=Path(values.pop("image")), mask=None if mask is None else Path(mask), **values)


def edits_of_folder(folder: Path, instruction: str, out: Path, *, mask: Path | None = None) -> list[Edit]:
    """One edit for each picture below ``folder``, in the order of their names; which they are, their suffixes say.

    Results keep the names and subfolders of the pictures; a kind that is not written (GIF, BMP, HEIC) gets ".png"
    added. The folder of results is left out if it lies inside, and so are hidden files.

    Raises: UsageError, for an empty instruction; InputMissing, for a folder that has no pictures or cannot be read.
    """
    instruction = clean_instruction(instruction)
    edits = []
    for path in _pictures(folder.absolute(), out.absolute()):
        output = path.relative_to(folder.absolute()).as_posix()
        if path.suffix.lower() not in FORMAT_OF_SUFFIX:
            output += ".png"
        edits.append(Edit(id=output, image=path, instruction=instruction, output=output, mask=_absolute(mask)))
    if not edits:
        raise InputMissing(f"there are no pictures in {folder}, by the suffixes of its files")
    return _checked(edits, str(folder), out)


def edits_of_file(path: Path, out: Path, *, mask: Path | None = None) -> list[Edit]:
    """The edits of a JSONL file, one object a line.

    Each has "image" (a path, relative to the file) and "instruction", and may have "seed", "mask" (a path, as above),
    "output" (a file below ``out``), "guidance", "temperature" and "id". The result is called "output", or after the id,
    or after the image.

    Raises:
        InputMissing: the file cannot be read, or holds no edit.
        UsageError: a line is not such an object, or two lines would write one result.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputMissing(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from error
    edits = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                edits.append(_edit(_object(line), path.absolute().parent, _absolute(mask)))
            except UsageError as error:
                raise UsageError(f"{path} line {number}: {error}") from error
    if not edits:
        raise InputMissing(f'{path} holds no edit; a line is like {{"image": ..., "instruction": ...}}')
    return _checked(edits, str(path), out)


def seeded(edits: Iterable[Edit], seed: int) -> list[Edit]:
    """Edits with a seed each: its own, or one derived from the job's seed and its id, in whatever order they run."""
    return [edit if edit.seed is not None else replace(edit, seed=_derived(seed, edit.id)) for edit in edits]


def _derived(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") & MAX_SEED


def _pictures(folder: Path, out: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and Path(parent, name) != out)
        for name in sorted(files):
            if Path(name).suffix.lower() in READ_SUFFIXES and not name.startswith("."):
                yield Path(parent, name)


def _unreadable(error: OSError) -> None:
    raise InputMissing(f"the folder {error.filename} cannot be read: {error.strerror}") from error


def _object(line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError("it is not JSON; one object a line is read") from error
    if not isinstance(values, dict):
        raise UsageError("it is not an object in braces")
    for name in ("image", "instruction"):
        if name not in values:
            raise UsageError(f'it has no "{name}"')
    for name in values:
        if name not in _FIELDS:
            raise UsageError(f"it has {name!r}; known are {', '.join(_FIELDS)}")
    return {name: value for name, value in values.items() if value is not None}


def _edit(values: dict[str, Any], folder: Path, mask: Path | None) -> Edit:
    image = _path(values, "image", folder)
    name = _name(values)
    output = values.get("output", _file_name(image, name))
    if not isinstance(output, str):
        raise UsageError('"output" must be the name of a file')
    seed = values.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED):
        raise UsageError(f"a seed must be a whole number from 0 to 2**63 - 1, not {seed!r}")
    numbers: dict[str, Any] = {key: _number(values, key) for key in ("guidance", "temperature") if key in values}
    SamplingSettings(**numbers)  # says what no model takes
    return Edit(
        id=output if name is None else name,
        image=image,
        instruction=clean_instruction(values["instruction"]),
        output=output,
        seed=seed,
        mask=_path(values, "mask", folder) if "mask" in values else mask,
        **numbers,
    )


def _path(values: dict[str, Any], key: str, folder: Path) -> Path:
    if not isinstance(values[key], str) or not values[key] or "\0" in values[key]:
        raise UsageError(f'"{key}" must be the path of a file, not {values[key]!r}')
    return folder / str(values[key])


def _name(values: dict[str, Any]) -> str | None:
    name = values.get("id")
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    if name is not None and (not isinstance(name, str) or not name):
        raise UsageError(f'"id" must be a name or a whole number, not {name!r}')
    return name


def _number(values: dict[str, Any], key: str) -> float | list[float]:
    numbers = values[key] if isinstance(values[key], list) else [values[key]]
    if not numbers or any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        raise UsageError(f'"{key}" must be a number, or a list of one for each scale, not {values[key]!r}')
    return [float(number) for number in numbers] if isinstance(values[key], list) else float(numbers[0])


def _file_name(image: Path, name: str | None) -> str:
    """The result's name, of the edit's id or of its image, in a format that is written."""
    is_written = image.suffix.lower() in FORMAT_OF_SUFFIX
    if name is None:
        return image.name if is_written else f"{image.name}.png"
    return f"{name}{image.suffix if is_written else '.png'}"


def _checked(edits: list[Edit], source: str, out: Path) -> list[Edit]:
    """The edits, if no two have one name and every result lies below ``out`` and replaces no picture of the job."""
    root = Path(os.path.normpath(out.absolute()))
    images = {Path(os.path.normpath(edit.image)) for edit in edits}
    ids: set[str] = set()
    outputs: set[str] = set()
    for edit in edits:
        path = PurePosixPath(edit.output)
        is_below = not path.is_absolute() and ".." not in path.parts and "\0" not in edit.output
        if not is_below or edit.output.startswith("."):
            raise UsageError(f"{source}: the result {edit.output!r} must be a file below {out}, such as a/b.png")
        if path.suffix.lower() not in FORMAT_OF_SUFFIX:
            known = ", ".join(suffix.removeprefix(".") for suffix in FORMAT_OF_SUFFIX)
            raise UsageError(f"{source}: the result {edit.output} has no known suffix; known are {known}")
        if str(path) in outputs or edit.id in ids:
            raise UsageError(f'{source}: two edits are called {edit.id} or write {path}; give them an "id" each')
        if root / path in images:
            raise UsageError(f"{source}: the result {path} would replace a photograph; give -o another folder")
        ids.add(edit.id)
        outputs.add(str(path))
    return edits


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()

"""From the arguments of `varedit edit` to a list of jobs: which image goes in, which files come out.

Knows names and folders only; opens no image and no model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from varedit.errors import InputMissing, UsageError

PIPE = "-"  # stdin as an image, stdout as a result


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image to edit and the files to write."""

    source: str  # a path, or PIPE
    output: str  # a path, or PIPE
    compare: Path | None
    region: Path | None
    previews: Path | None  # folder

    @property
    def stem(self) -> str:
        """Name of the source without folder and suffix."""
        return _stem(self.source)

    @property
    def files(self) -> list[Path]:
        """The files that this job writes, previews excepted."""
        output = [] if self.output == PIPE else [Path(self.output)]
        return output + [path for path in (self.compare, self.region) if path is not None]

    def preview_file(self, scale: int) -> Path:
        """Where the preview after scale number ``scale`` (from 1) goes."""
        assert self.previews is not None, "this job asked for no previews"
        return self.previews / f"{self.stem}-scale-{scale:02d}.png"


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The output options as they were typed: file names, folders or patterns."""

    output: str
    compare: str | None = None
    region: str | None = None
    previews: Path | None = None


def names_many(arguments: tuple[str, ...], output: str) -> bool:
    """Whether a call names a folder of images with an instruction, or a list of edits, instead of images.

    A folder whose result is to be one picture is a slip; `plan` says so.
    """
    if len(arguments) == 2 and _is_folder(arguments[0]):
        return not names_picture(output)
    return 1 <= len(arguments) <= 2 and is_list(arguments[0])


def is_list(name: str) -> bool:
    """Whether a name is that of a file of edits."""
    return name.lower().endswith(".jsonl")


def names_picture(output: str) -> bool:
    """Whether an output names one picture, or many by a pattern, instead of a folder."""
    from varedit.output import FORMAT_OF_SUFFIX

    has_suffix = Path(output).suffix.lower() in (*FORMAT_OF_SUFFIX, ".{ext}")
    return output == PIPE or (has_suffix and not output.endswith("/") and not _is_folder(output))


def split_instruction(arguments: tuple[str, ...]) -> tuple[list[str], str]:
    """Images and instruction. Raises UsageError where the last argument is plainly not an instruction."""
    if len(arguments) < 2:
        raise UsageError('an edit needs an image and an instruction: varedit edit photo.jpg "make it warmer"')
    *sources, instruction = arguments
    if _is_file(instruction):
        raise UsageError(f"the last argument must be the instruction, but {instruction} is a file")
    return sources, instruction


def plan(sources: list[str], targets: Targets, *, seed: int) -> list[Job]:
    """One job an image. Raises InputMissing or UsageError before anything is opened or written."""
    for source in sources:
        if source != PIPE and not _is_file(source):
            raise InputMissing(f"the image {source or 'without a name'} {_trouble(source)}")
    if sources.count(PIPE) > 1:
        raise UsageError("stdin holds one image; give '-' once")
    if targets.output == PIPE and len(sources) > 1:
        raise UsageError(f"stdout holds one result, but there are {len(sources)} images; give -o a folder or a pattern")

    jobs = []
    for source in sources:
        name = _Name(source, seed, is_one_of_many=len(sources) > 1)
        jobs.append(
            Job(
                source=source,
                output=targets.output if targets.output == PIPE else str(name.fill(targets.output, "--output")),
                compare=None if targets.compare is None else name.fill(targets.compare, "--compare"),
                region=None if targets.region is None else name.fill(targets.region, "--show-region", extension="png"),
                previews=targets.previews,
            )
        )
    _require_distinct([path for job in jobs for path in job.files])
    if targets.previews and len({job.stem for job in jobs}) < len(jobs):
        raise UsageError("two images have the same name, so their previews would share files; edit them one by one")
    return jobs


@dataclass(frozen=True)
class _Name:
    """Fills a pattern for one image."""

    source: str
    seed: int
    is_one_of_many: bool

    def fill(self, pattern: str, option: str, *, extension: str | None = None) -> Path:
        """The file that ``pattern`` (a file, a folder, or a name with {stem}, {seed}, {ext}) means for this image."""
        if not pattern:  # of a variable that was never set; as a folder it would be the root
            raise UsageError(f"{option} is empty; name a file")
        if pattern.endswith("/") or _is_folder(pattern):
            pattern = f"{pattern.rstrip('/')}/{{stem}}.{{ext}}"
        words = {"stem": _stem(self.source), "seed": str(self.seed), "ext": extension or self._extension}
        unknown = sorted(set(re.findall(r"\{(\w*)\}", pattern)) - set(words))
        if unknown:
            known = ", ".join(f"{{{word}}}" for word in words)
            raise UsageError(f"{option} {pattern} uses {{{unknown[0]}}}; the words of a pattern are {known}")
        if self.is_one_of_many and "{stem}" not in pattern:
            raise UsageError(f"several images need a folder or a pattern such as '{option} out/{{stem}}.{{ext}}'")
        return Path(re.sub(r"\{(\w+)\}", lambda match: words[match[1]], pattern))

    @property
    def _extension(self) -> str:
        from varedit.output import FORMAT_OF_SUFFIX

        suffix = Path(self.source).suffix.lower()
        return suffix.removeprefix(".") if suffix in FORMAT_OF_SUFFIX else "png"


def _stem(source: str) -> str:
    return "image" if source == PIPE else Path(source).stem


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # too long for a name, or with a NUL: an instruction, not a file
        return False


def _is_folder(name: str) -> bool:
    try:
        return bool(name) and Path(name).is_dir()  # no name would be the present folder
    except (OSError, ValueError):  # as above
        return False


def _trouble(name: str) -> str:
    """What is wrong with the name of an image that is no file."""
    try:
        if _is_folder(name):
            return "is not a file; the results of a folder of images need a folder, such as -o out/"
        return "is not a file" if name and Path(name).exists() else "does not exist"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _require_distinct(paths: list[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path.absolute() in seen:
            raise UsageError(
                f"two results would be written to {path}; name them apart, as 'out/{{stem}}-{{seed}}.{{ext}}'"
            )
        seen.add(path.absolute())

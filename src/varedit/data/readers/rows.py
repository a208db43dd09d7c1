"""What a row of each known set means: a row and the place where it was found to the editing examples that it holds.

One function a layout, named after the set that it is from; spec "datasets" has a section on each. A session of several
turns becomes single turns, each from the picture before to the picture after.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from varedit.data.readers.fields import Place, Row, RowError, mapping, only, optional_text, parsed, rows, text, texts
from varedit.data.records import Candidate, EncodedRecord, Skipped

# Tasks of ImgEdit whose later turns speak of earlier ones ("withdraw the previous round"): only the first stands alone.
DEPENDENT_TASKS = ("content_memory", "version_backtracking")
IMAGE_TOKEN = re.compile(r"<(image|gen_image)>")


def plain_row(row: object, place: Place) -> Iterable[Candidate]:
    """Our own manifest: source, target, instruction, and perhaps mask, id, category, captions, session, turn."""
    values = mapping(row)
    mask, turn = optional_text(values, "mask"), values.get("turn")
    yield EncodedRecord(
        source=place.picture(text(values, "source")),
        target=place.picture(text(values, "target")),
        mask=None if mask is None else place.picture(mask),
        instruction=text(values, "instruction"),
        id=optional_text(values, "id") or place.id,
        category=optional_text(values, "category"),
        source_caption=optional_text(values, "source_caption"),
        target_caption=optional_text(values, "target_caption"),
        session=optional_text(values, "session"),
        turn=turn if isinstance(turn, int) else None,
    )


def seed_data_edit(row: object, place: Place) -> Iterable[Candidate]:
    """A pair (parts 1 and 2), or a session with its pictures and instructions numbered (part 3)."""
    values = mapping(row)
    source = text(values, "source_image")
    if "target_image" not in values:
        yield from _seed_session(values, source, place)
        return
    yield EncodedRecord(
        source=place.picture(source),
        target=place.picture(text(values, "target_image")),
        instruction=text(values, "instruction"),
        id=place.id,
    )


def _seed_session(values: Row, source: str, place: Place) -> Iterator[Candidate]:
    turns = sorted(int(match[1]) for key in values if (match := re.fullmatch(r"edit_image_(\d+)", key)))
    if not turns or turns != list(range(1, len(turns) + 1)):
        raise RowError("missing field", "edit_image_1" if not turns else f"one of edit_image_1 to {turns[-1]}")
    pictures = [source, *(text(values, f"edit_image_{turn}") for turn in turns)]
    yield from session(pictures, [text(values, f"instruction_{turn}") for turn in turns], place)


def session(pictures: list[str], instructions: list[str], place: Place) -> Iterator[Candidate]:
    """The single turns of a session with one picture more than instructions."""
    if len(pictures) != len(instructions) + 1:
        raise RowError("missing field", f"{len(pictures)} pictures for {len(instructions)} instructions")
    for turn, instruction in enumerate(instructions, start=1):
        yield EncodedRecord(
            source=place.picture(pictures[turn - 1]),
            target=place.picture(pictures[turn]),
            instruction=instruction,
            id=f"{place.id}-{turn}",
            session=place.id,
            turn=turn,
        )


def imgedit(row: object, place: Place) -> Iterable[Candidate]:
    """A row of paths, or a session of such rows; the task is in the file's name (`add_part0.parquet`)."""
    values = mapping(row)
    task = re.sub(r"_part\d+$", "", place.file.stem)
    if "data" not in values:
        yield _imgedit_turn(values, place.id, task, place)
        return
    for turn, item in enumerate(rows(values, "data"), start=1):
        name = f"{place.id}-{turn}"
        try:
            if turn > 1 and task in DEPENDENT_TASKS:
                raise RowError("refers to earlier turns", task)
            yield _imgedit_turn(item, name, task, place, session=place.id, turn=turn)
        except RowError as error:
            yield Skipped(name, error.reason, error.detail)


def _imgedit_turn(
    values: Row, name: str, task: str, place: Place, *, session: str | None = None, turn: int | None = None
) -> EncodedRecord:
    return EncodedRecord(
        source=place.picture(only(texts(values, "input_images"), "input_images")),
        target=place.picture(only(texts(values, "output_images"), "output_images")),
        instruction=text(values, "prompt"),
        id=name,
        category=task,
        session=session,
        turn=turn,
    )


def drop_visual_input(row: Row) -> None:
    """AnyEdit's types whose instruction points at a second picture cannot be followed by text alone."""
    kind = optional_text(row, "edit_type") or ""
    if kind.startswith("visual_") or row.get("visual_input") not in (None, "None"):
        raise RowError("visual input", kind)


def llava_conversation(row: object, place: Place) -> Iterable[Candidate]:
    """GPT-Image-Edit: the last path is the target, and the human's words around the picture tokens the instruction."""
    values = mapping(row)
    paths = [values["image"]] if isinstance(values.get("image"), str) else list(texts(values, "image"))
    words = [text(turn, "value") for turn in rows(values, "conversations") if turn.get("from") == "human"]
    if len(paths) < 2:
        raise RowError("missing field", "image")
    yield EncodedRecord(
        source=place.picture(only(paths[:-1], "source pictures")),
        target=place.picture(paths[-1]),
        instruction=IMAGE_TOKEN.sub(" ", " ".join(words)).strip(),
        id=place.id,
        category=place.file.stem,
    )


def sharegpt_4o_image(row: object, place: Place) -> Iterable[Candidate]:
    """ShareGPT-4o-Image: a list of input pictures, one output."""
    values = mapping(row)
    yield EncodedRecord(
        source=place.picture(only(texts(values, "input_image"), "input_image")),
        target=place.picture(text(values, "output_image")),
        instruction=text(values, "input_prompt"),
        id=place.id,
    )


def nhr_edit(row: object, place: Place) -> Iterable[Candidate]:
    """NHR-Edit: several rows can share a source, and each has further wordings."""
    values = mapping(row)
    yield EncodedRecord(
        source=place.picture(text(values, "source_file_name")),
        target=place.picture(text(values, "edited_file_name")),
        instruction=text(values, "edit_instruction"),
        other_instructions=texts(values, "augmented_instructions"),
        id=optional_text(values, "sample_id") or place.id,
        category=optional_text(values, "category"),
    )


def prompt_to_prompt(row: object, place: Place) -> Iterable[Candidate]:
    """InstructPix2Pix as first released: a folder's name and its seeds; the texts are in the folder's prompt.json."""
    if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], list)):
        raise RowError("damaged row", "a name and its seeds were expected")
    name, seeds = row
    prompt = mapping(_file_row(place.picture(f"{name}/prompt.json")))
    for seed in seeds:
        yield EncodedRecord(
            source=place.picture(f"{name}/{seed}_0.jpg"),
            target=place.picture(f"{name}/{seed}_1.jpg"),
            instruction=text(prompt, "edit"),
            source_caption=optional_text(prompt, "input"),
            target_caption=optional_text(prompt, "output"),
            id=f"{name}/{seed}",
        )


def _file_row(path: Path) -> object:
    try:
        return parsed(path.read_bytes())
    except OSError as error:
        raise RowError("missing field", str(error)) from error


@dataclass(frozen=True)
class PicoBanana:
    """Rows of Pico-Banana-400K: single edits, or sessions whose files are listed by role.

    The set does not ship its source photographs. Its helper adds ``local_input_image``, a path on the user's machine.

    Attributes:
        repeated_outputs: outputs that several rows name; at most one of the rows can be right, so all are left out.
    """

    repeated_outputs: frozenset[str]

    def __call__(self, row: object, place: Place) -> Iterable[Candidate]:
        """The record of a single edit, or the turns of a session."""
        values = mapping(row)
        source = self._source(values, place)
        if "files" in values:
            yield from self._session(values, source, place)
            return
        output = text(values, "output_image")
        if output in self.repeated_outputs:
            raise RowError("repeated output", output)
        short = optional_text(values, "summarized_text")
        yield EncodedRecord(
            source=source,
            target=place.picture(output),
            instruction=text(values, "text"),
            other_instructions=() if short is None else (short,),
            id=output,
            category=optional_text(values, "edit_type"),
        )

    def _source(self, values: Row, place: Place) -> Path:
        """The helper's path as it stands, or else its last two parts (`train_0/<id>.jpg`) among the pictures."""
        told = optional_text(values, "local_input_image")
        if told is None:
            raise RowError("missing picture", "local_input_image")
        path = place.file.parent / told
        return path if path.is_file() else place.picture("/".join(Path(told).parts[-2:]).lstrip("/"))

    def _session(self, values: Row, source: Path, place: Place) -> Iterator[Candidate]:
        """Turns edit_turn1, edit_turn2, ... and at last final_image, each with its prompt."""
        prompts = texts(values, "metadata_edit_turn_prompts")
        outputs = {text(item, "id"): text(item, "url") for item in rows(values, "files")}
        roles = [*(f"edit_turn{turn}" for turn in range(1, len(prompts))), "final_image"]
        if not prompts or not outputs.keys() >= set(roles):
            raise RowError("missing field", "files" if prompts else "metadata_edit_turn_prompts")
        before = source
        for turn, (role, prompt) in enumerate(zip(roles, prompts, strict=True), start=1):
            after = place.picture(outputs[role])
            name = f"{place.id}-{turn}"
            yield EncodedRecord(source=before, target=after, instruction=prompt, id=name, session=place.id, turn=turn)
            before = after

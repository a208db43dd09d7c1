"""Writes tiny editing sets of exactly the published schemas, four examples each, for the tests of their readers."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True)
class Example:
    source: bytes
    target: bytes
    instruction: str


def pixels(seed: int, width: int = 64, height: int = 48) -> np.ndarray[Any, np.dtype[np.uint8]]:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def picture_file(seed: int, width: int = 64, height: int = 48, picture_format: str = "PNG", **options: Any) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels(seed, width, height)).save(encoded, picture_format, **options)
    return encoded.getvalue()


def truncated() -> bytes:
    whole = picture_file(99, picture_format="JPEG")
    return whole[: len(whole) // 2]


def four_examples() -> list[Example]:
    """A plain one, one with a larger target, one with a damaged target, one in other alphabets."""
    return [
        Example(picture_file(1), picture_file(2), "make it red"),
        Example(picture_file(3), picture_file(4, 128, 96), "make it larger"),
        Example(picture_file(5), truncated(), "never seen"),
        Example(picture_file(6), picture_file(7), "füge ein Häschen 🐇 兔子 hinzu"),
    ]


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def put_lines(path: Path, rows: Sequence[object]) -> Path:
    return put(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def put_parquet(path: Path, columns: Mapping[str, tuple[Any, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    pq.write_table(pa.table({name: list(values) for name, (_, values) in columns.items()}, schema=schema), path)
    return path


def embedded(pictures: Sequence[bytes | None]) -> tuple[pa.DataType, list[object]]:
    return PICTURE, [None if data is None else {"bytes": data, "path": None} for data in pictures]


def put_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


def webdataset_members(examples: Sequence[Example]) -> list[tuple[str, bytes]]:
    return [
        (f"a/{number:06d}.{name}", data)
        for number, example in enumerate(examples)
        for name, data in (
            ("src.jpg", example.source),
            ("tgt.jpg", example.target),
            ("txt", example.instruction.encode()),
        )
    ]


def webdataset(folder: Path, examples: Sequence[Example]) -> Path:
    put_tar(folder / "wds_openimages_0000.tar", webdataset_members(examples[:1]))
    put_tar(folder / "wds_openimages_0001.tar", webdataset_members(examples[1:]))
    put(folder / "SEEDEdit.txt", "openimages\t4\t2\n")
    return folder


def _pairs(folder: Path, examples: Sequence[Example], source: str, target: str) -> list[tuple[str, str, str]]:
    """Writes the pictures and gives (source, target, instruction) rows; the names hold `{}` for the number."""
    for number, example in enumerate(examples):
        put(folder / source.format(number), example.source)
        put(folder / target.format(number), example.target)
    return [(source.format(n), target.format(n), example.instruction) for n, example in enumerate(examples)]


def jsonl(folder: Path, examples: Sequence[Example]) -> Path:
    rows = _pairs(folder / "images", examples, "s{}.png", "t{}.png")
    put_lines(folder / "rows.jsonl", [dict(zip(("source", "target", "instruction"), row, strict=True)) for row in rows])
    return folder


def seed_data_edit(folder: Path, examples: Sequence[Example]) -> Path:
    rows = _pairs(folder / "images", examples, "source_images/{}.jpg", "target_images/{}.jpg")
    keys = ("source_image", "target_image", "instruction")
    put_lines(folder / "annotations" / "split_0001.jsonl", [dict(zip(keys, row, strict=True)) for row in rows])
    return folder


def imgedit(folder: Path, examples: Sequence[Example]) -> Path:
    top = "results_remove_laion_part5/0000{}_0003"
    rows = _pairs(folder / "Singleturn", examples, f"{top}/original.png", f"{top}/result.png")
    put_parquet(
        folder / "Parquet" / "remove_part5.parquet",
        {
            "input_images": (pa.list_(pa.string()), [[source] for source, _, _ in rows]),
            "output_images": (pa.list_(pa.string()), [[target] for _, target, _ in rows]),
            "prompt": (pa.string(), [instruction for _, _, instruction in rows]),
        },
    )
    return folder


def _columns(examples: Sequence[Example], source: str, instruction: str, target: str) -> dict[str, Any]:
    return {
        source: embedded([example.source for example in examples]),
        instruction: (pa.string(), [example.instruction for example in examples]),
        target: embedded([example.target for example in examples]),
    }


def _strings(count: int, word: str) -> tuple[pa.DataType, list[object]]:
    return pa.string(), [f"{word} {number}" for number in range(count)]


def instructpix2pix(folder: Path, examples: Sequence[Example]) -> Path:
    columns = _columns(examples, "original_image", "edit_prompt", "edited_image")
    captions = {name: _strings(len(examples), name) for name in ("original_prompt", "edited_prompt")}
    put_parquet(folder / "data" / "train-00000-of-00262-0a1b.parquet", {**captions, **columns})
    return folder


def instructpix2pix_original(folder: Path, examples: Sequence[Example]) -> Path:
    for number, example in enumerate(examples):
        put(folder / f"p{number}" / f"{number + 7}_0.jpg", example.source)
        put(folder / f"p{number}" / f"{number + 7}_1.jpg", example.target)
        prompt = {"input": "a hill", "edit": example.instruction, "output": "a red hill"}
        put(folder / f"p{number}" / "prompt.json", json.dumps(prompt))
    put(folder / "seeds.json", json.dumps([[f"p{number}", [number + 7]] for number in range(len(examples))]))
    return folder


def magicbrush(folder: Path, examples: Sequence[Example]) -> Path:
    columns = _columns(examples, "source_img", "instruction", "target_img")
    columns["img_id"] = (pa.string(), ["242679", "242679", "31", "391895"])
    columns["turn_index"] = (pa.int32(), [1, 2, 1, 1])
    columns["mask_img"] = embedded([picture_mask()] * len(examples))
    put_parquet(folder / "data" / "train-00000-of-00031-0a.parquet", columns)
    put_parquet(folder / "data" / "dev-00000-of-00004-0b.parquet", columns)
    return folder


def picture_mask() -> bytes:
    """Its upper half is the region to edit."""
    mask = np.zeros((48, 64), dtype=np.uint8)
    mask[:24] = 255
    encoded = io.BytesIO()
    Image.fromarray(mask).save(encoded, "PNG")
    return encoded.getvalue()


def ultraedit(folder: Path, examples: Sequence[Example]) -> Path:
    columns: dict[str, Any] = {
        name: (pa.float64(), [0.5] * len(examples)) for name in ("clip_sim_dir", "dinov2_sim", "ssim")
    }
    columns |= {name: _strings(len(examples), name) for name in ("source_caption", "target_caption")}
    columns["idx"] = (pa.int64(), [10, 11, 12, 13])
    columns |= _columns(examples, "source_image", "edit_prompt", "edited_image")
    columns |= {name: (pa.null(), [None] * len(examples)) for name in ("edit_object", "mask_image")}
    put_parquet(folder / "data" / "FreeForm_0-00000-of-00001.parquet", columns)
    return folder


def anyedit(folder: Path, examples: Sequence[Example]) -> Path:
    columns = _columns(examples, "image_file", "edit_instruction", "edited_file")
    columns |= {name: _strings(len(examples), name) for name in ("image_id", "input", "output")}
    columns["edit_type"] = (pa.string(), ["add", "resize", "remove", "color_alter"])
    columns["visual_input"] = embedded([None] * len(examples))
    put_parquet(folder / "data" / "train-00000-of-00400.parquet", columns)
    put_parquet(folder / "data" / "validation-00000-of-00001.parquet", columns)
    return folder


def omniedit(folder: Path, examples: Sequence[Example]) -> Path:
    columns = _columns(examples, "src_img", "unused", "edited_img")
    del columns["unused"]
    wordings = [[example.instruction, f"please, {example.instruction}"] for example in examples]
    columns["edited_prompt_list"] = (pa.list_(pa.string()), wordings)
    columns |= {name: _strings(len(examples), name) for name in ("omni_edit_id", "task", "sc_reasoning")}
    columns |= {name: (pa.int64(), [9] * len(examples)) for name in ("width", "height", "sc_score_1", "pq_score")}
    columns["o_score"] = (pa.float64(), [8.5] * len(examples))
    put_parquet(folder / "data" / "train-00000-of-02000.parquet", columns)
    return folder


def scaleedit(folder: Path, examples: Sequence[Example]) -> Path:
    columns: dict[str, Any] = {
        "id": (pa.int64(), range(len(examples))),
        "edit_task": _strings(len(examples), "task"),
        "edit_instruction": (pa.string(), [example.instruction for example in examples]),
        "source_image": (pa.binary(), [example.source for example in examples]),
        "edited_image": (pa.binary(), [example.target for example in examples]),
    }
    put_parquet(folder / "3_style" / "style_0000.parquet", columns)
    return folder


def humanedit(folder: Path, examples: Sequence[Example]) -> Path:
    columns = _columns(examples, "INPUT_IMG", "EDITING_INSTRUCTION", "OUTPUT_IMG")
    texts = ("IMAGE_ID", "EDITING_TYPE", "INPUT_CAPTION_BY_LLAMA", "OUTPUT_CAPTION_BY_LLAMA", "OUTPUT_DESCRIPTION")
    columns |= {name: _strings(len(examples), name) for name in texts}
    columns |= {name: (pa.int32(), [1] * len(examples)) for name in ("CORE", "MASK")}
    columns["MASK_IMG"] = embedded([picture_mask()] * len(examples))
    put_parquet(folder / "data" / "train-00000-of-00033.parquet", columns)
    return folder


def gpt_image_edit(folder: Path, examples: Sequence[Example]) -> Path:
    rows = _pairs(folder / "omniedit", examples, "input/{}.png", "output/{}.png")
    conversations = [
        {
            "image": [source, target],
            "conversations": [
                {"from": "human", "value": f"<image>\n{instruction}"},
                {"from": "gpt", "value": "<gen_image>"},
            ],
        }
        for source, target, instruction in rows
    ]
    put(folder / "omniedit_gpt.json", json.dumps(conversations))
    put(folder / "sets.txt", "omniedit,omniedit_gpt.json,true\n")
    return folder


def sharegpt_4o_image(folder: Path, examples: Sequence[Example]) -> Path:
    rows = _pairs(folder, examples, "image/v2v_{}_in.png", "image/v2v_{}_out.png")
    records = [
        {"input_prompt": instruction, "input_image": [source], "output_image": target}
        for source, target, instruction in rows
    ]
    put(folder / "text_and_image_to_image.json", json.dumps(records))
    return folder


def nhr_edit(folder: Path, examples: Sequence[Example]) -> Path:
    rows = _pairs(folder / "train", examples, "images/01/image_{}_original.jpg", "images/01/image_{}_edited_2.jpg")
    records = [
        {
            "sample_id": f"sample{number}",
            "source_file_name": source,
            "edited_file_name": target,
            "edit_instruction": instruction,
            "augmented_instructions": ["another wording"],
            "img_width": 64,
            "img_height": 48,
            "category": "add",
            "style": "photo",
            "kind": "direct",
        }
        for number, (source, target, instruction) in enumerate(rows)
    ]
    put_lines(folder / "train" / "metadata.jsonl", records)
    return folder


def pico_banana(folder: Path, examples: Sequence[Example]) -> Path:
    rows = _pairs(folder, examples, "photos/train_0/{}.jpg", "images/positive-edit/{}_retry1.png")
    records = [
        {
            "open_image_input_url": f"https://live.example.org/{number}_o.jpg",
            "text": instruction,
            "output_image": target,
            "edit_type": "Remove an existing object",
            "summarized_text": "short",
            "local_input_image": source,
        }
        for number, (source, target, instruction) in enumerate(rows)
    ]
    put_lines(folder / "sft_with_local_source_image_path.jsonl", records)
    return folder


Writer = Callable[[Path, Sequence[Example]], Path]

# Every set whose four examples are three usable records; HQ-Edit, of which a row gives two, has tests of its own.
WRITERS: dict[str, Writer] = {
    "webdataset": webdataset,
    "jsonl": jsonl,
    "seed-data-edit": seed_data_edit,
    "imgedit": imgedit,
    "instructpix2pix": instructpix2pix,
    "instructpix2pix-original": instructpix2pix_original,
    "magicbrush": magicbrush,
    "ultraedit": ultraedit,
    "anyedit": anyedit,
    "omniedit": omniedit,
    "scaleedit": scaleedit,
    "humanedit": humanedit,
    "gpt-image-edit": gpt_image_edit,
    "sharegpt-4o-image": sharegpt_4o_image,
    "nhr-edit": nhr_edit,
    "pico-banana": pico_banana,
}

"""Scenes as files: WebDataset shards, made by several processes in a fixed order, and a sheet to look at.

The shards hold what a training on the fly would see, losslessly; `varedit.data.readers.webdataset` reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from varedit.data.contact_sheet import contact_sheet
from varedit.data.records import EditRecord
from varedit.data.scenes import Scenes
from varedit.data.shards import INDEX_NAME, ShardSettings, ShardWriter, record_members
from varedit.errors import OutputError
from varedit.output import save_image

SHEET_NAME = "sheet.jpg"
SHEET_SCENES, SHEET_COLUMNS, SHEET_QUALITY = 24, 4, 85

Members = dict[str, bytes]


def write_scenes(
    scenes: Scenes,
    out: Path,
    *,
    count: int,
    workers: int,
    records_per_shard: int,
    force: bool,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the scenes number 0 to ``count - 1`` as shards, and the first ones of them on a sheet.

    The files do not depend on the number of workers.

    Args:
        out: a folder, made if it does not exist.
        workers: processes that make scenes; 1 makes them in this one.
        force: whether shards and sheet of an earlier call are replaced.
        on_progress: called with (scenes written, scenes in all).

    Raises: `OutputError` where the folder cannot be written, or holds shards and ``force`` is false.
    """
    _clear(out, force=force)
    settings = ShardSettings(picture_format="PNG", records_per_shard=records_per_shard)
    members_of = _SceneMembers(scenes, count, settings)
    made = DataLoader(members_of, batch_size=None, num_workers=workers if workers > 1 else 0)
    with ShardWriter(out, settings) as writer:
        for done, members in enumerate(made, start=1):
            writer.write_members(members)
            on_progress(done, count)
    sheet = contact_sheet([scenes.scene(index) for index in range(min(count, SHEET_SCENES))], SHEET_COLUMNS)
    save_image(np.asarray(sheet), out / SHEET_NAME, provenance=None, quality=SHEET_QUALITY, force=force)


def scene_record(scenes: Scenes, index: int) -> EditRecord:
    """A scene as other editing records are kept; its id says how to make it again."""
    scene = scenes.scene(index)
    return EditRecord(
        source=Image.fromarray(scene.source),
        target=Image.fromarray(scene.target),
        mask=Image.fromarray(scene.mask),
        instruction=scene.instruction,
        id=f"{scenes.split}-{scenes.seed}-{index}",
        category=scene.category,
        meta={"family": scene.family, "photograph": scene.photograph},
    )


class _SceneMembers(Dataset[Members]):
    """The members of each scene's record, ready for a shard."""

    def __init__(self, scenes: Scenes, count: int, settings: ShardSettings) -> None:
        self.scenes, self.count, self.settings = scenes, count, settings

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Members:
        return record_members(scene_record(self.scenes, index), self.settings)


def _clear(out: Path, *, force: bool) -> None:
    """Take away what an earlier call left; files of others stay."""
    earlier = [out / INDEX_NAME, out / SHEET_NAME, *out.glob("shard-*.tar")]
    present = [file for file in earlier if file.exists()]
    if present and not force:
        raise OutputError(f"{out} holds {present[0].name} already. Name another folder, or add --force to replace it.")
    try:
        for file in present:
            file.unlink()
    except OSError as error:
        raise OutputError(f"{file} cannot be replaced: {error.strerror or error}.") from error

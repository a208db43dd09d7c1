"""What the columns of each set with embedded pictures mean (spec "datasets", sections 6 to 11 and 16)."""

from __future__ import annotations

from collections.abc import Mapping

from varedit.data.readers.parquet_files import ColumnMap
from varedit.data.readers.rows import drop_visual_input

COLUMN_MAPS: Mapping[str, ColumnMap] = {
    "instructpix2pix": ColumnMap(
        source="original_image",
        target="edited_image",
        instruction="edit_prompt",
        source_caption="original_prompt",
        target_caption="edited_prompt",
    ),
    "magicbrush": ColumnMap(
        source="source_img",
        target="target_img",
        instruction="instruction",
        mask="mask_img",
        id="img_id",
        session="img_id",
        turn="turn_index",
        coco_id="img_id",
    ),
    "ultraedit": ColumnMap(
        source="source_image",
        target="edited_image",
        instruction="edit_prompt",
        mask="mask_image",
        id="idx",
        source_caption="source_caption",
        target_caption="target_caption",
        meta=("edit_object", "clip_sim_dir", "clip_sim_image", "dinov2_sim", "ssim"),
    ),
    "anyedit": ColumnMap(
        source="image_file",
        target="edited_file",
        instruction="edit_instruction",
        id="image_id",
        category="edit_type",
        source_caption="input",
        target_caption="output",
        check=drop_visual_input,
        check_columns=("visual_input",),
    ),
    "omniedit": ColumnMap(
        source="src_img",
        target="edited_img",
        instruction="edited_prompt_list",
        id="omni_edit_id",
        category="task",
        meta=("sc_score_1", "sc_score_2", "pq_score", "o_score"),
    ),
    "hq-edit": ColumnMap(
        source="input_image",
        target="output_image",
        instruction="edit",
        inverse_instruction="inverse_edit",
        source_caption="input",
        target_caption="output",
    ),
    "scaleedit": ColumnMap(
        source="source_image",
        target="edited_image",
        instruction="edit_instruction",
        id="id",
        category="edit_task",
    ),
    "humanedit": ColumnMap(
        source="INPUT_IMG",
        target="OUTPUT_IMG",
        instruction="EDITING_INSTRUCTION",
        mask="MASK_IMG",
        id="IMAGE_ID",
        category="EDITING_TYPE",
        source_caption="INPUT_CAPTION_BY_LLAMA",
        target_caption="OUTPUT_CAPTION_BY_LLAMA",
    ),
    "parquet": ColumnMap(
        source="source",
        target="target",
        instruction="instruction",
        mask="mask",
        id="id",
        category="category",
        source_caption="source_caption",
        target_caption="target_caption",
        session="session",
        turn="turn",
    ),
}

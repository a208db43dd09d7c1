"""What the nodes do, in ComfyUI's terms: IMAGE is (B, H, W, C) in 0..1, MASK (B, H, W) in 0..1 with 1 where to edit.

Knows ComfyUI's progress bar, interruption and memory, and nothing of its node schemas.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
import torch.nn.functional as F
from torch import Tensor

from varedit.hub import EMBEDDED
from varedit.pipeline import VAREditPipeline

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
MODELS_FOLDER = "varedit"

folder_paths.add_model_folder_path(MODELS_FOLDER, str(Path(folder_paths.models_dir) / MODELS_FOLDER))


def model_names() -> list[str]:
    """The model inside the package, then every folder below ComfyUI's models/varedit that is a model."""
    roots = [Path(root) for root in folder_paths.get_folder_paths(MODELS_FOLDER)]
    found = {config.parent.name for root in roots for config in root.glob("*/config.json")}
    return [EMBEDDED, *sorted(found - {EMBEDDED})]


def load_model(model: str, hub_id: str, precision: str) -> VAREditPipeline:
    """A model on ComfyUI's device.

    Args:
        model: one of `model_names`.
        hub_id: ``owner/name`` on the hub, instead of ``model``; empty for none.
        precision: one of `PRECISIONS`.
    """
    comfy.model_management.unload_all_models()
    device = comfy.model_management.get_torch_device()
    return VAREditPipeline.from_pretrained(hub_id.strip() or _source(model), dtype=precision, device=device)


def _source(model: str) -> str | Path:
    for root in folder_paths.get_folder_paths(MODELS_FOLDER):
        if (Path(root) / model / "config.json").is_file():
            return Path(root) / model
    return model


def edit(
    pipeline: VAREditPipeline, image: Tensor, instruction: str, *, mask: Tensor | None = None, **settings: Any
) -> Tensor:
    """Edit all images of a batch together.

    Args:
        image: IMAGE; a fourth channel is dropped.
        mask: MASK of as many items, or of one for all.
        settings: see `call_settings`.

    Returns: IMAGE with 3 channels, of the size that was asked for.
    """
    arguments = call_settings(**settings)
    pictures = [item[..., :3].clamp(0, 1).float().cpu().numpy() for item in image]
    if mask is not None:
        size = (arguments.get("height", image.shape[1]), arguments.get("width", image.shape[2]))
        arguments["mask"] = _masks(mask, len(pictures), size)
    total = pipeline.config.num_scales
    progress = comfy.utils.ProgressBar(total)
    result: Tensor | None = None
    events = pipeline.stream(pictures, instruction, output_type="pt", **arguments)
    try:
        for event in events:
            comfy.model_management.throw_exception_if_processing_interrupted()
            progress.update_absolute(event.index + 1, total, ("JPEG", event.preview(), 512))
            if event.output is not None:
                result = event.output.images.permute(0, 2, 3, 1).contiguous()
    finally:
        events.close()  # an interruption leaves nothing of the edit in memory
        comfy.model_management.soft_empty_cache()
    assert result is not None, "the last event of a stream carries the output"
    return result


def call_settings(
    *, seed: int, guidance: float, temperature: float, width: int = 0, height: int = 0
) -> Mapping[str, Any]:
    """Arguments of the pipeline.

    Args:
        guidance, temperature: 0 is the model's own.
        width, height: of the result in pixels; 0 is the image's own.
    """
    arguments: dict[str, Any] = {"seed": seed}
    if guidance > 0:
        arguments["guidance_scale"] = guidance
    if temperature > 0:
        arguments["temperature"] = temperature
    if width > 0 and height > 0:
        arguments |= {"width": width, "height": height}
    return arguments


def _masks(mask: Tensor, count: int, size: tuple[int, int]) -> list[Any]:
    """(H, W) float32 arrays in 0..1, one an image."""
    resized = F.interpolate(mask.float().clamp(0, 1).unsqueeze(1), size, mode="bilinear")[:, 0].cpu()
    return [item.numpy() for item in resized.expand(count, -1, -1)]

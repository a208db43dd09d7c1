"""What a number must carry to be a claim that others can check: model, settings, machine, versions, date."""

from __future__ import annotations

import dataclasses
import datetime
import platform
from typing import Any

import numpy as np
import torch

from varedit import __version__
from varedit.content_hash import folder_hash
from varedit.evaluation.contestants import GenerationChoice
from varedit.hub import ModelSource
from varedit.pipeline import VAREditPipeline


def measurement_facts(
    source: ModelSource, pipeline: VAREditPipeline, choice: GenerationChoice, command: str
) -> dict[str, Any]:
    """JSON values that stand beside every number.

    Args:
        source: where the model's files are.
        pipeline: the model as it was loaded.
        choice: how its bits were drawn.
        command: what repeats the measurement.
    """
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "model": {
            "name": pipeline.config.name,
            "revision": source.revision,
            "sha256": folder_hash(source.folder),
        },
        "settings": resolved_settings(pipeline, choice),
        "device": device_words(pipeline.device),
        "precision": str(pipeline.dtype).removeprefix("torch."),
        "versions": {
            "varedit": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }


def resolved_settings(pipeline: VAREditPipeline, choice: GenerationChoice) -> dict[str, Any]:
    """The settings of every edit, with the model's own in place of what was left to it."""
    defaults = pipeline.config.generation
    return {
        "guidance": defaults.guidance_scale if choice.guidance is None else choice.guidance,
        "temperature": defaults.temperature if choice.temperature is None else choice.temperature,
        "top_k": defaults.top_k,
        "top_p": defaults.top_p,
        "greedy": choice.greedy,
        "reuse": None if (reuse := pipeline.reuse_settings(choice.reuse)) is None else dataclasses.asdict(reuse),
        "candidates": choice.candidates,
    }


def device_words(device: torch.device) -> str:
    """The device and, of a processor, the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {torch.get_num_threads()} threads, {platform.machine()}"

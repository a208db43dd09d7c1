"""As much of ComfyUI as a node pack touches: folders, progress, interruption, and the schema classes of `comfy_api`."""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


class InterruptProcessingException(Exception):
    """What ComfyUI raises when someone pressed Cancel."""


@dataclass
class Seen:
    """What the pack asked ComfyUI for."""

    progress: list[tuple[int, int]] = field(default_factory=list)
    previews: list[Any] = field(default_factory=list)
    interrupt_after: int | None = None  # steps of progress
    unloaded: int = 0
    emptied: int = 0


@dataclass
class Slot:
    """An input or an output of a node."""

    kind: str
    id: str
    options: dict[str, Any]


class _Kind:
    def __init__(self, kind: str) -> None:
        self.Input = lambda id, **options: Slot(kind, id, options)
        self.Output = lambda id=None, **options: Slot(kind, id or kind, options)


class _Schema:
    def __init__(self, **parts: Any) -> None:
        self.__dict__ |= parts


class _NodeOutput:
    def __init__(self, *values: Any) -> None:
        self.result = values


def comfy_modules(models: Path, seen: Seen, *, has_api: bool) -> dict[str, types.ModuleType | None]:
    """Modules by name, for ``sys.modules``; None is a module that is not there."""
    folder_paths = _module("folder_paths", models_dir=str(models))
    folders: dict[str, list[str]] = {}
    folder_paths.add_model_folder_path = lambda name, path: folders.setdefault(name, []).append(path)
    folder_paths.get_folder_paths = lambda name: folders[name]

    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.total = total

        def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
            seen.progress.append((value, total or self.total))
            seen.previews.append(preview)

    def throw_exception_if_processing_interrupted() -> None:
        if seen.interrupt_after is not None and len(seen.progress) >= seen.interrupt_after:
            raise InterruptProcessingException

    def count(name: str) -> Any:
        return lambda: setattr(seen, name, getattr(seen, name) + 1)

    management = _module(
        "comfy.model_management",
        get_torch_device=lambda: torch.device("cpu"),
        throw_exception_if_processing_interrupted=throw_exception_if_processing_interrupted,
        unload_all_models=count("unloaded"),
        soft_empty_cache=count("emptied"),
    )
    utils = _module("comfy.utils", ProgressBar=ProgressBar)
    kinds = {name: _Kind(name.upper()) for name in ("Image", "Mask", "String", "Int", "Float", "Combo")}
    io = types.SimpleNamespace(ComfyNode=object, Schema=_Schema, NodeOutput=_NodeOutput, Custom=_Kind, **kinds)
    return {
        "folder_paths": folder_paths,
        "comfy": _module("comfy", model_management=management, utils=utils),
        "comfy.model_management": management,
        "comfy.utils": utils,
        "comfy_api": _module("comfy_api") if has_api else None,
        "comfy_api.latest": _module("comfy_api.latest", ComfyExtension=object, io=io) if has_api else None,
    }


def _module(name: str, **contents: Any) -> Any:
    module = types.ModuleType(name)
    module.__dict__.update(contents)
    return module

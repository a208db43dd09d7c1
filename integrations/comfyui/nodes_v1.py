"""The same nodes in the schema of versions of ComfyUI that have no ``comfy_api``."""

from __future__ import annotations

from typing import Any

from . import editing, server

CATEGORY = "image/varedit"
MAX_SEED = 2**63 - 1
_EDIT_INPUTS = {
    "image": ("IMAGE",),
    "instruction": ("STRING", {"multiline": True, "default": "make it black and white"}),
    "seed": ("INT", {"default": 0, "min": 0, "max": MAX_SEED, "control_after_generate": True}),
    "guidance": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 30.0, "step": 0.1, "tooltip": "0: the model's own"}),
    "temperature": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 5.0, "step": 0.05, "tooltip": "0: the model's own"}),
    "width": ("INT", {"default": 0, "min": 0, "max": 16384, "tooltip": "0: the image's own"}),
    "height": ("INT", {"default": 0, "min": 0, "max": 16384, "tooltip": "0: the image's own"}),
}
_OPTIONAL = {"mask": ("MASK", {"tooltip": "Where the picture may change"})}


class LoadVAREdit:
    """Loads a model."""

    RETURN_TYPES = ("VAREDIT_MODEL",)
    FUNCTION = "load"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # ComfyUI's name
        """Widgets."""
        return {
            "required": {
                "model": (editing.model_names(),),
                "hub_id": ("STRING", {"default": "", "tooltip": "owner/name on the hub, instead of a folder"}),
                "precision": (list(editing.PRECISIONS),),
            }
        }

    def load(self, model: str, hub_id: str, precision: str) -> tuple[Any]:
        """One pipeline."""
        return (editing.load_model(model, hub_id, precision),)


class VAREditEdit:
    """Edits here."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "edit"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Widgets."""
        return {"required": {"model": ("VAREDIT_MODEL",), **_EDIT_INPUTS}, "optional": _OPTIONAL}

    def edit(self, model: Any, image: Any, instruction: str, **settings: Any) -> tuple[Any]:
        """One IMAGE."""
        return (editing.edit(model, image, instruction, **settings),)


class VAREditEditByServer:
    """Edits elsewhere."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "edit"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Widgets."""
        address = ("STRING", {"default": "http://127.0.0.1:8000"})
        return {"required": {"address": address, **_EDIT_INPUTS}, "optional": _OPTIONAL}

    def edit(self, address: str, image: Any, instruction: str, **settings: Any) -> tuple[Any]:
        """One IMAGE."""
        return (server.edit_by_server(address, image, instruction, **settings),)


NODE_CLASS_MAPPINGS = {
    "VAREditLoad": LoadVAREdit,
    "VAREditEdit": VAREditEdit,
    "VAREditEditByServer": VAREditEditByServer,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "VAREditLoad": "Load VAREdit",
    "VAREditEdit": "VAREdit Edit",
    "VAREditEditByServer": "VAREdit Edit by Server",
}

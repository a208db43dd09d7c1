"""The nodes in the present schema (``comfy_api``)."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import ComfyExtension, io

from . import editing, server

CATEGORY = "image/varedit"
MAX_SEED = 2**63 - 1
Model = io.Custom("VAREDIT_MODEL")


def _edit_inputs() -> list[Any]:
    """What both editing nodes ask for."""
    return [
        io.Image.Input("image"),
        io.String.Input("instruction", multiline=True, default="make it black and white"),
        io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True),
        io.Float.Input("guidance", default=0.0, min=0.0, max=30.0, step=0.1, tooltip="0: the model's own"),
        io.Float.Input("temperature", default=0.0, min=0.0, max=5.0, step=0.05, tooltip="0: the model's own"),
        io.Int.Input("width", default=0, min=0, max=16384, tooltip="0: the image's own"),
        io.Int.Input("height", default=0, min=0, max=16384, tooltip="0: the image's own"),
        io.Mask.Input("mask", optional=True, tooltip="Where the picture may change"),
    ]


class LoadVAREdit(io.ComfyNode):
    """Loads a model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VAREditLoad",
            display_name="Load VAREdit",
            category=CATEGORY,
            description="Loads a model from models/varedit, from the hub, or the small one inside the package.",
            inputs=[
                io.Combo.Input("model", options=editing.model_names()),
                io.String.Input("hub_id", default="", tooltip="owner/name on the hub, instead of a folder"),
                io.Combo.Input("precision", options=list(editing.PRECISIONS)),
            ],
            outputs=[Model.Output("MODEL")],
        )

    @classmethod
    def execute(cls, model: str, hub_id: str, precision: str) -> io.NodeOutput:
        return io.NodeOutput(editing.load_model(model, hub_id, precision))


class VAREditEdit(io.ComfyNode):
    """Edits here."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VAREditEdit",
            display_name="VAREdit Edit",
            category=CATEGORY,
            description="Edits every image of the batch as the instruction says; all else keeps its own pixels.",
            inputs=[Model.Input("model"), *_edit_inputs()],
            outputs=[io.Image.Output("IMAGE")],
        )

    @classmethod
    def execute(cls, model: Any, image: Any, instruction: str, **settings: Any) -> io.NodeOutput:
        return io.NodeOutput(editing.edit(model, image, instruction, **settings))


class VAREditEditByServer(io.ComfyNode):
    """Edits elsewhere."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VAREditEditByServer",
            display_name="VAREdit Edit by Server",
            category=CATEGORY,
            description=f"Sends each image to a varedit server. A key is read from the environment: {server.KEY}.",
            inputs=[io.String.Input("address", default="http://127.0.0.1:8000"), *_edit_inputs()],
            outputs=[io.Image.Output("IMAGE")],
        )

    @classmethod
    def execute(cls, address: str, image: Any, instruction: str, **settings: Any) -> io.NodeOutput:
        return io.NodeOutput(server.edit_by_server(address, image, instruction, **settings))


class VAREditExtension(ComfyExtension):
    """The pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes."""
        return [LoadVAREdit, VAREditEdit, VAREditEditByServer]


async def comfy_entrypoint() -> VAREditExtension:
    """What ComfyUI calls."""
    return VAREditExtension()

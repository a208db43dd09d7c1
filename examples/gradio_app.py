"""A web app for a Space: `pip install -r examples/requirements.txt`, then `python examples/gradio_app.py`.

For a server of your own take `varedit serve`; it has a page, an API and a queue.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from PIL import Image

from varedit import VAREditPipeline
from varedit.errors import VAREditError

EXAMPLES = ["make it black and white", "make it a lot warmer", "slightly darker"]


@cache
def pipeline() -> VAREditPipeline:
    """The model that VAREDIT_MODEL names, or the one inside the package."""
    return VAREditPipeline.from_pretrained(os.environ.get("VAREDIT_MODEL"))


def edit(photograph: Image.Image, instruction: str, seed: float) -> Iterator[tuple[Any, str]]:
    """(before, after) after every scale, and a line to read."""
    if photograph is None or not instruction.strip():
        yield None, "Give a photograph and an instruction."
        return
    try:
        for event in pipeline().stream(photograph, instruction, seed=int(seed)):
            after = event.preview() if event.output is None else event.output.images[0]
            yield (photograph, after), f"scale {event.index + 1} of {event.total}, {event.seconds:.1f} s"
    except VAREditError as error:
        yield None, str(error)


def app() -> Any:
    """The page."""
    import gradio as gr

    with gr.Blocks(title="varedit") as page:
        photograph = gr.Image(type="pil", format="png", label="Photograph", sources=["upload", "webcam", "clipboard"])
        instruction = gr.Textbox(label="What to change", max_length=2000)
        gr.Examples([[text] for text in EXAMPLES], instruction)
        seed = gr.Number(1, label="Seed", precision=0, minimum=0)
        run, result, line = gr.Button("Edit"), gr.ImageSlider(format="png", label="Before and after"), gr.Markdown()
        gr.on([run.click, instruction.submit], edit, [photograph, instruction, seed], [result, line])
    return page.queue(max_size=16, default_concurrency_limit=1)


if __name__ == "__main__":
    app().launch(max_file_size="50mb")

"""The README.md of a converted model folder, with the front matter that the hub reads (spec "Hub and folders")."""

from __future__ import annotations

from varedit.presets import TEXT_ENCODER, Preset


def model_card(preset: Preset, dtype: str) -> str:
    """The card's text. ``dtype`` is how the weights were stored: "keep" or "bfloat16"."""
    pixels = preset.config.token_pixels
    sizes = [tuple(pixels * side for side in template.schedule.final) for template in preset.config.templates.templates]
    stored = "as published" if dtype == "keep" else "bfloat16 where the model computes in it, all else as published"
    return _CARD.format(
        task="image-to-image" if preset.edits else "text-to-image",
        tags=_EDITOR_TAGS if preset.edits else _STARTING_POINT_TAGS,
        repository=preset.repository,
        text_encoder=TEXT_ENCODER,
        title=preset.title,
        purpose=_EDITS if preset.edits else _STARTS,
        size="{1} x {0}".format(*sizes[0]),
        count=len(sizes),
        stored=stored,
        files=f"`{preset.transformer}`, `{preset.autoencoder}`, `{preset.text_encoder}`",
        citation=_VAREDIT_CITATION if preset.edits else _INFINITY_CITATION,
    )


_CARD = """\
---
library_name: varedit
pipeline_tag: {task}
license: other
license_name: terms-of-the-publisher
license_link: https://huggingface.co/{repository}
base_model: {repository}
language: en
tags:
{tags}
---

# {title}

Weights of [{repository}](https://huggingface.co/{repository}) in the folder format of varedit, made with
`varedit convert`. No weight was changed beyond its number format.

{purpose}

## Facts

- Pictures of {size} pixels inside the model, or of about as many in another aspect ratio ({count} in all).
- Text encoder: {text_encoder}, English, encoder half only.
- Number format of the weights: {stored}.
- Made from {files}.

## Limits

The model knows what its publishers trained it on; their page describes data, training and results. It can misread an
instruction, and it can draw people and things that do not exist. Text inside pictures is often wrong.

## Licence

The terms of the publishers hold: see [{repository}](https://huggingface.co/{repository}) and
[{text_encoder}](https://huggingface.co/{text_encoder}) before you use the weights or pass them on.

## Citation

{citation}
"""

_EDITOR_TAGS = "- image-editing\n- visual-autoregressive"
_STARTING_POINT_TAGS = "- text-to-image\n- visual-autoregressive"

_EDITS = """\
It edits a photograph as an instruction says:

```python
from varedit import VAREditPipeline

pipeline = VAREditPipeline.from_pretrained("this/folder")
output = pipeline(image="photo.jpg", prompt="add a red hat")
output.images[0].save("result.png")
```"""

_STARTS = """\
It was trained to make pictures from text, not to edit. Use it as the starting point for training an editor: names and
sizes of all weights are the same."""

_VAREDIT_CITATION = """\
Qingyang Mao, Qi Cai, Yehao Li, Yingwei Pan, Mingyue Cheng, Ting Yao, Qi Liu, Tao Mei: Visual Autoregressive Modeling
for Instruction-Guided Image Editing. [arXiv 2508.15772](https://arxiv.org/abs/2508.15772)."""

_INFINITY_CITATION = """\
Infinity: Scaling Bitwise AutoRegressive Modeling for High-Resolution Image Synthesis.
[arXiv 2412.04431](https://arxiv.org/abs/2412.04431)."""

"""`varedit info`: what a model folder says about itself, read from its configuration and the headers of its weights.

The same for a released model that is not there, from its preset.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from varedit.cli.terminal import Terminal, talking

if TYPE_CHECKING:
    from varedit.config import EditorConfig
    from varedit.memory import MemoryOptions, PartShapes
    from varedit.scales import Template

GIB = 2**30


@click.command()
@click.argument("model", required=False, envvar="VAREDIT_MODEL")
@click.option(
    "--weights",
    type=click.Choice(["full", "int8", "fp8"]),
    default="full",
    show_default=True,
    help="Memory with the matrices of all blocks in 8 bits.",
)
@click.option("--offload", is_flag=True, help="Memory with the text encoder there only while it reads.")
@click.option(
    "--batch",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    metavar="N",
    help="Memory of N edits at once.",
)
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
@talking
@click.pass_obj
def info(terminal: Terminal, model: str | None, weights: str, offload: bool, batch: int, as_json: bool) -> None:
    """Show sizes, scale schedules and memory needs of MODEL.

    MODEL is a model folder, a hub model that was fetched before, or the name of a preset, such as 8b-1024; without it,
    the model inside the package. Nothing is loaded; memory is computed from the sizes.

    \b
    varedit info
    varedit info models/2b-512
    varedit info 8b-1024 --weights int8 --offload
    varedit info models/2b-512 --json
    """  # fmt: skip
    from varedit.memory import MemoryOptions

    options = MemoryOptions(low_bit=weights != "full", offload_text=offload, batch=batch)
    facts = preset_facts(model, options) if is_preset(model) else folder_facts(model, options)
    if as_json:
        click.echo(json.dumps(facts))
    else:
        show(facts)


def is_preset(model: str | None) -> bool:
    """Whether MODEL names a released model, and no folder."""
    from varedit.presets import PRESETS

    return model in PRESETS and not Path(str(model)).exists()


def preset_facts(name: str | None, options: MemoryOptions) -> dict[str, Any]:
    """Everything that the command shows of a released model, ready for JSON; sizes in bytes."""
    from varedit.presets import preset_named
    from varedit.shapes import preset_shapes

    preset = preset_named(str(name))
    return model_facts(preset.config, preset_shapes(preset), options) | {"folder": None, "bytes_on_disk": None}


def folder_facts(model: str | None, options: MemoryOptions) -> dict[str, Any]:
    """Everything that the command shows of a model that is here, ready for JSON; sizes in bytes."""
    from varedit.checkpoints import load_config
    from varedit.hub import find_model
    from varedit.shapes import folder_shapes

    folder = find_model(model, local_files_only=True).folder
    on_disk = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    facts = model_facts(load_config(folder), folder_shapes(folder), options)
    return facts | {"folder": str(folder), "bytes_on_disk": on_disk}


def model_facts(config: EditorConfig, shapes: PartShapes, options: MemoryOptions) -> dict[str, Any]:
    """What configuration and shapes tell, ready for JSON; sizes in bytes."""
    parts = {part: sum(map(math.prod, weights.values())) for part, weights in shapes.items()}
    transformer, autoencoder = config.transformer, config.autoencoder
    return {
        "name": config.name,
        "parameters": {**parts, "all": sum(parts.values())},
        "transformer": {
            "width": transformer.width,
            "depth": transformer.depth,
            "heads": transformer.num_heads,
            "bits_per_token": transformer.token_bits,
            "reference": transformer.reference,
        },
        "autoencoder": {"latent_channels": autoencoder.latent_channels, "downscale": autoencoder.downscale},
        "pixels_per_token": config.token_pixels,
        "memory_options": {
            "low_bit_weights": options.low_bit,
            "offloaded_text_encoder": options.offload_text,
            "batch": options.batch,
        },
        "templates": [template_facts(config, template, shapes, options) for template in config.templates.templates],
    }


def template_facts(
    config: EditorConfig, template: Template, shapes: PartShapes, options: MemoryOptions
) -> dict[str, Any]:
    """One aspect ratio: its scales, what the model draws there, and the memory of an edit by compute type."""
    from varedit.memory import memory_plan, source_tokens

    height, width = config.picture_size(template.schedule)
    plans = {
        word: memory_plan(config, template, shapes, replace(options, bytes_per_value=size))
        for word, size in (("float32", 4), ("bfloat16", 2))
    }
    return {
        "name": template.name,
        "size": [width, height],
        "scales": [list(grid) for grid in template.schedule],
        "target_tokens": template.schedule.num_tokens,
        "source_tokens": source_tokens(config.transformer, template.schedule),
        "memory_bytes": {word: plan.total for word, plan in plans.items()},
        "memory_plan": {word: asdict(plan) for word, plan in plans.items()},
    }


def show(facts: dict[str, Any]) -> None:
    """Print the facts for a person."""
    from rich.console import Console
    from rich.table import Table

    transformer, autoencoder, parameters = facts["transformer"], facts["autoencoder"], facts["parameters"]
    parts = ", ".join(f"{name} {_millions(count)}" for name, count in parameters.items() if name != "all")
    on_disk = "" if facts["bytes_on_disk"] is None else f", {_size(facts['bytes_on_disk'])} on disk"
    click.echo(f"{facts['name']}: {_millions(parameters['all'])} parameters ({parts}){on_disk}")
    click.echo(
        f"transformer: width {transformer['width']}, {transformer['depth']} blocks of {transformer['heads']} heads, "
        f"{transformer['bits_per_token']} bits a token, reference {transformer['reference']}"
    )
    click.echo(
        f"autoencoder: {autoencoder['latent_channels']} channels, 1 position for {autoencoder['downscale']}x"
        f"{autoencoder['downscale']} pixels; 1 token for {facts['pixels_per_token']}x{facts['pixels_per_token']}"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("template", "picture", "tokens", "source", "memory", "in 16 bits"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("scales (height x width)")
    for template in facts["templates"]:
        width, height = template["size"]
        table.add_row(
            template["name"],
            f"{width}x{height}",
            str(template["target_tokens"]),
            str(template["source_tokens"]),
            _size(template["memory_bytes"]["float32"]),
            _size(template["memory_bytes"]["bfloat16"]),
            " ".join(f"{h}x{w}" for h, w in template["scales"]),
        )
    Console(soft_wrap=False).print(table)


def _millions(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.2f} M"


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"

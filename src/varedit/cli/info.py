"""`varedit info`: what a model folder says about itself, read from its configuration and the headers of its weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from varedit.cli.terminal import Terminal, talking

if TYPE_CHECKING:
    from varedit.config import EditorConfig
    from varedit.scales import Template

GIB = 2**30


@click.command()
@click.argument("model", required=False, envvar="VAREDIT_MODEL")
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
@talking
@click.pass_obj
def info(terminal: Terminal, model: str | None, as_json: bool) -> None:
    """Show sizes, scale schedules and memory needs of MODEL.

    MODEL is a model folder, or a hub model that was fetched before; without it, the model inside the package. Nothing
    is loaded; memory is computed from the sizes.

    \b
    varedit info
    varedit info models/2b-512
    varedit info models/2b-512 --json
    """
    from varedit.hub import find_model

    facts = model_facts(find_model(model, local_files_only=True).folder)
    if as_json:
        click.echo(json.dumps(facts))
    else:
        show(facts)


def parameters_of(folder: Path) -> dict[str, int]:
    """Number of parameters of each part of a model, a subfolder each, from the headers of its weights."""
    from varedit.checkpoints import weight_shapes

    parts = sorted({path.parent for path in folder.glob("*/*.safetensors")})
    return {part.name: sum(math.prod(shape) for shape in weight_shapes(part).values()) for part in parts}


def model_facts(folder: Path) -> dict[str, Any]:
    """Everything that the command shows, ready for JSON; sizes in bytes."""
    from varedit.checkpoints import load_config

    config = load_config(folder)
    parts = parameters_of(folder)
    transformer, autoencoder = config.transformer, config.autoencoder
    return {
        "name": config.name,
        "folder": str(folder),
        "parameters": {**parts, "all": sum(parts.values())},
        "bytes_on_disk": sum(path.stat().st_size for path in folder.rglob("*.safetensors")),
        "transformer": {
            "width": transformer.width,
            "depth": transformer.depth,
            "heads": transformer.num_heads,
            "bits_per_token": transformer.token_bits,
            "reference": transformer.reference,
        },
        "autoencoder": {"latent_channels": autoencoder.latent_channels, "downscale": autoencoder.downscale},
        "pixels_per_token": config.token_pixels,
        "templates": [template_facts(config, template, sum(parts.values())) for template in config.templates.templates],
    }


def template_facts(config: EditorConfig, template: Template, parameters: int) -> dict[str, Any]:
    """One aspect ratio: its scales, what the model draws there, and the memory of one edit."""
    from varedit.memory import memory_plan, source_tokens

    height, width = config.picture_size(template.schedule)
    plans = {
        word: memory_plan(config, template, parameters=parameters, bytes_per_value=size).total
        for word, size in (("float32", 4), ("bfloat16", 2))
    }
    return {
        "name": template.name,
        "size": [width, height],
        "scales": [list(grid) for grid in template.schedule],
        "target_tokens": template.schedule.num_tokens,
        "source_tokens": source_tokens(config.transformer, template.schedule),
        "memory_bytes": plans,
    }


def show(facts: dict[str, Any]) -> None:
    """Print the facts for a person."""
    from rich.console import Console
    from rich.table import Table

    transformer, autoencoder, parameters = facts["transformer"], facts["autoencoder"], facts["parameters"]
    parts = ", ".join(f"{name} {_millions(count)}" for name, count in parameters.items() if name != "all")
    whole, on_disk = _millions(parameters["all"]), _size(facts["bytes_on_disk"])
    click.echo(f"{facts['name']}: {whole} parameters ({parts}), {on_disk} on disk")
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

"""Peak memory of converting a checkpoint of the released 2B model's sizes, and whether it loads back bit for bit.

Makes random weights in the released layout (8.8 GB) in a temporary folder, runs `varedit convert` on them under
`/usr/bin/time -v`, once for each way to store weights, loads the folders back, writes
benchmarks/results/convert-2b-cpu.json and deletes the big files. The text encoder has the released width and one layer.
Needs about 20 GB of disk, and GNU time:

    python benchmarks/convert_2b.py [--folder WHERE_THERE_IS_SPACE]
"""

from __future__ import annotations

import argparse
import datetime
import json
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import torch
import transformers
from torch import Tensor, nn
from torch.serialization import set_default_mmap_options, skip_data
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from varedit.autoencoder import Autoencoder
from varedit.editor import Editor
from varedit.presets import PRESETS
from varedit.released import released_autoencoder_name, released_transformer_name
from varedit.transformer.model import VAREditTransformer

RESULT = Path(__file__).parent / "results" / "convert-2b-cpu.json"
LIMIT_BYTES = 6_000_000_000
BLOCKS_PER_CHUNK = 4  # 8 chunks
PRESET = PRESETS["2b-512"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the temporary files go")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as name:
        folder = Path(name)
        make_sources(folder)
        runs = {dtype: measured(folder, dtype) for dtype in ("keep", "bfloat16")}
    report = {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), **circumstances(), "runs": runs}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def measured(folder: Path, dtype: str) -> dict[str, Any]:
    """Convert, load back, delete; what GNU time says of the conversion."""
    sources = [PRESET.transformer, PRESET.autoencoder, PRESET.text_encoder]
    arguments = ["convert", *sources, "--preset", "2b-512", "--dtype", dtype, "-o", dtype]
    source_folder = str(Path(__file__).resolve().parents[1] / "src")
    timed = subprocess.run(
        ["/usr/bin/time", "-v", sys.executable, "-m", "varedit", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": source_folder},
        capture_output=True,
        text=True,
    )
    if timed.returncode:
        sys.exit(timed.stderr)
    peak = 1024 * int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", timed.stderr)[1])  # type: ignore[index]
    elapsed = re.search(r"Elapsed \(wall clock\) time.*: ([\d:.]+)", timed.stderr)[1]  # type: ignore[index]
    assert peak < LIMIT_BYTES, f"the peak was {peak} bytes"
    parts = [folder / dtype / part for part in ("transformer", "autoencoder")]
    written = sum(file.stat().st_size for part in parts for file in part.iterdir())
    weights = check_loads_back(folder, dtype)
    shutil.rmtree(folder / dtype)
    return {
        "command": " ".join(["varedit", *arguments]),
        "peak_resident_bytes": peak,
        "elapsed": elapsed,
        "bytes_read": sum((folder / name).stat().st_size for name in sources[:2]),
        "bytes_written": written,
        "weights_equal_after_loading": weights,
    }


def check_loads_back(folder: Path, dtype: str) -> int:
    """Load the folder as an editor does, and compare every weight with the source; returns how many there are."""
    compute = torch.float32 if dtype == "keep" else torch.bfloat16
    editor = Editor.load(folder / dtype, torch.device("cpu"), compute)
    count = 0
    for module, file, released_name in (
        (editor.transformer, PRESET.transformer, chunked_name),
        (editor.autoencoder, PRESET.autoencoder, released_autoencoder_name),
    ):
        published = torch.load(folder / file, mmap=True, weights_only=True)
        published = published.get("vae", published)
        for name, value in module.state_dict().items():
            assert torch.equal(value, published[released_name(name)].to(value.dtype)), f"{name} has changed"
            count += 1
    return count


def chunked_name(name: str) -> str:
    return released_transformer_name(name, BLOCKS_PER_CHUNK)


def make_sources(folder: Path) -> None:
    """Random weights under the released names; needs little memory itself."""
    with torch.device("meta"):
        transformer = VAREditTransformer(PRESET.config.transformer)
        autoencoder = Autoencoder(PRESET.config.autoencoder)
    weights = released(transformer, chunked_name)
    for name in [name for name in weights if name.endswith(("sa.v_bias", "ca.v_bias"))]:
        weights[name.replace("v_bias", "zero_k_bias")] = weights[name]
    save_random(weights, folder / PRESET.transformer)
    save_random({"vae": released(autoencoder, released_autoencoder_name)}, folder / PRESET.autoencoder)

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("a", -1.0)]
    T5Tokenizer(vocab=pieces, extra_ids=0).save_pretrained(folder / PRESET.text_encoder)
    sizes = T5Config(vocab_size=128, d_model=2048, d_kv=64, d_ff=5120, num_heads=32, num_layers=1)
    T5EncoderModel(sizes).save_pretrained(folder / PRESET.text_encoder)


def released(module: nn.Module, name_of: Callable[[str], str]) -> dict[str, Tensor]:
    return {name_of(name): value for name, value in module.state_dict().items()}


def save_random(weights: dict[str, Any], path: Path) -> None:
    """Reserve the file's space first, then fill it weight by weight through a shared mapping."""

    def empty(tree: dict[str, Any]) -> dict[str, Any]:  # memory that is never touched costs nothing
        return {
            name: empty(value) if isinstance(value, dict) else torch.empty(value.shape) for name, value in tree.items()
        }

    with skip_data():
        torch.save(empty(weights), path)
    generator = torch.Generator().manual_seed(0)
    with set_default_mmap_options(mmap.MAP_SHARED):
        mapped = torch.load(path, mmap=True, weights_only=True)
    for name, value in mapped.get("vae", mapped).items():
        if name.endswith("zero_k_bias"):
            value.zero_()
        else:
            value.normal_(std=0.02, generator=generator)


def circumstances() -> dict[str, Any]:
    git = Path(__file__).parents[1]
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    commit = subprocess.run(describe, cwd=git, capture_output=True, text=True, check=True)
    versions = {module.__name__: module.__version__ for module in (torch, safetensors, transformers)}
    return {
        "commit": commit.stdout.strip(),
        "device": f"cpu, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), **versions},
    }


if __name__ == "__main__":
    main()

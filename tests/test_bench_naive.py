"""The naive baseline is the same model: equal bits, in float32, through the door that other code comes in by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.toys import CONFIG
from varedit.bench.models import BenchModel
from varedit.bench.other_code import OtherCode
from varedit.bench.random_weights import INSTRUCTION
from varedit.bench.run import as_pixels
from varedit.bench.stages import photographs, requests_for, timed_edit
from varedit.config import EditorConfig, Reference

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
CPU = torch.device("cpu")


def bench_config(reference: Reference = "sar", source_residual: bool = False) -> EditorConfig:
    """Room for the instruction and more; merged tokens, as the 8B has them."""
    transformer = replace(
        CONFIG.transformer,
        token_bits=20,
        max_text_length=19,
        reference=reference,
        source_residual=source_residual,
    )
    return replace(CONFIG, transformer=transformer, patch_merge=True)


@pytest.mark.usefixtures("text_form")
@pytest.mark.parametrize("reference, source_residual", [("sar", False), ("sar", True), ("finest", False)])
def test_naive_edits_draw_the_bits_of_ours(reference, source_residual):
    model = BenchModel(config=bench_config(reference, source_residual), text_layers=2)
    other = OtherCode.of_folder(BENCHMARKS)
    loaded = other.load(model.to_dict(), "wide", "cpu", "float32")
    template, seeds = model.template("wide"), [3, 4, 5]
    pictures = photographs(model.config, template, seeds)
    theirs = other.edit(loaded, as_pixels(pictures), [INSTRUCTION] * 3, seeds)
    editor = model.load(CPU, torch.float32)
    ours = timed_edit(editor, template, requests_for(model.config, pictures, seeds), lambda: 0.0).run
    for item, edit in enumerate(theirs):
        for scale, bits in enumerate(edit.bits):
            assert torch.equal(ours.bits[scale][item : item + 1], bits), f"edit {item}, scale {scale + 1}"
    shares = [float(bits.float().mean()) for bits in theirs[0].bits]
    assert 0.1 < shares[-1] < 0.9  # there is something to draw
    assert not torch.equal(theirs[0].bits[-1], theirs[1].bits[-1])


def test_naive_arithmetic_is_repeated_arithmetic():
    """The words are projected once a layer and call; ours projects them once."""
    counts = []
    for length in (19, 38):
        config = bench_config()
        longer = replace(config, transformer=replace(config.transformer, max_text_length=length))
        model, other = BenchModel(config=longer, text_layers=1), OtherCode.of_folder(BENCHMARKS)
        loaded, pictures = other.load(model.to_dict(), "wide", "cpu", "float32"), None
        pictures = photographs(longer, model.template("wide"), [0])
        with FlopCounterMode(display=False) as counter:
            other.edit(loaded, as_pixels(pictures), [INSTRUCTION], [0])
        counts.append(counter.get_flop_counts()["Global"])
    linear = [sum(table[operation] for operation in table if "mm" in str(operation)) for table in counts]
    width, channels, branches, layers, calls = 24, 16, 2, 2, 5
    projected = 2 * (channels * width + width**2 + 2 * width**2)  # a word: two projections, keys and values
    assert linear[1] - linear[0] > 19 * branches * layers * calls * projected

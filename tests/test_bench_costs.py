"""The arithmetic of an edit's cost: against torch's own count of what runs, cases by hand, and published figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.tiny import tiny_config, tiny_editor, tiny_text
from tests.toys import CONFIG
from varedit.autoencoder import Autoencoder
from varedit.bench import costs as costs_module
from varedit.bench.costs import (
    StageCost,
    Workload,
    decoder_convolutions,
    edit_costs,
    encoder_convolutions,
    prefill_cost,
    scale_cost,
    text_cost,
)
from varedit.bench.models import BenchModel
from varedit.bench.random_weights import t5_sizes
from varedit.config import Reference, TransformerConfig
from varedit.memory import PROMPT_TOKENS
from varedit.scales import ScaleSchedule
from varedit.t5 import T5Config, T5Encoder
from varedit.transformer import cross_attention


def counted(work: Callable[[], object]) -> int:
    """What torch counts in matrix products and convolutions; with attention written out, as its kernels are unknown."""
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def flops(cost: StageCost) -> int:
    return cost.flops + cost.float32_flops


@pytest.mark.parametrize("longest", [0, 5], ids=["plain", "folded"])
@pytest.mark.parametrize("options", [{}, {"source_residual": True}, {"source_proposal": True}])
@pytest.mark.parametrize("reference", ["sar", "finest", "full"])
def test_transformer_counts_are_those_of_what_runs(
    reference: Reference, options: dict[str, bool], longest: int, monkeypatch: pytest.MonkeyPatch
):
    for module in (costs_module, cross_attention):
        monkeypatch.setattr(module, "longest_folded", lambda *_: longest)
    editor = tiny_editor(tiny_config(reference=reference, **options))  # type: ignore[arg-type]  # its switches
    schedule, config = editor.layout.schedule, editor.model.config
    text, work = tiny_text((5, 5)), Workload(batch=1, branches=2, words=5, photograph=(1, 1))
    forced = editor.forced(editor.features(2, seed=1), [editor.features(2, seed=2)] * (len(schedule) - 1))
    inputs = [None, *forced.step_inputs.split(list(editor.lengths[1:]), dim=1)]
    residuals = [None] * len(schedule) if forced.residuals is None else forced.residuals.split(list(editor.lengths), 1)
    caches = []
    prefill = counted(lambda: caches.append(editor.model.prefill(forced.source, text, editor.layout)))
    assert prefill == flops(prefill_cost(config, schedule, work))
    for scale in range(len(schedule)):
        step = counted(lambda scale=scale: editor.model.step(inputs[scale], caches[0], residuals[scale]))  # type: ignore[misc]  # a loop's own value
        assert step == flops(scale_cost(config, schedule, scale, work)), f"scale {scale + 1}"


@pytest.mark.parametrize("linear_path", [False, True])
def test_autoencoder_counts_are_those_of_what_runs(linear_path):
    config = replace(CONFIG, autoencoder=replace(CONFIG.autoencoder, linear_path=linear_path))
    model = Autoencoder(config.autoencoder).eval()
    template = config.templates.templates[1]
    height, width = config.picture_size(template.schedule)
    work = Workload(batch=3, words=4, photograph=(height, width))
    costs = edit_costs(config, template, t5_sizes(16, 1), work)
    pixels = torch.zeros(3, 3, height, width)
    features = torch.zeros(3, 5, height // 4, width // 4)
    assert counted(lambda: model.encode(pixels)) == costs["encode"].float32_flops
    assert counted(lambda: model.decode(features)) == costs["decode"].flops
    for half, convolutions in ((model.encoder, encoder_convolutions), (model.decoder, decoder_convolutions)):
        weights = sum(parameter.numel() for parameter in half.parameters() if parameter.dim() == 4)
        assert weights == sum(item.weights for item in convolutions(config.autoencoder))


def test_text_encoder_counts_are_those_of_what_runs():
    sizes = T5Config(vocab_size=50, d_model=24, d_kv=7, d_ff=40, num_layers=3, num_heads=2)
    encoder = T5Encoder(sizes).eval()
    ids, mask = torch.ones(2, 5, dtype=torch.long), torch.ones(2, 5, dtype=torch.bool)
    cost = text_cost(sizes, Workload(batch=2, words=5, photograph=(1, 1)))
    assert counted(lambda: encoder(ids, mask)) == flops(cost)


def test_one_scale_by_hand():
    config = TransformerConfig(
        width=8, depth=2, num_heads=2, ffn_hidden=20, token_bits=3, text_channels=6, pool_heads=1, reference="sar"
    )
    schedule = ScaleSchedule(((1, 1), (2, 3)))
    work = Workload(batch=5, branches=2, words=4, bytes_per_value=2, photograph=(1, 1))
    matrices = 8 * 8 * 6 + 8 * 20 * 2
    keys = [6 + 1 + 6, 6 + 1 + 6]  # the aligned layer sees the source on this scale's own grid, here the last
    attention = sum(2 * 2 * 6 * (seen + 4) * 8 for seen in keys)
    cost = scale_cost(config, schedule, 1, work)
    assert cost.flops == 5 * 2 * (2 * 2 * 6 * matrices + attention)
    assert cost.float32_flops == 5 * 2 * 2 * 6 * (3 * 8 + 8 * 2 * 3)
    rows = 2 * (6 + 1 + 4)  # read: source, scale 1, words; scale 2 is the last one and is not kept
    assert cost.traffic == 2 * 2 * matrices + 5 * 2 * 2 * 2 * 8 * rows + 4 * (3 * 8 + 8 * 2 * 3)
    first = scale_cost(config, schedule, 0, work)
    assert first.flops == 5 * 2 * (2 * 2 * matrices + 2 * 2 * 8 * ((1 + 1 + 4) + (6 + 1 + 4)))
    rows = (1 + 1 + 4) + (6 + 1 + 4)  # read or written: scale 1 is kept
    assert first.traffic == 2 * 2 * matrices + 5 * 2 * 2 * 2 * 8 * rows + 4 * (8 * 2 * 3)
    folded = scale_cost(
        config, schedule, 1, replace(work, words=1, bytes_per_value=4)
    )  # of a quarter of a head's width
    matrices -= 2 * 8 * 8
    attention = sum(2 * 2 * 6 * (seen + 2) * 8 for seen in keys)  # the word in each of two heads
    assert folded.flops == 5 * 2 * (2 * 2 * 6 * matrices + attention)
    rows = 2 * (6 + 1 + 2)
    assert folded.traffic == 4 * 2 * matrices + 5 * 2 * 4 * 2 * 8 * rows + 4 * (3 * 8 + 8 * 2 * 3)


@pytest.mark.parametrize(
    "preset, size, tera",
    [("8b-512", 512, 111), ("8b-512", 1024, 570), ("2b-512", 512, 31), ("2b-512", 1024, 178)],
)
def test_released_sizes_cost_what_is_known_of_them(preset, size, tera):
    model = BenchModel.of_preset(preset).at_size(size)
    work = Workload(batch=1, words=PROMPT_TOKENS, bytes_per_value=2, photograph=(size, size))
    costs = edit_costs(model.config, model.template(None), t5_sizes(2048, 24), work)
    transformer = {stage: flops(cost) for stage, cost in costs.items() if stage == "prefill" or "scale" in stage}
    width, hidden = model.config.transformer.width, model.config.transformer.ffn_hidden
    source = model.template(None).schedule.lengths[-1]
    # What is known has the source go to the end of the last block as well.
    matrices = 2 * source * (3 * width**2 + 2 * width * hidden)
    transformer["prefill"] += 2 * (matrices + 4 * width * source * (source + PROMPT_TOKENS))
    total = sum(transformer.values())
    assert total / 1e12 == pytest.approx(tera, rel=0.01)
    if (preset, size) == ("8b-512", 1024):
        assert transformer["prefill"] / total == pytest.approx(0.24, abs=0.005)
        assert (transformer["scale 12"] + transformer["scale 13"]) / total == pytest.approx(0.49, abs=0.005)
        assert sum(transformer[f"scale {k}"] for k in range(1, 10)) / total == pytest.approx(0.09, abs=0.005)

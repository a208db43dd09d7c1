"""What each target scale sees of the source, against the pseudo-code of the specification and a dense mask."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from tests.tiny import SQUARE, WIDE, random, tiny_config, tiny_editor
from varedit.quantizer import latents_to_tokens, resize_bilinear
from varedit.scales import ScaleSchedule
from varedit.transformer.cache import attend_teacher_forced
from varedit.transformer.reference import SequenceLayout, source_tokens
from varedit.transformer.rope import exact_positions, released_flat_positions, rotary_table

HEADS, HEAD_WIDTH = 3, 4
schedules = pytest.mark.parametrize("schedule", [SQUARE, WIDE], ids=["square", "wide"])


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(2, 3)).softmax(dim=-1) @ v


def queries_keys_values(layout: SequenceLayout) -> tuple[Tensor, Tensor, Tensor]:
    rows = layout.num_source + layout.schedule.num_tokens
    q, k, v = (random(2, HEADS, rows, HEAD_WIDTH, seed=seed) for seed in range(3))
    return q, k, v


def averaged(x: Tensor, fine: tuple[int, int], coarse: tuple[int, int]) -> Tensor:
    """Rows (B, N, h * w, E) on a coarser grid, one head and channel at a time."""
    heads = []
    for head in range(x.shape[1]):
        maps = x[:, head].transpose(1, 2).reshape(len(x), HEAD_WIDTH, *fine)
        heads.append(F.interpolate(maps, size=coarse, mode="area").flatten(2).transpose(1, 2))
    return torch.stack(heads, dim=1)


def one_source_attention(schedule: ScaleSchedule, q: Tensor, k: Tensor, v: Tensor, *, aligned: bool) -> Tensor:
    """Source rows among themselves; scale k sees the source (as it is, or averaged to its grid) and scales <= k."""
    size = schedule.lengths[-1]
    source_keys, source_values = k[:, :, :size], v[:, :, :size]
    parts = [attended(q[:, :, :size], source_keys, source_values)]
    start = size
    for grid in schedule:
        end = start + grid[0] * grid[1]
        keys, values = source_keys, source_values
        if aligned:
            keys, values = (averaged(x, schedule.final, grid) for x in (keys, values))
        keys = torch.cat([keys, k[:, :, size:end]], dim=2)
        values = torch.cat([values, v[:, :, size:end]], dim=2)
        parts.append(attended(q[:, :, start:end], keys, values))
        start = end
    return torch.cat(parts, dim=2)


@schedules
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_sar_aligns_the_source_in_the_first_layer_and_nowhere_else(schedule, layer):
    layout = tiny_editor(tiny_config(reference="sar"), schedule).layout
    q, k, v = queries_keys_values(layout)
    expected = one_source_attention(schedule, q, k, v, aligned=layer == 0)
    assert_close(attend_teacher_forced(q, k, v, layout, layer), expected)


@schedules
@pytest.mark.parametrize("layer", [0, 1])
def test_finest_shows_the_whole_source_to_every_scale_in_every_layer(schedule, layer):
    layout = tiny_editor(tiny_config(reference="finest"), schedule).layout
    q, k, v = queries_keys_values(layout)
    expected = one_source_attention(schedule, q, k, v, aligned=False)
    assert_close(attend_teacher_forced(q, k, v, layout, layer), expected)


@schedules
@pytest.mark.parametrize("layer", [0, 1])
def test_full_is_causal_over_scales_in_source_and_target(schedule, layer):
    layout = tiny_editor(tiny_config(reference="full"), schedule).layout
    q, k, v = queries_keys_values(layout)
    # The rule of the released code's unused mask: groups 0..K-1 are the source's scales, K..2K-1 the target's.
    scales = len(schedule)
    finest_first = torch.arange(scales - 1, -1, -1)
    lengths = torch.tensor(schedule.lengths)
    source = finest_first.repeat_interleave(lengths[finest_first])
    target = torch.arange(scales, 2 * scales).repeat_interleave(lengths)
    group = torch.cat([source, target])
    seen = (group[:, None] >= group) & (group[:, None] % scales >= group % scales)
    weights = (q @ k.transpose(2, 3)).masked_fill(~seen, -torch.inf).softmax(dim=-1)
    assert_close(attend_teacher_forced(q, k, v, layout, layer), weights @ v)


def test_the_source_is_taken_as_it_is_unless_all_its_scales_are_shown():
    for reference in ("sar", "finest"):
        editor = tiny_editor(tiny_config(reference=reference, merge=2))
        features = editor.features(2, seed=0)
        tokens = source_tokens(features, editor.quantizer, editor.layout, 2)
        assert torch.equal(tokens, latents_to_tokens(features, 2))


@pytest.mark.parametrize("merge", [1, 2])
def test_full_shows_the_quantised_sums_of_all_scales_finest_first(merge):
    editor = tiny_editor(tiny_config(reference="full", merge=merge))
    features = editor.features(2, seed=0)
    running = torch.zeros_like(features)
    coarse_first = []
    for scale, grid in enumerate(WIDE.scaled(merge)):
        residual = F.interpolate(features - running, size=grid, mode="area")
        running = running + resize_bilinear((residual > 0).float() * 2 - 1, editor.quantizer.grids.final) / 3**0.5
        coarse_first.append(latents_to_tokens(resize_bilinear(running, grid), merge))
        assert coarse_first[scale].shape[1] == WIDE.lengths[scale]
    tokens = source_tokens(features, editor.quantizer, editor.layout, merge)
    assert_close(tokens, torch.cat(coarse_first[::-1], dim=1))


def test_positions_and_levels_of_one_source_grid():
    for reference in ("sar", "finest"):
        layout = tiny_editor(tiny_config(reference=reference)).layout  # counted on a grid of 6 x 10
        source = exact_positions([WIDE.final], (6, 10), shifted=True)
        target = exact_positions(list(WIDE), (6, 10), shifted=False)
        assert torch.equal(layout.rotary.sin, rotary_table(torch.cat([source, target]), 8).sin)
        assert layout.source_levels == (3,)


def test_positions_and_levels_of_all_source_grids():
    layout = tiny_editor(tiny_config(reference="full")).layout
    positions = [exact_positions([grid], (6, 10), shifted=True) for grid in WIDE.grids[::-1]]
    target = exact_positions(list(WIDE), (6, 10), shifted=False)
    assert torch.equal(layout.rotary.sin, rotary_table(torch.cat([*positions, target]), 8).sin)
    assert layout.source_levels == (3, 2, 1, 0)


def test_the_released_layout_reads_the_longer_table_row_by_row():
    layout = tiny_editor(tiny_config(rotary_layout="released_flat")).layout
    longer = ScaleSchedule((*WIDE, (6, 10)))
    assert torch.equal(layout.rotary.cos, rotary_table(released_flat_positions(WIDE, longer), 8).cos)

"""Rotary tables and rotations, against the released implementation."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.testing import assert_close

from tests.golden_files import golden_files
from varedit.scales import ScaleSchedule
from varedit.transformer.rope import BASE, released_flat_positions, rotary_table, rotate

pytestmark = pytest.mark.golden


def test_tables_and_rotated_queries_and_keys(golden_dir: Path):
    for file in golden_files(golden_dir, "rope"):
        assert file.facts["base"] == BASE
        for case in file.facts["cases"]:
            schedule = ScaleSchedule.from_grids(case["scales_hw"])
            reference = ScaleSchedule.from_grids(case["reference_schedule_hw"])
            assert list(reference.final) == case["reference_grid_hw"]
            table = rotary_table(released_flat_positions(schedule, reference), file.facts["head_dim"])
            name = f"case{case['index']}"
            assert len(table.cos) == case["length"]
            assert_close(table.cos, file.tensors[f"{name}.cos"], rtol=0, atol=1e-6)
            assert_close(table.sin, file.tensors[f"{name}.sin"], rtol=0, atol=1e-6)
            rows = part_rows(schedule)
            for part in case["rotated"]:
                turned = table.rows(*rows[part.removeprefix(f"{name}.")])
                for operand in ("q", "k"):
                    file.check(f"{part}.{operand}_rotated", rotate(file.tensors[f"{part}.{operand}"], turned))


def part_rows(schedule: ScaleSchedule) -> dict[str, tuple[int, int]]:
    """First and last-plus-one row of the source and of each scale."""
    end = schedule.lengths[-1]
    rows = {"source": (0, end)}
    for scale, length in enumerate(schedule.lengths):
        rows[f"scale{scale}"] = (end, end + length)
        end += length
    return rows

"""The released scale schedules, against their table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from varedit.scales import BUDGETS, RELEASED_TEMPLATES

pytestmark = pytest.mark.golden


@pytest.fixture(scope="module")
def table(golden_dir: Path) -> Any:
    path = golden_dir / "scales.json"
    if not path.exists():
        pytest.skip(f"there is no {path.name} in {golden_dir}")
    return json.loads(path.read_text(encoding="utf-8"))


def test_budgets_are_those_of_the_release(table):
    assert table["budgets"] == BUDGETS


def test_every_template_of_every_budget_is_that_of_the_release(table):
    by_ratio = {row["h_div_w"]: row["budgets"] for row in table["templates"]}
    longest = max(BUDGETS, key=BUDGETS.__getitem__)
    for budget in table["budgets"]:
        templates = RELEASED_TEMPLATES.within(budget).templates
        assert [template.aspect_ratio for template in templates] == table["templates_in_order"]
        for template in templates:
            row, schedule = by_ratio[template.aspect_ratio][budget], template.schedule
            assert [list(grid) for grid in schedule] == row["scales_hw"]
            assert len(schedule) == row["num_scales"]
            assert schedule.num_tokens == row["target_tokens"]
            assert schedule.lengths[-1] == row["source_tokens"]
            assert [side * table["stride_of_token"] for side in schedule.final] == row["image_hw"]
            full = by_ratio[template.aspect_ratio][longest]
            assert [list(grid) for grid in template.rotary_reference] == full["scales_hw"]


def test_sizes_fall_to_the_template_that_the_release_chooses(table):
    for budget in BUDGETS:
        templates = RELEASED_TEMPLATES.within(budget)
        for example in table["template_choice_examples"]:
            assert templates.nearest(example["h"], example["w"]).aspect_ratio == example["template"], example

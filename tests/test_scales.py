"""Scale schedules: what always holds of them, and which template an image falls to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varedit.errors import ConfigError
from varedit.scales import BUDGETS, RELEASED_TEMPLATES, ScaleSchedule, Template, TemplateSet

growths = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8)


@st.composite
def schedules(draw: st.DrawFn) -> ScaleSchedule:
    """Grids that grow by 0 to 3 tokens along each axis."""
    height = width = 1
    grids = []
    for down, across in draw(growths):
        height, width = height + down, width + across
        grids.append((height, width))
    return ScaleSchedule(tuple(grids))


def template(name: str, ratio: float, *grids: tuple[int, int]) -> Template:
    schedule = ScaleSchedule(grids)
    return Template(name, ratio, schedule, schedule)


@given(schedules(), st.data())
def test_a_schedule_counts_its_tokens_and_cuts_to_its_coarsest_scales(schedule: ScaleSchedule, data: st.DataObject):
    lengths = [h * w for h, w in schedule.grids]
    assert list(schedule.lengths) == lengths
    assert schedule.num_tokens == sum(lengths)
    assert schedule.final == list(schedule)[-1]
    assert schedule.aspect_ratio * schedule.final[1] == pytest.approx(schedule.final[0])
    count = data.draw(st.integers(1, len(schedule)))
    assert list(schedule.first(count)) == list(schedule)[:count]
    assert ScaleSchedule.from_grids([list(grid) for grid in schedule]) == schedule


@given(schedules(), st.integers(1, 3))
def test_a_finer_latent_grid_keeps_scales_and_ratio(schedule: ScaleSchedule, factor: int):
    finer = schedule.scaled(factor)
    assert finer.lengths == tuple(length * factor**2 for length in schedule.lengths)
    assert finer.aspect_ratio == pytest.approx(schedule.aspect_ratio)


@given(schedules(), st.data())
def test_a_schedule_may_not_shrink(schedule: ScaleSchedule, data: st.DataObject):
    height, width = schedule.final
    smaller = data.draw(st.sampled_from([(height - 1, width + 1), (height + 1, width - 1)]))
    with pytest.raises(ConfigError, match="may not be smaller"):
        ScaleSchedule((*schedule.grids, smaller))


@pytest.mark.parametrize("grids", [(), ((0, 1),), ((1, 0),), ((-1, -1),)])
def test_a_schedule_has_at_least_one_scale_of_at_least_one_token(grids):
    with pytest.raises(ConfigError):
        ScaleSchedule(grids)


@pytest.mark.parametrize("grids", [[[1, 1], [2]], [[1, 1, 1]], [1, 2], [["a", "b"]], None])
def test_what_is_no_list_of_pairs_is_told(grids):
    with pytest.raises(ConfigError, match=r"\[height, width\] pairs"):
        ScaleSchedule.from_grids(grids)


@given(st.integers(100, 4000), st.floats(0.25, 3.5), st.sampled_from(sorted(BUDGETS)))
def test_the_nearest_template_is_that_of_a_search_by_hand(width: int, ratio: float, budget: str):
    height = round(width * ratio)
    templates = RELEASED_TEMPLATES.within(budget)
    best = templates.templates[0]
    for candidate in templates.templates[1:]:
        if abs(height / width - candidate.aspect_ratio) < abs(height / width - best.aspect_ratio):
            best = candidate
    assert templates.nearest(height, width) is best


def test_the_first_template_wins_a_tie():
    square, tall = template("square", 1.0, (1, 1)), template("tall", 2.0, (2, 1))
    assert TemplateSet((square, tall)).nearest(3, 2) is square
    assert TemplateSet((tall, square)).nearest(3, 2) is tall


def test_the_square_template_is_the_one_of_ratio_one():
    square, tall = template("square", 1.0, (1, 1)), template("tall", 2.0, (2, 1))
    assert TemplateSet((tall, square)).square is square
    with pytest.raises(ConfigError, match="no square schedule"):
        _ = TemplateSet((tall,)).square
    with pytest.raises(ConfigError, match="at least one"):
        TemplateSet(())


def test_every_budget_is_a_prefix_with_the_position_table_of_the_longest():
    longest = RELEASED_TEMPLATES.within("1M").templates
    for budget, count in BUDGETS.items():
        for shorter, full in zip(RELEASED_TEMPLATES.within(budget).templates, longest, strict=True):
            assert shorter.schedule == full.schedule.first(count)
            assert shorter.rotary_reference == full.schedule
            assert shorter.name == full.name


def test_a_lying_template_is_its_upright_twin_turned():
    by_name = {entry.name: list(entry.schedule) for entry in RELEASED_TEMPLATES.within("1M").templates}
    assert by_name["0.666"] == [(w, h) for h, w in by_name["1.500"]]
    assert by_name["0.333"] == [(w, h) for h, w in by_name["3.000"]]

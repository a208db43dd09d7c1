"""What a recipe may choose about the editor's training: reference, parts of a step, memory, precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests.training_toys import DATA, Negatives, read_recipe, toy_autoencoder
from varedit.data.pairs import PairBatch, TrueLayers
from varedit.errors import ConfigError, UsageError
from varedit.training.batches import DataPosition, items_of
from varedit.training.editor import COARSE_SEED, PROPOSAL_SEED, EditorTask, train_editor
from varedit.training.loop import Metrics
from varedit.training.processes import Processes, plain_attention
from varedit.training.recipe import EditorTraining
from varedit.training.run import RunFolder

EXACT = ("text_dropout = 0.3\n", 'text_dropout = 0.3\nprecision = "float32"\n')
KINDS = ("weight", "bias")
FOUR = ("[training.editor]\nsteps = 6\nbatch_size = 2", "[training.editor]\nsteps = 4\nbatch_size = 4")


def losses_of(folder, name, *changes):
    recipe = read_recipe(folder, *changes)
    losses = []
    train_editor(
        recipe, toy_autoencoder(recipe, folder), DATA, folder / name, lambda step, steps, m: losses.append(m["loss"])
    )
    return losses


def counted(sizes):
    def pack(value):
        sizes.append(value.numel())
        return value

    return pack


def process(rank: int, count: int) -> Processes:
    """One of several processes, without the others."""
    return Processes(SimpleNamespace(process_index=rank, num_processes=count))


def task_of(folder, *changes) -> EditorTask:
    recipe = read_recipe(folder, *changes)
    return EditorTask(recipe, toy_autoencoder(recipe, folder), DATA, RunFolder(folder / "run", recipe.text))


@pytest.mark.parametrize("reference", ["finest", "full"])
def test_every_reference_mode_learns_from_one_switch(tmp_path, reference):
    shown = losses_of(
        tmp_path,
        "run",
        ("source_residual = true", f'source_residual = true\nreference = "{reference}"'),
        ("[training.editor]\nsteps = 6\nbatch_size = 2", "[training.editor]\nsteps = 50\nbatch_size = 8"),
        ("text_dropout = 0.3", "text_dropout = 0.0"),
        ("validate_every = 3\nflip_strength = 0.3", "validate_every = 50\nflip_strength = 0.0"),
    )
    assert sum(shown[-10:]) < 0.8 * sum(shown[:10])


def test_a_step_in_parts_is_the_same_step(tmp_path):
    whole = losses_of(tmp_path, "whole", EXACT, FOUR)
    parts = losses_of(tmp_path, "parts", FOUR, (EXACT[0], EXACT[1] + "accumulation = 2\n"))
    assert parts == pytest.approx(whole, rel=1e-5)
    assert parts != whole, "the parts were really computed apart"


def test_blocks_that_are_computed_again_give_the_same_gradients_from_less_memory(tmp_path):
    kept, gradients = [], []
    for number, changes in enumerate(([], [(EXACT[0], EXACT[0] + "gradient_checkpointing = true\n")])):
        (tmp_path / str(number)).mkdir()
        task = task_of(tmp_path / str(number), *changes)
        sizes: list[int] = []
        with closing(task.batches(DataPosition())) as batches:
            batch = next(batches)
        with plain_attention(torch.device("cpu")):
            with torch.autograd.graph.saved_tensors_hooks(counted(sizes), lambda saved: saved):
                loss, _ = task.loss(batch, 0)
            loss.backward()
        kept.append(sum(sizes))
        gradients.append({name: value.grad for name, value in task.module.named_parameters()})
    assert_close(gradients[1], gradients[0], rtol=0, atol=0)
    assert kept[1] < 0.5 * kept[0]


def test_bfloat16_is_near_float32_and_not_it(tmp_path):
    exact, rounded = losses_of(tmp_path, "exact", EXACT, FOUR), losses_of(tmp_path, "rounded", FOUR)
    assert rounded == pytest.approx(exact, rel=3e-2)  # three decimal digits, through four steps
    assert rounded != exact


def coarse(share: float, scales: int) -> tuple[str, str]:
    return EXACT[0], EXACT[1] + f"coarse_share = {share}\ncoarse_scales = {scales}\n"


def test_a_coarse_step_has_the_loss_of_its_scales_alone(tmp_path):
    """By scale: the weight of a token is 1 / sqrt(L_k), and the weights of what is trained add up to one."""
    task = task_of(tmp_path, EXACT)
    with closing(task.batches(DataPosition())) as batches:
        batch = next(batches)
    losses = {}
    for scales in (1, 2, 3):
        (tmp_path / str(scales)).mkdir()
        losses[scales] = task_of(tmp_path / str(scales), coarse(1.0, scales)).loss(batch, 0)
    assert losses[3][0] == task.loss(batch, 0)[0], "all scales are all scales"
    names = [{name for name in numbers if name.startswith("accuracy_")} for _, numbers in losses.values()]
    assert names == [{f"accuracy_{scale + 1}" for scale in range(count)} for count in (1, 2, 3)]
    roots = [length**0.5 for length in batch.template.schedule.lengths]
    shares = [losses[count][0].item() * sum(roots[:count]) for count in (1, 2, 3)]  # sums over tokens / sqrt(L_k)
    assert 0 < shares[0] < shares[1] < shares[2]


def test_coarse_steps_come_as_often_as_the_recipe_says_and_follow_from_the_step(tmp_path):
    task = task_of(tmp_path, coarse(0.3, 2))
    drawn = [task._falls(step, COARSE_SEED, 0.3) for step in range(600)]
    assert drawn == [task._falls(step, COARSE_SEED, 0.3) for step in range(600)]
    assert 0.24 < sum(drawn) / 600 < 0.36


def proposing(share: float, *, what: str = "proposal") -> list[tuple[str, str]]:
    return [
        ("source_residual = true\n", "source_residual = true\nsource_proposal = true\n"),
        (EXACT[0], f'text_dropout = 0.0\nprecision = "float32"\n{what}_share = {share}\n'),
    ]


def left_over(task: EditorTask, steps: int, name: str) -> list[float]:
    """What is left after each of some steps on one batch, by the one number of the step."""
    told = list(told_by_steps(task, steps, learning_rate=1e-2))
    assert all(numbers.keys() == {name} for numbers in told)
    return [numbers[name] for numbers in told]


def told_by_steps(task: EditorTask, steps: int, *, learning_rate: float) -> Iterator[Metrics]:
    """The numbers of each of some steps on one batch."""
    optimizer = torch.optim.AdamW(task.module.parameters(), lr=learning_rate)
    with closing(task.batches(DataPosition())) as batches:
        batch = next(batches)
    for step in range(steps):
        loss, numbers = task.loss(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield numbers


def test_what_the_source_proposes_is_learned_in_steps_of_its_own(tmp_path):
    """The colours of half of the pairs are inverted, and nothing else tells which half but the instruction."""
    task = task_of(tmp_path, *proposing(1.0))
    left = left_over(task, 25, "proposal_left")
    assert left[0] == pytest.approx(1.0, abs=0.05), "it starts near no change"
    assert left[-1] < 0.75
    unused = {name for name, value in task.module.named_parameters() if value.grad is None}
    assert "transformer.head.weight" in unused and "transformer.blocks.0.feed_forward.widen.weight" not in unused


def test_the_pixel_network_learns_alone_in_the_cheapest_steps(tmp_path):
    """The same edit, for which the instruction and single pixels are enough."""
    task = task_of(tmp_path, *proposing(1.0, what="pixel"))
    left = left_over(task, 60, "pixels_left")
    assert left[0] == pytest.approx(1.0, abs=0.1), "it starts near no change"
    assert left[-1] < 0.6
    used = {name for name, value in task.module.named_parameters() if value.grad is not None}
    proposal = "transformer.copy_path.proposal"
    layers = ("ask", *(f"pixels.{layer}" for layer in ("told", "first", "second", "change")))
    reader = {name for name in used if name.startswith(f"{proposal}.words.")}
    assert reader and used - reader == {f"{proposal}.{layer}.{kind}" for layer in layers for kind in KINDS}


class InTheLeftHalf(Negatives):
    """The same in the left half alone, which is the thing, and it is shown in the middle too; so says the truth."""

    def batch(self, indices: Sequence[int], size_hw: tuple[int, int]) -> PairBatch:
        found = super().batch(indices, size_hw)
        left = np.zeros((len(indices), *size_hw), np.uint8)
        left[:, :, : size_hw[1] // 2] = 255
        left[1::2] = 0  # nothing of those that stay as they are
        placements = np.tile(np.array([1, 1, 1, 0.5, 1, 0.5, 0.5], np.float32), (len(indices), 1))
        placements[1::2] = 0
        sprites = np.full((len(indices), 24, 24, 4), 200, np.uint8)
        squares = np.full(len(indices), 8.0, np.float32)
        squares[1::2] = 0
        return found._replace(layers=TrueLayers(left, left, placements, sprites, squares))


def test_a_proposal_learns_from_the_truth_of_its_collage_too(tmp_path):
    task = task_of(tmp_path, *proposing(1.0))
    task.data = replace(task.data, train=InTheLeftHalf())
    first, *_, last = told_by_steps(task, 40, learning_rate=2e-3)
    assert last["changed_mask"] + last["thing_mask"] < 0.5 * (first["changed_mask"] + first["thing_mask"])
    for term in ("placement", "new_thing", "mosaic"):
        assert last[term] < 0.5 * first[term], term


def test_a_proposal_learns_in_bfloat16_too(tmp_path):
    losses = []
    for precision in ("float32", "bfloat16"):
        (tmp_path / precision).mkdir()
        shares, (old, new) = proposing(1.0)
        task = task_of(tmp_path / precision, shares, (old, new.replace("float32", precision)))
        task.data = replace(task.data, train=InTheLeftHalf())
        with closing(task.batches(DataPosition())) as batches:
            losses.append(task.loss(next(batches), 0)[0].item())
    assert losses[1] == pytest.approx(losses[0], rel=0.03) and losses[1] != losses[0]


def test_pairs_of_which_no_layers_are_known_teach_the_proposal_alone(tmp_path):
    task = task_of(tmp_path, *proposing(1.0))
    with closing(task.batches(DataPosition())) as batches:
        batch = next(batches)
    assert batch.layers is None
    _, numbers = task.loss(batch, 0)
    assert set(numbers) == {"proposal_left"}


def test_other_steps_teach_the_proposal_through_the_bits(tmp_path):
    task = task_of(tmp_path, *proposing(0.5))
    with closing(task.batches(DataPosition())) as batches:
        batch = next(batches)
    step = next(step for step in range(20) if not task._falls(step, PROPOSAL_SEED, 0.5))
    loss, numbers = task.loss(batch, step)
    loss.backward()
    copy_path = task.parts.transformer.copy_path
    assert "accuracy" in numbers and copy_path is not None and copy_path.proposal is not None
    assert copy_path.proposal.shift.weight.grad is not None and copy_path.proposal.shift.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("what", ["proposal", "pixel"])
def test_a_recipe_that_trains_a_proposal_needs_a_model_with_one(tmp_path, what):
    with pytest.raises(ConfigError, match=f"sets {what}_share, but its transformer has no source_proposal"):
        read_recipe(tmp_path, proposing(0.5, what=what)[1])
    with pytest.raises(ConfigError, match=f"{what}_share is 1.5; it is a share of the steps"):
        read_recipe(tmp_path, *proposing(1.5, what=what))


@pytest.mark.parametrize(
    "given", [{"coarse_share": 0.5}, {"coarse_scales": 2}, {"coarse_share": 1.5, "coarse_scales": 2}]
)
def test_coarse_steps_need_both_of_their_numbers(given):
    with pytest.raises(ConfigError, match=r"coarse_share is .* give both"):
        EditorTraining(steps=10, batch_size=1, learning_rate=1.0, **given)


def test_the_weight_of_changed_bits_fades_over_its_own_steps_or_by_half_time():
    settings = EditorTraining(steps=10, batch_size=1, learning_rate=1.0, changed_bit_weight=3.0)
    assert [settings.changed_weight(step) for step in (0, 1, 5, 9)] == pytest.approx([3.0, 2.6, 1.0, 1.0])
    fading = EditorTraining(steps=10, batch_size=1, learning_rate=1.0, changed_bit_weight=3.0, fade_steps=20)
    assert [fading.changed_weight(step) for step in (0, 5, 9)] == pytest.approx([3.0, 2.5, 2.1])


@pytest.mark.parametrize(("count", "accumulation"), [(1, 1), (2, 3), (3, 2), (6, 1)])
def test_the_items_of_a_step_are_divided_without_a_gap_or_an_overlap(count, accumulation):
    settings = EditorTraining(steps=1, batch_size=12, learning_rate=1.0, accumulation=accumulation)
    parts = [part for rank in range(count) for part in items_of(settings, process(rank, count))]
    assert [item for part in parts for item in part] == list(range(12))
    assert len({len(part) for part in parts}) == 1


def test_a_batch_that_cannot_be_divided_is_one_sentence():
    settings = EditorTraining(steps=1, batch_size=10, learning_rate=1.0, accumulation=2)
    with pytest.raises(
        UsageError, match=r"batch_size is 10; it must be a multiple of processes x accumulation.* 3 x 2"
    ):
        items_of(settings, process(0, 3))

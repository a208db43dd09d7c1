"""What a proposal's collage finds in pictures, and what it makes of it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.tiny import random, randomize, tiny_config
from varedit.training.initialisation import initialise
from varedit.training.objective import collage_loss
from varedit.transformer.block import TextContext
from varedit.transformer.collage import Collage, Layers, composed
from varedit.transformer.model import VAREditTransformer

STATES = (2, 24, 3, 5)  # of tokens, in a picture of 24 x 40 pixels
SURELY = 10.0
NOT_PLACED = torch.tensor([[-SURELY, -SURELY, 0.0, -SURELY, 0.0, 0.0]])


@pytest.fixture
def collage() -> Collage:
    collage = Collage(tiny_config()).requires_grad_(False)
    randomize(collage, seed=3)
    return collage


def pictures() -> tuple[Tensor, Tensor]:
    return random(2, 3, 24, 40, seed=1), random(2, 3, 24, 40, seed=2)


def found(collage: Collage) -> Layers:
    layers: Layers = collage(*pictures(), random(*STATES, seed=4), words())
    return layers


def words(count: int = 2) -> TextContext:
    """Instructions of 6 words, the second one of 4."""
    mask = torch.arange(6) < torch.tensor([6, 4])[:count, None]
    return TextContext(random(count, 24, seed=5), random(count, 6, 24, seed=6), mask[:, None, None])


def without_norms(collage: Collage) -> None:
    """Norms look at the whole picture; without them a network sees what its kernels reach."""
    for block in (*collage.before, collage.middle, *collage.after):
        block.norm = torch.nn.Identity()


def test_source_proposal_and_states_tell_of_their_own_place(collage):
    without_norms(collage)
    given = [random(1, 3, 8, 160, seed=1), random(1, 3, 8, 160, seed=2), random(1, 24, 1, 20, seed=4)]
    text = words(1)
    for number, changed in enumerate(given):
        others = [*given[:number], changed.clone(), *given[number + 1 :]]
        others[number][..., 0] += 1
        for mask, before in zip(collage(*others, text)[:2], collage(*given, text)[:2], strict=True):
            touched = (mask - before).abs().amax(dim=(0, 1, 2)) > 1e-6
            assert touched[:8].all() and not touched[80:].any(), "a kernel's reach is some tokens"


def test_every_pixel_of_a_fold_has_numbers_of_its_own(collage):
    collage.masks.weight.zero_(), collage.masks.bias.copy_(torch.arange(8.0))
    changed, thing, _ = found(collage)
    assert_close(changed[0, 0, 4:6, 8:10], torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
    assert_close(thing[1, 0, :2, :2], torch.tensor([[4.0, 5.0], [6.0, 7.0]]))


def test_a_place_is_told_by_up_to_32_half_waves_over_the_picture(collage):
    seen: list[Tensor] = []
    collage.conv_in.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    found(collage)
    waves = seen[0][0, 24:, 3, 7]
    down, across = (torch.tensor([1, 2, 4, 8, 16, 32]) * math.pi * place for place in (3.5 / 12, 7.5 / 20))
    assert_close(waves, torch.cat((down.sin(), down.cos(), across.sin(), across.cos())), rtol=1e-4, atol=1e-4)


def test_it_sees_what_was_proposed_as_a_difference(collage):
    seen: list[Tensor] = []
    collage.conv_in.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    found(collage)
    source, proposed = pictures()
    folded = seen[0][:, :24].reshape(2, 6, 2, 2, 12, 20)
    assert_close(folded[:, :3, 1, 0], source[:, :, 1::2, ::2])
    assert_close(folded[:, 3:, 0, 1], (proposed - source)[:, :, ::2, 1::2])


def test_the_words_alone_tell_a_placement_and_padding_nothing(collage):
    layers = found(collage)
    double, states = [2 * picture for picture in pictures()], random(*STATES, seed=8)
    assert_close(collage(*double, states, words()).placement, layers.placement)
    for word, counts in ((5, [True, False]), (3, [True, True])):
        other = words().words.clone()
        other[:, word] += 1
        moved = collage(*pictures(), random(*STATES, seed=4), replace(words(), words=other)).placement
        assert (moved != layers.placement).all(dim=1).tolist() == counts


def flat(height: int, width: int, logit: float = -SURELY) -> Tensor:
    return torch.full((1, 1, height, width), logit)


def test_only_what_changes_takes_the_proposals_colours():
    source, proposed = (picture[:1] for picture in pictures())
    changed = flat(24, 40)
    changed[..., 5:9, 7] = SURELY
    made = composed(source, proposed, Layers(changed, flat(24, 40), NOT_PLACED))
    expected = source.clone()
    expected[..., 5:9, 7] = proposed[..., 5:9, 7]
    assert torch.equal(made, expected), "and all else is the source's, bit for bit"


def with_a_thing() -> tuple[Tensor, Tensor]:
    """A picture of 32 x 64 pixels, and the logits of a thing of 4 x 8 pixels around (x, y) = (16, 10)."""
    source, thing = random(1, 3, 32, 64, seed=7), flat(32, 64)
    thing[..., 8:12, 12:20] = SURELY
    return source, thing


def test_a_thing_is_shown_elsewhere_over_the_proposal():
    source, thing = with_a_thing()
    proposed = random(1, 3, 32, 64, seed=8)
    placement = torch.tensor([[-SURELY, SURELY, 0.0, SURELY, 40 / 64, 22 / 32]])
    made = composed(source, proposed, Layers(flat(32, 64, SURELY), thing, placement))
    expected = proposed.clone()
    expected[..., 20:24, 36:44] = source[..., 8:12, 12:20]
    assert_close(made, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [2.0, 0.5])
def test_a_thing_that_is_resized_keeps_its_middle(scale):
    """A gradient is sampled exactly between its pixels, so that colours tell where they come from."""
    _, thing = with_a_thing()
    y, x = torch.meshgrid(torch.arange(32.0) + 0.5, torch.arange(64.0) + 0.5, indexing="ij")
    source = torch.stack((x, y, x + y)).unsqueeze(0) / 100
    placement = torch.tensor([[-SURELY, SURELY, math.log(scale), -SURELY, 0.9, 0.9]])
    made = composed(source, source, Layers(flat(32, 64), thing, placement))
    inside = (10.5, 16.5)  # a pixel's middle: half a pixel below and to the right of the thing's
    expected = torch.tensor([16 + 0.5 / scale, 10 + 0.5 / scale, 26 + 1 / scale]) / 100
    assert_close(made[0, :, int(inside[0]), int(inside[1])], expected, rtol=1e-4, atol=1e-4)
    half = 4 * scale  # of its width
    assert made[0, 0, 10, int(16 + half - 1)] != source[0, 0, 10, int(16 + half - 1)]
    assert made[0, 0, 10, int(16 + half + 1)] == source[0, 0, 10, int(16 + half + 1)]


def test_a_thing_is_where_its_box_is_and_not_its_weight_and_specks_are_none_of_it():
    source, thing = random(1, 3, 64, 64, seed=7), flat(64, 64)
    thing[..., 16:24, 8:40], thing[..., 24:48, 8:16] = SURELY, SURELY  # a hook with its box around (24, 32)
    thing[..., 60, 60] = SURELY
    placement = torch.tensor([[-SURELY, SURELY, 0.0, SURELY, 40 / 64, 36 / 64]])
    made = composed(source, 0 * source, Layers(flat(64, 64, SURELY), thing, placement))
    assert_close(made[..., 20:28, 24:56], source[..., 16:24, 8:40], rtol=1e-4, atol=1e-4)


def test_where_a_thing_is_taken_away_its_surroundings_go_on():
    """On a gradient: as far as squares can follow it, from beyond one pixel around the thing."""
    thing = flat(32, 64)
    thing[..., 12:20, 20:30] = SURELY
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(64.0), indexing="ij")
    source = torch.stack((x / 64, y / 32, 0 * x)).unsqueeze(0)
    with_thing = source.clone()
    with_thing[..., 12:20, 20:30] = 1.0
    with_thing[..., 11, 20:30] = 0.9  # the soft edge that no mask holds
    placement = torch.tensor([[SURELY, -SURELY, 0.0, -SURELY, 0.0, 0.0]])
    made = composed(with_thing, 0 * source, Layers(flat(32, 64), thing, placement))
    assert (made - source).abs().max() < 0.15
    untouched = torch.ones(32, 64, dtype=torch.bool)
    untouched[11:21, 19:31] = False
    assert torch.equal(made[..., untouched], source[..., untouched])


def test_what_is_unlikely_is_not_shown_at_all():
    source, thing = with_a_thing()
    placement = torch.tensor([[-1.0, -1.0, 0.5, SURELY, 0.5, 0.5]])  # a probability of 0.27
    made = composed(source, source + 1, Layers(flat(32, 64, -1.0), thing, placement))
    assert torch.equal(made, source)


def test_a_thing_that_is_nowhere_leaves_the_picture_as_it_is():
    source, _ = with_a_thing()
    placement = torch.tensor([[SURELY, SURELY, 0.3, SURELY, 0.5, 0.5]])
    assert torch.equal(composed(source, source, Layers(flat(32, 64), flat(32, 64), placement)), source)


def test_layers_learn_through_the_picture():
    source, thing = with_a_thing()
    thing = (thing / 20).requires_grad_()
    placement = torch.tensor([[0.2, 0.2, 0.1, 0.2, 0.6, 0.6]], requires_grad=True)
    composed(source, -source, Layers((thing * 0.5), thing, placement)).square().sum().backward()
    assert thing.grad is not None and placement.grad is not None
    assert thing.grad.isfinite().all() and (placement.grad != 0).all()


def test_from_scratch_it_leaves_the_proposal_as_it_is():
    transformer = VAREditTransformer(tiny_config(source_residual=True, source_proposal=True)).requires_grad_(False)
    initialise(transformer, seed=0, initial_gain=1.0)
    assert transformer.copy_path is not None and transformer.copy_path.proposal is not None
    layers = found(transformer.copy_path.proposal.collage)
    source, proposed = pictures()
    assert torch.equal(composed(source, proposed, layers), proposed)


def test_the_loss_counts_size_and_place_only_where_there_are_some():
    masks = torch.tensor([[1.0, 0.0]]).view(1, 1, 1, 2).expand(2, -1, -1, -1)
    true = Layers(masks, 1 - masks, torch.tensor([[1.0, 1.0, 0.5, 1.0, 0.2, 0.8], [0.0] * 6]))
    right = 20 * (2 * masks - 1)
    exact = Layers(
        right, -right, torch.tensor([[20.0, 20.0, 0.5, 20.0, 0.2, 0.8], [-20.0, -20.0, 7.0, -20.0, 7.0, 7.0]])
    )
    loss, terms = collage_loss(exact, true)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    off = exact.placement + torch.tensor([[0.0, 0.0, 0.1, 0.0, 0.2, -0.1], [0.0] * 6])
    loss, terms = collage_loss(exact._replace(placement=off), true)
    expected = (20 * 0.1**2 + 200 * (0.2**2 + 0.1**2)) / 2
    assert terms["placement"] == pytest.approx(expected, rel=1e-3) and loss.item() == pytest.approx(
        0.3 * expected, rel=1e-3
    )
    _, terms = collage_loss(exact._replace(thing=0 * masks, changed=0 * masks), true)
    assert terms["changed_mask"] == terms["thing_mask"] == pytest.approx(math.log(2), rel=1e-4)
    _, terms = collage_loss(exact._replace(placement=0 * exact.placement), true)
    wrong = (20 * 0.5**2 + 200 * (0.2**2 + 0.8**2)) / 2
    assert terms["placement"] == pytest.approx(3 * math.log(2) + wrong, rel=1e-4)

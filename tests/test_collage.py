"""What a proposal's collage finds in pictures, and what it makes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.tiny import random, randomize, tiny_config
from varedit.data.adjustments import PIXELATE
from varedit.mosaic import pixelated
from varedit.training.initialisation import initialise
from varedit.training.objective import collage_loss
from varedit.transformer.block import TextContext
from varedit.transformer.collage import Collage, Layers, composed
from varedit.transformer.model import VAREditTransformer

STATES = (2, 24, 3, 5)  # of tokens, in a picture of 24 x 40 pixels
SURELY = 10.0
NO = -SURELY
NOT_PLACED = torch.tensor([[NO, NO, NO, 0.0, NO, 0.0, 0.0]])
NO_SPRITE, NO_MOSAIC = torch.zeros(1, 4, 24, 24), torch.tensor([[SURELY, NO, NO, NO]])


def layered(
    changed: Tensor,
    thing: Tensor,
    placement: Sequence[float] | Tensor = NOT_PLACED[0],
    sprite: Tensor = NO_SPRITE,
    mosaic: Tensor = NO_MOSAIC,
) -> Layers:
    """Layers of one picture, with a placement as in `Layers`."""
    return Layers(changed, thing, torch.as_tensor(placement).view(1, 7), sprite, mosaic)


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
    changed, thing, *_ = found(collage)
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


@pytest.mark.parametrize("what", ["placement", "sprite", "mosaic"])
def test_the_words_alone_tell_what_goes_where_and_padding_nothing(collage, what):
    told = getattr(found(collage), what)
    double, states = [2 * picture for picture in pictures()], random(*STATES, seed=8)
    assert_close(getattr(collage(*double, states, words()), what), told)
    for word, counts in ((5, [True, False]), (3, [True, True])):
        other = words().words.clone()
        other[:, word] += 1
        moved = getattr(collage(*pictures(), random(*STATES, seed=4), replace(words(), words=other)), what)
        assert (moved != told).flatten(1).any(dim=1).tolist() == counts


def test_the_order_of_words_tells_which_thing_is_the_new_one(collage):
    told = collage.planner(words()).sprite
    swapped = words().words.clone()
    swapped[:, [1, 3]] = swapped[:, [3, 1]]
    other = collage.planner(replace(words(), words=swapped)).sprite
    assert ((other - told).abs().amax(dim=(1, 2, 3)) > 0.1 * told.abs().amax(dim=(1, 2, 3))).all()


def test_a_new_thing_is_drawn_in_colours_that_there_are(collage):
    collage.planner.sprites.last.weight.mul_(100)
    sprite = found(collage).sprite
    assert sprite.shape == (2, 4, 24, 24) and sprite[:, :3].abs().max() <= 1 < sprite[:, 3].abs().max()


def flat(height: int, width: int, logit: float = -SURELY) -> Tensor:
    return torch.full((1, 1, height, width), logit)


def test_only_what_changes_takes_the_proposals_colours():
    source, proposed = (picture[:1] for picture in pictures())
    changed = flat(24, 40)
    changed[..., 5:9, 7] = SURELY
    made = composed(source, proposed, layered(changed, flat(24, 40)))
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
    placement = [NO, SURELY, NO, 0.0, SURELY, 40 / 64, 22 / 32]
    made = composed(source, proposed, layered(flat(32, 64, SURELY), thing, placement))
    expected = proposed.clone()
    expected[..., 20:24, 36:44] = source[..., 8:12, 12:20]
    assert_close(made, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [2.0, 0.5])
def test_a_thing_that_is_resized_keeps_its_middle(scale):
    """A gradient is sampled exactly between its pixels, so that colours tell where they come from."""
    _, thing = with_a_thing()
    y, x = torch.meshgrid(torch.arange(32.0) + 0.5, torch.arange(64.0) + 0.5, indexing="ij")
    source = torch.stack((x, y, x + y)).unsqueeze(0) / 100
    placement = [NO, SURELY, NO, math.log(scale), NO, 0.9, 0.9]
    made = composed(source, source, layered(flat(32, 64), thing, placement))
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
    placement = [NO, SURELY, NO, 0.0, SURELY, 40 / 64, 36 / 64]
    made = composed(source, 0 * source, layered(flat(64, 64, SURELY), thing, placement))
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
    placement = [SURELY, NO, NO, 0.0, NO, 0.0, 0.0]
    made = composed(with_thing, 0 * source, layered(flat(32, 64, SURELY), thing, placement))
    assert (made - source).abs().max() < 0.15
    untouched = torch.ones(32, 64, dtype=torch.bool)
    untouched[11:21, 19:31] = False
    assert torch.equal(made[..., untouched], source[..., untouched])


def test_what_is_unlikely_is_not_shown_at_all():
    source, thing = with_a_thing()
    placement = [-1.0, -1.0, -1.0, 0.5, SURELY, 0.5, 0.5]  # a probability of 0.27
    unlikely = layered(flat(32, 64, -1.0), thing, placement, torch.ones(1, 4, 24, 24))
    made = composed(source, source + 1, unlikely)
    assert torch.equal(made, source)


def test_a_thing_that_is_nowhere_leaves_the_picture_as_it_is():
    source, _ = with_a_thing()
    placement = [SURELY, SURELY, NO, 0.3, SURELY, 0.5, 0.5]
    assert torch.equal(composed(source, source, layered(flat(32, 64), flat(32, 64), placement)), source)


def new_thing() -> Tensor:
    """Red in its left half, green in its right one, over the upper half of its square."""
    sprite = torch.full((1, 4, 24, 24), -1.0)
    sprite[:, 0, :, :12], sprite[:, 1, :, 12:] = 1.0, 1.0
    sprite[:, 3] = -SURELY
    sprite[:, 3, :12] = SURELY
    return sprite


RED, GREEN = torch.tensor([1.0, -1.0, -1.0]), torch.tensor([-1.0, 1.0, -1.0])


def halves(side: int) -> Tensor:
    """The upper half of that thing, (3, side / 2, side)."""
    colours = torch.stack((RED, GREEN), dim=1).repeat_interleave(side // 2, dim=1)
    return colours.unsqueeze(1).expand(3, side // 2, side)


def test_a_new_thing_has_a_place_and_a_share_of_the_shorter_side_of_its_own():
    source, thing = with_a_thing()
    placement = [NO, NO, SURELY, math.log(0.5), SURELY, 40 / 64, 20 / 32]
    made = composed(source, 0 * source, layered(flat(32, 64, SURELY), thing, placement, new_thing()))
    expected = source.clone()  # the proposal is not to draw it once more
    expected[0, :, 12:20, 32:48] = halves(16)
    seams = torch.zeros(32, 64, dtype=torch.bool)
    seams[[12, 19, 20], 31:49], seams[12:21, [31, 32, 39, 40, 47, 48]] = True, True
    assert_close(made[..., ~seams], expected[..., ~seams], rtol=1e-4, atol=1e-4)


def test_a_new_thing_takes_the_place_and_the_size_of_one_that_is_taken_away():
    thing = flat(64, 64)
    thing[..., 16:48, 24:40] = SURELY  # 32 pixels high, around (32, 32)
    source = torch.full((1, 3, 64, 64), 0.25)
    source[..., 16:48, 24:40] = -0.5
    placement = [SURELY, NO, SURELY, 0.0, NO, 0.9, 0.9]
    made = composed(source, source, layered(flat(64, 64), thing, placement, new_thing()))
    expected = torch.full((3, 64, 64), 0.25)
    expected[:, 16:32, 16:48] = halves(32)
    seams = torch.zeros(64, 64, dtype=torch.bool)
    seams[[15, 16, 31, 32], 15:49], seams[15:33, [15, 16, 31, 32, 47, 48]] = True, True
    assert_close(made[0][:, ~seams], expected[:, ~seams], rtol=1e-4, atol=1e-4)


def test_what_changes_becomes_a_mosaic_of_the_proposal_as_scenes_make_it():
    pixels = np.random.default_rng(5).random((32, 45, 3), np.float32)
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    changed = flat(32, 45, SURELY)
    changed[..., :9] = NO
    for number, count in enumerate(PIXELATE.values()):
        mosaic = torch.full((1, 4), 0.3)
        mosaic[0, 1 + number] = 0.4  # the likeliest, however little
        made = composed(picture + 1, picture, layered(changed, flat(32, 45), mosaic=mosaic))
        expected = torch.from_numpy(pixelated(pixels, count)).permute(2, 0, 1)
        assert_close(made[0, ..., 9:], expected[..., 9:], rtol=1e-4, atol=1e-4)
        assert torch.equal(made[..., :9], picture[..., :9] + 1)


def test_layers_learn_through_the_picture():
    source, thing = with_a_thing()
    thing = (thing / 20).requires_grad_()
    placement = torch.tensor([0.2, 0.2, 0.2, 0.1, 0.2, 0.6, 0.6], requires_grad=True)
    sprite = random(1, 4, 24, 24, seed=9).mul_(0.1).requires_grad_()
    composed(source, -source, layered(thing * 0.5, thing, placement, sprite)).square().sum().backward()
    assert thing.grad is not None and placement.grad is not None and sprite.grad is not None
    assert thing.grad.isfinite().all() and (placement.grad != 0).all() and (sprite.grad != 0).any(dim=(0, 2, 3)).all()


def test_from_scratch_it_leaves_the_proposal_as_it_is():
    transformer = VAREditTransformer(tiny_config(source_residual=True, source_proposal=True)).requires_grad_(False)
    initialise(transformer, seed=0, initial_gain=1.0)
    assert transformer.copy_path is not None and transformer.copy_path.proposal is not None
    layers = found(transformer.copy_path.proposal.collage)
    source, proposed = pictures()
    assert torch.equal(composed(source, proposed, layers), proposed)


def true_layers() -> Layers:
    """Of a thing that is moved and made larger, of a new one, and of a mosaic."""
    masks = torch.tensor([[1.0, 0.0]]).view(1, 1, 1, 2).expand(3, -1, -1, -1)
    placement = torch.tensor(
        [[1.0, 1.0, 0.0, 0.5, 1.0, 0.2, 0.8], [0.0, 0.0, 1.0, -0.4, 0.0, 0.0, 0.0], [0.0] * 7],
    )
    sprite = torch.zeros(3, 4, 2, 2)
    sprite[1, :3], sprite[1, 3, 0] = 0.5, 1.0
    return Layers(masks, 1 - masks, placement, sprite, torch.eye(4)[[0, 0, 2]])


def exactly(true: Layers) -> Layers:
    """What says the same, and something else where nothing counts."""
    changed, thing = (20 * (2 * mask - 1) for mask in true[:2])
    placement, sprite = true.placement.clone(), true.sprite.clone()
    for columns in (placement[:, :3], placement[:, 4:5], sprite[:, 3:]):
        columns.copy_(20 * (2 * columns - 1))
    placement[2, 3], placement[1:, 5:] = 7.0, 7.0
    sprite[0], sprite[2], sprite[1, :3, 1] = 3.0, 3.0, 3.0
    return Layers(changed, thing, placement, sprite, 20 * true.mosaic)


def test_the_loss_counts_sizes_places_and_looks_only_where_there_are_some():
    true, exact = true_layers(), exactly(true_layers())
    loss, terms = collage_loss(exact, true)
    assert [loss.item(), *terms.values()] == pytest.approx([0.0] * 7, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "change", "expected", "weight"),
    [
        ("placement", lambda each: each.placement[0, 3].add_(0.1), 20 * 0.1**2 / 3, 0.3),
        ("placement", lambda each: each.placement[1, 3].sub_(0.2), 20 * 0.2**2 / 3, 0.3),
        ("placement", lambda each: each.placement[0, 5:].add_(0.1), 200 * 2 * 0.1**2 / 3, 0.3),
        ("placement", lambda each: each.placement[:, 2].zero_(), math.log(2), 0.3),
        ("changed_mask", lambda each: each.changed.zero_(), math.log(2), 1),
        ("new_thing", lambda each: each.sprite[1, :3].add_(0.3), 4 * 2 * 0.3 / 2 / 3, 1),
        ("new_thing", lambda each: each.sprite[:, 3].zero_(), 4 * math.log(2) / 3, 1),
        ("mosaic", lambda each: each.mosaic[2].zero_(), math.log(4) / 3, 0.3),
        ("mosaic", lambda each: each.mosaic[2, 3].fill_(20), math.log(2) / 3, 0.3),
    ],
)
def test_each_part_of_the_collage_has_its_say_in_the_loss(name, change, expected, weight):
    true, off = true_layers(), exactly(true_layers())
    change(off)
    loss, terms = collage_loss(off, true)
    assert terms[name] == pytest.approx(expected, rel=1e-3)
    assert loss.item() == pytest.approx(weight * expected, rel=1e-3)


def test_an_outline_is_off_by_its_entropy_and_by_what_it_lacks_to_overlap():
    true, off = true_layers(), exactly(true_layers())
    true.thing.zero_()[0, 0, 0] = 1
    off = off._replace(thing=torch.zeros_like(true.thing))
    loss, terms = collage_loss(off, true)
    row, pixels = true.thing.shape[3], true.thing[0].numel()
    apart = (1 - 2 * 0.5 * row / (0.25 * pixels + row)) / 3  # of three pictures one has a thing
    assert [terms["thing_mask"], terms["thing_apart"]] == pytest.approx([math.log(2), apart])
    assert loss.item() == pytest.approx(math.log(2) + 2 * apart, rel=1e-3)


def test_true_masks_and_sprites_may_be_finer_than_the_found_ones():
    true, off = true_layers(), exactly(true_layers())
    changed, sprite = (each.repeat_interleave(2, 2).repeat_interleave(2, 3) for each in (true.changed, true.sprite))
    finer = true._replace(changed=changed, sprite=sprite)
    change, _ = collage_loss(off, finer)
    assert change.item() == pytest.approx(0.0, abs=1e-6)

"""Scenes of objects: shapes and cut-outs on a background, of which one is added, removed, replaced or changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from varedit.data.adjustments import Bytes
from varedit.data.compositions import Composition, Placed
from varedit.data.crops import PhotographCrops
from varedit.data.cutouts import Cutout
from varedit.data.draws import one_of, shuffled
from varedit.data.edit_phrases import ObjectEdit, object_instruction
from varedit.data.language import Phrasing
from varedit.data.places import REGIONS
from varedit.data.scene import SPRITE_SIDE, Placement, Scene, distinct
from varedit.data.shapes import PAINT_NAMES, PAINTS, PaintName
from varedit.data.things import DrawnShape, Thing, ThingSupply, in_a_square, paints_of

KINDS: tuple[ObjectEdit, ...] = get_args(ObjectEdit)
NUM_THINGS = (1, 1, 2, 2, 3)  # how many there are before the edit, drawn evenly
SIZES = (0.26, 0.42)  # of things that are there
NEW_SIZE = 0.34  # of a thing that an instruction adds: it says no size
BIGGER, SMALLER = 1.5, 0.6
TEXTURE_SHARE, PLAIN_SHARE = 0.12, 0.13  # of the backgrounds; the others are crops of photographs
SHORT_NAME_SHARE = 0.4  # of the shapes that are called without their colour where there is only one of the shape
PLACING_ATTEMPTS = 40
SMALLEST_CHANGE = 24.0  # bytes, where anything changes: a pink ring on a pink wall is drawn anew
NUM_WRONG = 10


@dataclass(frozen=True, eq=False)
class _Edit:
    """What one edit makes of a composition."""

    target: Composition
    text: str
    same_kind: list[Composition]  # the edit with another parameter
    placement: Placement | None = None  # where it shows the subject once more, or a new thing


class ObjectScenes:
    """Edits of objects.

    Args:
        photographs, textures: where backgrounds are cut from; no textures leaves photographs and plain ones.
        cutouts: things beside the drawn shapes; may be empty.
        phrasing: which wordings the instructions take.
        held_out: whether the thing that is edited is one that training never sees, by noun or by shape and colour.
        kinds: of edits, drawn evenly.
    """

    def __init__(
        self,
        photographs: PhotographCrops,
        textures: PhotographCrops | None,
        cutouts: Sequence[Cutout],
        *,
        phrasing: Phrasing,
        held_out: bool,
        kinds: Sequence[ObjectEdit] = KINDS,
    ) -> None:
        self.kinds = kinds
        self.photographs, self.textures, self.phrasing, self.held_out = photographs, textures, phrasing, held_out
        self.supply = ThingSupply(cutouts)

    def scene(self, random: np.random.Generator, size_hw: tuple[int, int]) -> Scene:
        """See `scene.SceneFamily`. The thing that is edited is the subject of the composition."""
        kind = one_of(self.kinds, random)
        while True:
            background, stem = self._background(random, size_hw)
            before = self._composition(kind, background, random)
            edit = self._edit(kind, before, random)
            if edit is None:
                continue
            source, target = before.rendered(), edit.target.rendered()
            if mean_change_where_changed(source, target) >= SMALLEST_CHANGE:
                break

        def wrong(random: np.random.Generator) -> list[Bytes]:
            made = [*edit.same_kind, *self._variations(before, random)]
            return distinct([each.rendered() for each in made], source, target, at_most=NUM_WRONG)

        thing = None if kind in ("add", "background") else before.subject.cover(size_hw)
        is_taken = thing is not None and kind != "recolour"
        return Scene(source, edit.text, target, "object", kind, stem, wrong, thing, is_taken, edit.placement)

    # What is there before the edit

    def _background(self, random: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Bytes, str]:
        kind = random.random()
        if kind < PLAIN_SHARE:
            return gradient(random, size_hw), ""
        if kind < PLAIN_SHARE + TEXTURE_SHARE and self.textures is not None:
            return self.textures.crop(random, size_hw)
        return self.photographs.crop(random, size_hw)

    def _composition(self, kind: ObjectEdit, background: Bytes, random: np.random.Generator) -> Composition:
        """Things with names of their own that stand apart."""
        composition = Composition(background, ())
        for thing in reversed(self._things(kind, random)):  # the subject first: it always finds a place
            for _ in range(PLACING_ATTEMPTS):
                placed = _somewhere(thing, random)
                if composition.is_free(placed):
                    composition = Composition(background, (placed, *composition.things))
                    break
        return composition

    def _things(self, kind: ObjectEdit, random: np.random.Generator) -> list[Thing]:
        """One to three things with different names; the last one is the subject, unless one shall be added."""
        count = one_of(NUM_THINGS, random)
        things: list[Thing] = []
        while len(things) < count:
            is_subject = len(things) == count - 1 and kind != "add"
            thing = self.supply.thing(
                random, held_out=is_subject and self.held_out, only_shapes=is_subject and kind == "recolour"
            )
            if all(thing.words != other.words for other in things):
                things.append(thing)
        return things

    # The edits

    def _edit(self, kind: ObjectEdit, before: Composition, random: np.random.Generator) -> _Edit | None:
        """One edit of the subject; None where there is no room for it, or no other colour."""
        the = called(before.subject.thing, before, random)
        match kind:
            case "add":
                return self._addition(before, random)
            case "remove":
                return self._removal(before, the, random)
            case "replace":
                return self._replacement(before, the, random)
            case "recolour":
                return self._recolouring(before, the, random)
            case "bigger" | "smaller":
                return self._resizing(kind, before, the, random)
            case "move":
                return self._move(before, the, random)
            case "background":
                return self._new_background(before, random)

    def _addition(self, before: Composition, random: np.random.Generator) -> _Edit | None:
        new = self._new_thing(before, random)
        placed = Placed(new, 0.5, 0.5, NEW_SIZE)
        free = [region for region in REGIONS if before.is_free(placed.at(region))]
        if not free:
            return None
        region, *elsewhere = shuffled(free, random)
        others = [before.plus(replace(placed, thing=it).at(region)) for it in self.supply.others(new, random, 5)]
        others += [before.plus(placed.at(other)) for other in elsewhere[:3]]
        text = object_instruction("add", random, self.phrasing, a=new.words, place=region)
        there = placed.at(region)
        placement = Placement(NEW_SIZE, (there.x, there.y), in_a_square(new, SPRITE_SIDE))
        return _Edit(before.plus(there), text, others, placement)

    def _removal(self, before: Composition, the: str, random: np.random.Generator) -> _Edit:
        others = [before.without(index) for index in range(len(before.things) - 1)]
        text = object_instruction("remove", random, self.phrasing, the=the)
        return _Edit(before.without_subject(), text, others)

    def _replacement(self, before: Composition, the: str, random: np.random.Generator) -> _Edit:
        subject, rest = before.subject, before.without_subject()
        new = self._new_thing(before, random)
        others = [rest.plus(replace(subject, thing=thing)) for thing in self.supply.others(new, random, 5)]
        text = object_instruction("replace", random, self.phrasing, the=the, a=new.words)
        height, width, _ = before.background.shape
        placement = Placement(subject.slack((height, width)), sprite=in_a_square(new, SPRITE_SIDE))
        return _Edit(rest.plus(replace(subject, thing=new)), text, others, placement)

    def _recolouring(self, before: Composition, the: str, random: np.random.Generator) -> _Edit | None:
        subject, shape = before.subject, before.subject.thing
        assert isinstance(shape, DrawnShape), "only shapes are recoloured"
        paints = shuffled(paints_of(shape.shape, held_out=self.held_out), random)
        paint = next((paint for paint in paints if paint != shape.paint), None)
        if paint is None:
            return None
        others = [other for other in shuffled(PAINT_NAMES, random) if other != paint]
        made = [
            before.without_subject().plus(replace(subject, thing=replace(shape, paint=each)))
            for each in (paint, *others[:5])
        ]
        text = object_instruction("recolour", random, self.phrasing, the=the, to=paint)
        return _Edit(made[0], text, made[1:])

    def _resizing(
        self, kind: Literal["bigger", "smaller"], before: Composition, the: str, random: np.random.Generator
    ) -> _Edit:
        factor = BIGGER if kind == "bigger" else SMALLER
        *others, target = [
            before.with_thing(index, replace(placed, size=placed.size * factor))
            for index, placed in enumerate(before.things)
        ]
        return _Edit(target, object_instruction(kind, random, self.phrasing, the=the), others, Placement(factor))

    def _move(self, before: Composition, the: str, random: np.random.Generator) -> _Edit | None:
        subject, rest = before.subject, before.without_subject()
        free = [
            region
            for region in REGIONS
            if rest.is_free(there := subject.at(region))
            and max(abs(there.x - subject.x), abs(there.y - subject.y)) > subject.size / 2
        ]
        if not free:
            return None
        region, *elsewhere = shuffled(free, random)
        others = [rest.plus(subject.at(other)) for other in elsewhere[:5]]
        others.append(before.plus(subject.at(region)))  # a copy instead
        text = object_instruction("move", random, self.phrasing, the=the, place=region)
        moved = subject.at(region)
        return _Edit(rest.plus(moved), text, others, Placement(centre=(moved.x, moved.y)))

    def _new_background(self, before: Composition, random: np.random.Generator) -> _Edit:
        taken = {placed.thing.paint for placed in before.things if isinstance(placed.thing, DrawnShape)}
        paint, *others = (paint for paint in shuffled(PAINT_NAMES, random) if paint not in taken)
        made = [_on_plain(before, each) for each in (paint, *others[:6])]
        made.append(replace(made[0], things=()))
        return _Edit(made[0], object_instruction("background", random, self.phrasing, to=paint), made[1:])

    def _new_thing(self, before: Composition, random: np.random.Generator) -> Thing:
        """A thing whose name nothing in the picture has."""
        names = [placed.thing.words for placed in before.things]
        return self.supply.other_than(names, random, held_out=self.held_out)

    def _variations(self, before: Composition, random: np.random.Generator) -> Iterator[Composition]:
        """What else might happen to the subject, or to another thing."""
        subject, rest = before.subject, before.without_subject()
        yield rest
        for thing in self.supply.others(subject.thing, random, 3):
            yield rest.plus(replace(subject, thing=thing))
        for region in shuffled(REGIONS, random)[:3]:
            yield rest.plus(subject.at(region))
        for factor in (BIGGER, SMALLER):
            yield rest.plus(replace(subject, size=subject.size * factor))
        for index in range(len(rest.things)):
            yield before.without(index)
        for paint in ("blue", "white", "green", "black"):
            yield _on_plain(before, paint)


def mean_change_where_changed(source: Bytes, target: Bytes) -> float:
    """Mean absolute difference per channel, in bytes, over the pixels that differ; 0 where none does."""
    difference = np.abs(source.astype(np.int16) - target)
    changed = difference.any(axis=2)
    return float(difference[changed].mean()) if changed.any() else 0.0


def called(thing: Thing, composition: Composition, random: np.random.Generator) -> str:
    """How an instruction refers to a thing: a shape goes without its colour at times, if it is the only one."""
    if isinstance(thing, DrawnShape) and random.random() < SHORT_NAME_SHARE:
        shapes = [placed.thing.shape for placed in composition.things if isinstance(placed.thing, DrawnShape)]
        if shapes.count(thing.shape) == 1:
            return thing.shape
    return thing.words


def gradient(random: np.random.Generator, size_hw: tuple[int, int]) -> Bytes:
    """A plain background (H, W, 3): one colour that runs into another in a random direction."""
    height, width = size_hw
    start, end = random.uniform(0, 255, (2, 3)).astype(np.float32)
    end = start + random.uniform(0, 0.6) * (end - start)
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    run = np.cos(angle) * (x / width - 0.5) + np.sin(angle) * (y / height - 0.5)
    share = np.clip(run / 1.4 + 0.5, 0, 1)[..., None].astype(np.float32)
    pixels: Bytes = (start + share * (end - start) + 0.5).astype(np.uint8)
    return pixels


def _on_plain(composition: Composition, paint: PaintName) -> Composition:
    """The same things on one colour."""
    background = np.broadcast_to(np.array(PAINTS[paint], np.uint8), composition.background.shape)
    return replace(composition, background=background)


def _somewhere(thing: Thing, random: np.random.Generator) -> Placed:
    """A random size, and a random place well inside the picture."""
    size = random.uniform(*SIZES)
    low, high = size / 2, 1 - size / 2
    return Placed(thing, random.uniform(low, high), random.uniform(low, high), size)

"""From the arguments of a call to a list of single edits: broadcasting, seeds, checks. Knows nothing of models."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from varedit.edited_codes import EditedCodes
from varedit.errors import UsageError
from varedit.images import Picture, load_mask, read_image
from varedit.sampling import SamplingSettings

if TYPE_CHECKING:
    from varedit.images import ImageSource

T = TypeVar("T")

MAX_SEED = 2**63 - 1
MAX_IMAGES_PER_PROMPT = 64


@dataclass(frozen=True, eq=False)
class EditRequest:
    """One edit.

    Attributes:
        picture: the photograph.
        instruction: as given; the text encoder cleans it.
        negative: text of the second guidance branch, or None for the learned null text.
        seed: what the generator was seeded with.
        generator: draws this edit's bits, and no other's unless the caller shared it.
        sampling: guidance, temperature, filters.
        mask: (H, W) in [0, 1], 1 where the picture may change; None allows everything.
        codes: where an earlier edit of the photograph ended, to go on from there; None begins with the photograph.
    """

    picture: Picture
    instruction: str
    negative: str | None
    seed: int
    generator: torch.Generator
    sampling: SamplingSettings
    mask: NDArray[np.float32] | None
    codes: EditedCodes | None = None


def edit_requests(
    image: ImageSource | Picture | Sequence[ImageSource | Picture],
    prompt: str | Sequence[str],
    *,
    sampling: SamplingSettings,
    negative_prompt: str | Sequence[str] | None = None,
    seed: int | Sequence[int] | None = None,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    num_images_per_prompt: int = 1,
    mask: Any = None,
    size: tuple[int, int] | None = None,
    codes: EditedCodes | Sequence[EditedCodes | None] | None = None,
) -> list[EditRequest]:
    """Pair images with prompts, and every pair with its seeds.

    One image goes with many prompts and one prompt with many images; other lengths must match. Results are ordered by
    pair, then by number within ``num_images_per_prompt``. Edit i of n of one pair is seeded from a hash of (seed, i),
    with i = 0 using the seed itself, so that the first of n equals the only one.

    Raises: UsageError, ImageError, InputMissing.
    """
    images = _as_list(image, single=(str, bytes))
    prompts = _as_list(prompt, single=(str,))
    pairs = max(len(images), len(prompts))
    if not images or not prompts or {len(images), len(prompts)} - {1, pairs}:
        raise UsageError(f"{len(images)} images do not go with {len(prompts)} prompts; give as many, or one of either")
    if isinstance(num_images_per_prompt, bool) or not 1 <= num_images_per_prompt <= MAX_IMAGES_PER_PROMPT:
        raise UsageError(f"num_images_per_prompt is {num_images_per_prompt}; it must be 1 to {MAX_IMAGES_PER_PROMPT}")
    pictures = [_resized(_picture(item), size) for item in images]
    generators = _generators(seed, generator, pairs, num_images_per_prompt)
    negatives = _spread(negative_prompt, pairs, "negative_prompt", single=(str, type(None)))
    masks = _spread(mask, pairs, "mask", single=(str, bytes, type(None), np.ndarray))
    earlier = _spread(codes, pairs, "codes", single=(EditedCodes, type(None)))
    requests = []
    for index in range(pairs):
        picture = pictures[index % len(pictures)]
        limits = None if masks[index] is None else _mask(masks[index], picture)
        _check_reach(earlier[index], picture)
        for copy in range(num_images_per_prompt):
            number, source = generators[index * num_images_per_prompt + copy]
            requests.append(
                EditRequest(
                    picture=picture,
                    instruction=prompts[index % len(prompts)],
                    negative=negatives[index],
                    seed=number,
                    generator=source,
                    sampling=sampling,
                    mask=limits,
                    codes=earlier[index],
                )
            )
    return requests


class Beginnings(NamedTuple):
    """What edits have before a bit is drawn: variants of one edit have the same.

    Attributes:
        first: one request for each beginning.
        places: per edit, which of them is its own.
    """

    first: list[EditRequest]
    places: list[int]

    @classmethod
    def of(cls, requests: Sequence[EditRequest]) -> Self:
        """Those of a batch, in its order."""
        found: dict[tuple[object, ...], tuple[int, EditRequest]] = {}
        own = [
            found.setdefault((id(each.picture), id(each.codes), each.instruction, each.negative), (len(found), each))
            for each in requests
        ]
        return cls([request for _, request in found.values()], [place for place, _ in own])

    @property
    def are_shared(self) -> bool:
        """Whether any is had by more than one edit."""
        return len(self.first) < len(self.places)

    def of_edits(self, values: Sequence[T]) -> list[T]:
        """What each beginning has, for each edit."""
        return [values[place] for place in self.places]

    def rows_of_edits(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same of an array (U, ...): (B, ...), and the array itself where nothing is shared."""
        return rows[self.places] if self.are_shared else rows


def derived_seed(seed: int, copy: int) -> int:
    """The seed of image number ``copy`` (from 0) of one prompt: stable, and the seed itself for number 0."""
    if copy == 0:
        return seed
    digest = hashlib.sha256(f"{seed}:{copy}".encode()).digest()
    return int.from_bytes(digest[:8], "big") & MAX_SEED


def _generators(
    seed: int | Sequence[int] | None,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    pairs: int,
    copies: int,
) -> list[tuple[int, torch.Generator]]:
    """(seed, generator) of every edit."""
    if seed is not None and generator is not None:
        raise UsageError("give either seed or generator, not both")
    if generator is not None:
        given = _spread(generator, pairs * copies, "generator", single=(torch.Generator,))
        return [(item.initial_seed(), item) for item in given]
    seeds = _spread(secrets.randbelow(2**32) if seed is None else seed, pairs, "seed", single=(int,))
    for number in seeds:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MAX_SEED:
            raise UsageError(f"a seed must be a whole number from 0 to 2**63 - 1, not {number!r}")
    numbers = [derived_seed(number, copy) for number in seeds for copy in range(copies)]
    return [(number, torch.Generator().manual_seed(number)) for number in numbers]


def _picture(source: ImageSource | Picture) -> Picture:
    return source if isinstance(source, Picture) else read_image(source)


def _mask(source: Any, picture: Picture) -> NDArray[np.float32]:
    if isinstance(source, np.ndarray) and source.dtype == np.float32 and source.shape == picture.rgb.shape[:2]:
        return source
    return load_mask(source, picture.width, picture.height)


def _check_reach(codes: EditedCodes | None, picture: Picture) -> None:
    if codes is None or codes.reach is None or codes.reach.shape == picture.rgb.shape[:2]:
        return
    height, width = codes.reach.shape
    raise UsageError(
        f"the codes are of a photograph of {width}x{height} pixels, and {picture.name} has {picture.width}x"
        f"{picture.height}; give the first photograph of the chain with them."
    )


def _resized(picture: Picture, size: tuple[int, int] | None) -> Picture:
    if size is None:
        return picture
    image = picture.to_pil().resize(size, Image.Resampling.LANCZOS)
    return read_image(image, name=picture.name)


def _as_list(value: Any, *, single: tuple[type, ...]) -> list[Any]:
    return [value] if isinstance(value, single) or not isinstance(value, Sequence) else list(value)


def _spread(value: Any, count: int, name: str, *, single: tuple[type, ...]) -> list[Any]:
    """One value for all, or a list of one value each."""
    values = _as_list(value, single=single)
    if len(values) not in (1, count):
        raise UsageError(f"{name} has {len(values)} values for {count} edits; give one, or one each")
    return values * count if len(values) == 1 else values

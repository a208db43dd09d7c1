"""Make a result again from what its file says of its making (`varedit.provenance`) and from its source picture.

The same machine with the same versions gives the same bytes; `difference` tells how far another one is off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from varedit.content_hash import array_sha256
from varedit.errors import ImageError, ModelError, UsageError
from varedit.images import file_bytes, load_mask, opened, read_image
from varedit.output import encode_image
from varedit.pipeline import VAREditPipeline
from varedit.reuse import ReuseSettings

if TYPE_CHECKING:
    from varedit.images import ImageSource

MAX_BATCH = 256  # edits: a file may say anything, and each costs memory
_SAMPLING = ("guidance_scale", "temperature", "top_k", "top_p", "greedy", "negative_prompt", "restore", "fit")
_RUNTIME = ("version", "torch", "device", "threads", "precision", "weights")  # other values may round otherwise


@dataclass(frozen=True, eq=False, kw_only=True)
class Replayed:
    """A result made again.

    Attributes:
        rgb: (H, W, 3).
        alpha: (H, W), 255 is opaque; None if every pixel is.
        made: how it was made this time, as `EditOutput.settings` tells it.
        quality: of a format that loses something.
        notes: sentences on what is not as it was, and may round otherwise.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    made: dict[str, Any]
    quality: int
    notes: tuple[str, ...]

    def encoded(self, image_format: str) -> bytes:
        """The bytes of the file. Raises OutputError."""
        return encode_image(self.rgb, image_format, alpha=self.alpha, provenance=self.made, quality=self.quality)

    def difference(self, path: Path) -> Difference:
        """How this result stands to a file. Raises ImageError, InputMissing."""
        before = file_bytes(path)
        with opened(before, path.name) as image:
            now = self.encoded(str(image.format))
        if now == before:
            return Difference("the same bytes", is_same_picture=True)
        old, new = read_image(before, name=path.name).rgb, read_image(now).rgb
        if old.shape != new.shape:
            sizes = f"another size, {new.shape[1]}x{new.shape[0]} instead of {old.shape[1]}x{old.shape[0]}"
            return Difference(sizes, is_same_picture=False)
        levels = np.abs(old.astype(np.int16) - new)
        if not levels.any():
            return Difference("the same pixels, in other bytes", is_same_picture=True)
        share = float(levels.any(axis=2).mean())
        return Difference(
            f"{share:.4%} of the pixels are others, by {int(levels.max())} of 255 levels at most", is_same_picture=False
        )


@dataclass(frozen=True)
class Difference:
    """How a result stands to a file: words that end a sentence, and whether all pixels are equal."""

    text: str
    is_same_picture: bool


def loading_of(made: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `VAREditPipeline.from_pretrained` by which a result was made, as far as its file tells them."""
    loading: dict[str, Any] = {"source": made.get("repository"), "dtype": made.get("precision", "auto")}
    if made.get("revision") is not None:
        loading["revision"] = made["revision"]
    return loading | {"weights": made.get("weights", "full")}


def replay(
    pipeline: VAREditPipeline, made: Mapping[str, Any], source: ImageSource, *, mask: ImageSource | None = None
) -> Replayed:
    """Make a result again.

    Args:
        pipeline: the model that made it.
        made: what the result says of its making, from `varedit.provenance.recorded`.
        source: the picture that was edited, or any file with the same pixels.
        mask: the mask, if the edit had one.

    Raises:
        ImageError: source or mask are not those of the result.
        ModelError: the model is another one.
        UsageError: the mask is missing or too much, or a recorded value makes no sense.
    """
    missing = [name for name in ("instruction", "seed", "source_sha256", "size", *_SAMPLING) if name not in made]
    if missing:
        raise UsageError(f"the file does not tell its {missing[0]}, so the result cannot be repeated")
    _check_model(pipeline, made)
    if made.get("codes_sha256") is not None:
        raise UsageError("the result goes on from an earlier edit, whose codes no file keeps, so it cannot be repeated")
    picture = read_image(source)
    try:
        place, arguments = _arguments(made)
        width, height = made["size"]
        if (width, height) != (picture.width, picture.height):
            arguments |= {"width": width, "height": height}
        arguments["mask"] = _checked_mask(made, mask, width, height)
        requests, options = pipeline.requests(picture, **arguments)
        edited = requests[place].picture
    except (TypeError, ValueError, LookupError, AttributeError) as error:  # a file may say anything
        raise UsageError(f"what the file says of its making makes no sense: {error}") from error
    if edited.sha256 != made["source_sha256"]:
        raise ImageError("another_source", f"{picture.name} is not the picture that was edited: its pixels are others.")
    output = pipeline.edit(requests, options)
    again = output.settings[place]
    return Replayed(
        rgb=np.asarray(output.images[place]),
        alpha=edited.alpha,
        made=again,
        quality=made.get("quality", 95),
        notes=tuple(_notes(made, again)),
    )


def _arguments(made: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """The edit's place in its batch, and the arguments of `VAREditPipeline.requests` that make the batch.

    The other edits of the batch are taken to be copies with their own seeds. That they may have been others changes
    nothing but the length that texts were filled up to.
    """
    batch = made.get("batch") or {"seeds": [made["seed"]], "place": 0}
    if not 1 <= len(batch["seeds"]) <= MAX_BATCH:
        raise UsageError(f"the file tells of a batch of {len(batch['seeds'])} edits; up to {MAX_BATCH} are repeated")
    reuse = made.get("reuse")
    return int(batch["place"]), {
        **{name: made[name] for name in _SAMPLING},
        "prompt": [made["instruction"]] * len(batch["seeds"]),
        "seed": batch["seeds"],
        "candidates": made.get("candidates", 1),
        "reuse": False if reuse is None else ReuseSettings(**reuse),
    }


def _checked_mask(
    made: Mapping[str, Any], mask: ImageSource | None, width: int, height: int
) -> NDArray[np.float32] | None:
    """The mask in numbers; raises where it is not the one of the edit."""
    expected = made.get("mask_sha256")
    if expected is None:
        if mask is not None:
            raise UsageError("the edit had no mask; leave it out")
        return None
    if mask is None:
        raise UsageError("the edit had a mask, which the file does not hold; give it too")
    limits = load_mask(mask, width, height)
    if array_sha256(limits) != expected:
        raise ImageError("another_mask", "the mask is not that of the edit: its pixels are others.")
    return limits


def _check_model(pipeline: VAREditPipeline, made: Mapping[str, Any]) -> None:
    """Raise ModelError for another model; one that was put together in memory has no identity and passes."""
    for name, own in pipeline.identity.items():
        if name != "repository" and made.get(name) is not None and own is not None and own != made[name]:
            raise ModelError(
                f"the result was made by {made.get('model')} with {name} {made[name]}, but this model has {own}"
            )


def _notes(made: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    for name in _RUNTIME:
        if name in made and made[name] != again[name]:
            yield f"{name} was {made[name]} and is {again[name]} now, so the result may be rounded otherwise"
    if again["seed"] != made["seed"]:
        yield f"the candidate with seed {again['seed']} was chosen, not that with {made['seed']}"

"""From a request's values to one checked call: parameters of the field's API, their ranges, and ours beside them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from varedit.errors import UsageError
from varedit.requests import MAX_SEED
from varedit.sampling import SamplingSettings
from varedit.serving.errors import ApiError, invalid
from varedit.serving.forms import Body
from varedit.text import clean_instruction

OutputFormat = Literal["png", "webp", "jpeg"]
Background = Literal["auto", "opaque", "transparent"]

MAX_IMAGES = 10
MIN_SIDE, MAX_SIDE, MAX_ASPECT = 64, 4096, 4
MAX_DEADLINE_MS = 3_600_000
_QUALITIES = ("auto", "standard", "low", "medium", "high", "xhigh", "max")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,32}(\.[0-9]{0,32})?|\.[0-9]{1,32})([eE][+-]?[0-9]{1,3})?")
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
# Taken by the field's API for things that are not done here; a value that asks for nothing passes.
_FOREIGN = {
    "markup": ("none", "auto"),
    "complexity": ("auto",),
    "frame_count": ("1", 1),
    "frame_duration_ms": (),
    "moderation": ("auto", "low"),
}
_IGNORED = ("num_inference_steps", "input_fidelity", "user", "safety_identifier")


@dataclass(frozen=True, kw_only=True)
class EditCall:
    """One call of the edit endpoint.

    Attributes:
        image, mask: bytes of files.
        codes: text of the codes that the edit goes on from.
        model: as named by the caller; None is the server's own.
        size: (width, height) of the result in pixels; None is the image's own.
        settings: arguments of `VAREditPipeline.requests` for numbers and texts.
        deadline: seconds from now; None is as long as it takes.
        ignored: parameters that had no effect.
    """

    image: bytes
    mask: bytes | None
    codes: str | None
    prompt: str
    model: str | None
    n: int
    size: tuple[int, int] | None
    background: Background
    output_format: OutputFormat
    quality: int
    stream: bool
    partial_images: int
    metadata: bool
    deadline: float | None
    settings: dict[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def edit_call(body: Body, *, max_previews: int, strict: bool = False) -> EditCall:
    """Check a request.

    Args:
        max_previews: how many the model can show at most.
        strict: whether an unknown parameter is an error.

    Raises: ApiError with status 400 and the parameter's name.
    """
    values = _Values(dict(body.values))
    if not body.images:
        raise invalid("image", "there is no image; send one as the file image", "missing_required_parameter")
    if len(body.images) > 1:
        raise invalid("image", f"{len(body.images)} images were sent; one is edited at a time", "too_many_images")
    prompt = _prompt(values)
    _refuse_foreign(values)
    if values.choice("response_format", ("b64_json", "url"), "b64_json") == "url":
        raise invalid("response_format", "this server keeps no results; use b64_json", "unsupported_parameter")
    ignored = [name for name in _IGNORED if values.taken(name) is not None]
    if values.choice("quality", _QUALITIES, "auto") not in ("auto", "standard"):
        ignored.append("quality")
    deadline_ms = values.integer("deadline_ms", 1, MAX_DEADLINE_MS)
    call = EditCall(
        image=body.images[0],
        mask=body.mask,
        codes=values.text("codes"),
        prompt=prompt,
        model=values.text("model"),
        n=values.integer("n", 1, MAX_IMAGES) or 1,
        size=_size(values.text("size")),
        background=values.choice("background", ("auto", "opaque", "transparent"), "auto"),
        output_format=values.choice("output_format", ("png", "webp", "jpeg"), "png"),
        quality=_compression(values),
        stream=values.boolean("stream", False),
        partial_images=values.integer("partial_images", 0, max_previews) or 0,
        metadata=values.boolean("metadata", True),
        deadline=None if deadline_ms is None else deadline_ms / 1000,
        settings=_settings(values),
    )
    if call.background == "transparent" and call.output_format == "jpeg":
        raise invalid("background", "JPEG has no transparency; use png or webp")
    unknown = sorted(values.left)
    if unknown and strict:
        raise invalid(unknown[0], f"{unknown[0]} is not a parameter of this server", "unsupported_parameter")
    return EditCall(**{**vars(call), "ignored": (*ignored, *unknown)})


def _prompt(values: _Values) -> str:
    text = values.text("prompt")
    if text is None:
        raise invalid("prompt", "there is no prompt; say what to change", "missing_required_parameter")
    try:
        return clean_instruction(text)
    except UsageError as error:
        code = "prompt_too_long" if "at most" in str(error) else "invalid_value"
        raise invalid("prompt", str(error), code) from error


def _refuse_foreign(values: _Values) -> None:
    for name, harmless in _FOREIGN.items():
        value = values.taken(name)
        if value is not None and value not in harmless:
            raise invalid(name, f"{name} is not supported", "unsupported_parameter")
    for name in [name for name in values.left if name.startswith("svg[")] + ["svg"]:
        if values.taken(name) is not None:
            raise invalid(name, f"{name} is not supported", "unsupported_parameter")


def _compression(values: _Values) -> int:
    """1..100; the API's 0 is what encoders call 1."""
    given = values.integer("output_compression", 0, 100)
    return 100 if given is None else max(1, given)


def _settings(values: _Values) -> dict[str, Any]:
    """What the pipeline draws with; what is not said takes the model's own default."""
    numbers = {name: values.number(name) for name in ("guidance_scale", "temperature", "top_p")}
    top_k = values.integer("top_k", 1, 2**31)
    seed = values.integer("seed", 0, MAX_SEED)
    negative = values.text("negative_prompt")
    if negative is not None:
        try:
            negative = clean_instruction(negative)
        except UsageError as error:
            raise invalid("negative_prompt", str(error)) from error
    for name, keyword in (("guidance_scale", "guidance"), ("temperature", "temperature"), ("top_p", "top_p")):
        chosen: dict[str, Any] = {} if numbers[name] is None else {keyword: numbers[name]}
        try:
            SamplingSettings(**chosen)
        except UsageError as error:
            raise invalid(name, str(error)) from error
    given = numbers | {"top_k": top_k, "seed": seed, "negative_prompt": negative}
    return {name: value for name, value in given.items() if value is not None}


def _size(text: str | None) -> tuple[int, int] | None:
    if text in (None, "auto"):
        return None
    found = _SIZE.fullmatch(text or "")
    if found is None:
        raise invalid("size", f"size is {text!r:.60}; it must be auto or WIDTHxHEIGHT, such as 1024x768")
    width, height = int(found[1]), int(found[2])
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise invalid("size", f"size is {text}; sides are {MIN_SIDE} to {MAX_SIDE} pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise invalid("size", f"size is {text}; a side is at most {MAX_ASPECT} times the other")
    return width, height


@dataclass
class _Values:
    """Values taken out one by one, each checked; what stays is unknown."""

    left: dict[str, Any]

    def taken(self, name: str) -> Any:
        return self.left.pop(name, None)

    def text(self, name: str) -> str | None:
        value = self.taken(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, value, "text")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        value = self.taken(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise self._wrong(name, value, "true or false")

    def integer(self, name: str, low: int, high: int) -> int | None:
        value = self.taken(name)
        if value is None:
            return None
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(name, value, f"a whole number from {low} to {high}")
        return value

    def number(self, name: str) -> float | None:
        value = self.taken(name)
        if value is None:
            return None
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, value, "a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._wrong(name, value, "a finite number")
        return number

    def choice(self, name: str, words: tuple[str, ...], default: str) -> Any:
        value = self.taken(name)
        if value is None:
            return default
        if value not in words:
            raise self._wrong(name, value, f"one of {', '.join(words)}")
        return value

    def _wrong(self, name: str, value: Any, wanted: str) -> ApiError:
        shown = repr(value) if isinstance(value, str | int | float) else type(value).__name__
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        return invalid(name, f"{name} must be {wanted}, not {shown}")

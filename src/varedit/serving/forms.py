"""A request's body as named values, whichever of its two forms it has. Knows `image`, `mask` and `codes` alone by name.

The official client sends one image as a part `image`, a list as parts `image[]`, text parts before files, and names
and types of files that mean nothing. The JSON form has `images`, a list of references, and `mask`, one of them.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile

from varedit.serving.errors import ApiError, invalid

MAX_FILES, MAX_FIELDS, MAX_TEXT_BYTES = 18, 64, 65536
_IMAGE_NAMES = ("image", "image[]")


@dataclass(kw_only=True)
class Body:
    """What a request says.

    Attributes:
        images, mask: bytes of files.
        values: text in a form, JSON values otherwise; what is empty is absent.
    """

    images: list[bytes] = field(default_factory=list)
    mask: bytes | None = None
    values: dict[str, Any] = field(default_factory=dict)


async def read_body(request: Request, max_upload_bytes: int) -> Body:
    """Read a request's body. Raises ApiError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        body = await _form(request)
    elif kind == "application/json":
        body = _json(await request.body())
    else:
        raise ApiError(415, "unsupported_media_type", "the body must be multipart/form-data or application/json")
    for data in (*body.images, body.mask or b""):
        if len(data) > max_upload_bytes:
            limit = f"an image may have {max_upload_bytes / 2**20:g} MiB"
            raise ApiError(413, "request_too_large", f"{limit}; this one has {len(data) / 2**20:.1f}", param="image")
    return body


async def _form(request: Request) -> Body:
    body = Body()
    async with request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_TEXT_BYTES) as form:
        for name, value in form.multi_items():
            is_file = isinstance(value, UploadFile)
            if name == "codes" and isinstance(value, UploadFile):  # of a large photograph: longer than texts may be
                _set(body.values, name, (await value.read()).decode("ascii", errors="replace"))
                continue
            if name not in (*_IMAGE_NAMES, "mask"):
                if is_file:
                    raise invalid(name, f"{name} must be text, not a file")
                _set(body.values, name, value)
                continue
            data = await value.read() if isinstance(value, UploadFile) else b""
            if not is_file and value:
                raise invalid(name.removesuffix("[]"), f"{name} must be a file")
            if not is_file:
                continue
            if name == "mask":
                if body.mask is not None:
                    raise invalid("mask", "mask is given twice")
                body.mask = data
            else:
                body.images.append(data)
    return body


def _json(data: bytes) -> Body:
    try:
        found = json.loads(data, parse_constant=_refused_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_value", f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ApiError(400, "invalid_value", "the body must be a JSON object")
    images = found.pop("images", [])
    if not isinstance(images, list):
        raise invalid("images", "images must be a list of objects with an image_url")
    mask = found.pop("mask", None)
    values: dict[str, Any] = {}
    for name, value in found.items():
        _set(values, name, value)
    return Body(
        images=[_referenced(item, "images") for item in images],
        mask=None if mask is None else _referenced(mask, "mask"),
        values=values,
    )


def _refused_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _referenced(reference: object, param: str) -> bytes:
    """The bytes that {"image_url": "data:..."} holds."""
    if not isinstance(reference, dict):
        raise invalid(param, f"{param} must hold objects with an image_url")
    if "file_id" in reference:
        raise invalid(param, "this server keeps no files; send image_url with a data URL", "unsupported_parameter")
    url = reference.get("image_url")
    if not isinstance(url, str):
        raise invalid(param, f"{param} must hold objects with an image_url")
    head, comma, payload = url.partition(",")
    if not head.lower().startswith("data:"):
        raise invalid(param, "this server fetches no addresses; send a data URL", "unsupported_parameter")
    if not comma or not head.lower().endswith(";base64"):
        raise invalid(param, "a data URL must be data:image/...;base64,...")
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: letters beyond ASCII
        raise invalid(param, f"the data URL is not base64: {error}") from error


def _set(values: dict[str, Any], name: str, value: Any) -> None:
    if name in values:
        raise invalid(name, f"{name} is given twice")
    if value is not None and value != "":
        values[name] = value

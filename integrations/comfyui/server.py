"""An edit by a varedit server, or by any other that speaks ``POST /v1/images/edits``; the standard library's client."""

from __future__ import annotations

import base64
import json
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any

import comfy.model_management
import comfy.utils
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from varedit.images import read_image
from varedit.output import encode_image

from .editing import call_settings

KEY = "VAREDIT_API_KEY"  # from the environment: what stands in a node is saved with every picture
TIMEOUT = 600  # seconds


def edit_by_server(
    address: str, image: Tensor, instruction: str, *, mask: Tensor | None = None, **settings: Any
) -> Tensor:
    """Send the images of a batch one after another; arguments and result as for `editing.edit`.

    Raises: RuntimeError with the server's own sentence.
    """
    fields = {"prompt": instruction, "response_format": "b64_json", "output_format": "png", **_fields(settings)}
    progress = comfy.utils.ProgressBar(len(image))
    results = []
    for index, item in enumerate(image):
        comfy.model_management.throw_exception_if_processing_interrupted()
        rgb = _levels(item[..., :3])
        files = {"image": encode_image(rgb, "PNG", provenance=None)}
        if mask is not None:
            here = 1 - mask[min(index, len(mask) - 1)]  # the API's mask is transparent where to edit
            files["mask"] = encode_image(rgb, "PNG", alpha=_levels(here), provenance=None)
        edited = read_image(
            _posted(f"{address.rstrip('/')}/v1/images/edits", fields, files), name="the server's result"
        )
        results.append(torch.from_numpy(edited.rgb.astype(np.float32) / 255))
        progress.update_absolute(index + 1, len(image))
    return torch.stack(results)


def _fields(settings: Mapping[str, Any]) -> dict[str, str]:
    arguments = dict(call_settings(**settings))
    size = f"{arguments.pop('width', 0)}x{arguments.pop('height', 0)}"
    return {name: str(value) for name, value in arguments.items()} | ({} if size == "0x0" else {"size": size})


def _levels(values: Tensor) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = (values.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return levels


def _posted(address: str, fields: Mapping[str, str], files: Mapping[str, bytes]) -> bytes:
    """The first picture of the answer."""
    if not address.startswith(("http://", "https://")):
        raise RuntimeError(f"the address of a server begins with http:// or https://, not {address!r}")
    boundary = secrets.token_hex(16)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Accept": "application/json"}
    if key := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {key}"
    body = b"".join(_parts(boundary, fields, files))
    request = urllib.request.Request(address, body, headers)  # noqa: S310  # the scheme was checked
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            content = json.load(answer)
        return base64.b64decode(content["data"][0]["b64_json"], validate=True)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"the server refused the edit ({error.code}): {_sentence(error)}") from error
    except urllib.error.URLError as error:
        raise RuntimeError(f"the server at {address} cannot be reached: {error.reason}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise RuntimeError(f"the server at {address} sent no picture") from error


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return str(error.reason)


def _parts(boundary: str, fields: Mapping[str, str], files: Mapping[str, bytes]) -> Iterable[bytes]:
    for name, value in fields.items():
        yield f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for name, data in files.items():
        head = f'Content-Disposition: form-data; name="{name}"; filename="{name}.png"\r\nContent-Type: image/png'
        yield f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n"
    yield f"--{boundary}--\r\n".encode()

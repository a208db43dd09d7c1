"""Content credentials: a C2PA manifest signed with the operator's certificate (extra ``c2pa``).

The manifest says that the file was edited by a model, with which instruction, and from which picture. Without a
certificate that readers trust it proves only that nothing changed since; varedit has none and signs nothing by itself.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from varedit.errors import ImageError, MissingExtra, UsageError
from varedit.images import Picture
from varedit.output import encode_image
from varedit.provenance import EDITED_BY_MODEL

MIME_OF_FORMAT = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "TIFF": "image/tiff",
}
_WITHOUT_THUMBNAILS = {"builder": {"thumbnail": {"enabled": False}}}  # they would show what a mask or a crop took away


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A certificate and its key.

    Attributes:
        certificates: PEM; the signer's own first, then those that vouch for it.
        private_key: PEM, PKCS 8.
        algorithm: of the key, as C2PA names it: es256, es384, es512, ps256, ps384, ps512 or ed25519.
        timestamp_url: of a time-stamping authority, asked when signing; None asks nobody.
    """

    certificates: bytes
    private_key: bytes = field(repr=False)
    algorithm: str = "es256"
    timestamp_url: str | None = None


def signed(data: bytes, image_format: str, made: Mapping[str, Any], key: SigningKey, *, source: Picture) -> bytes:
    """A result file with a signed manifest in it; its pixels and other metadata stay.

    Args:
        data: the file.
        image_format: Pillow's name of its format.
        made: what it says of its making.
        key: signs.
        source: the picture that was edited. Its pixels become the parent, by their hash, and nothing of its metadata.

    Raises:
        MissingExtra: c2pa-python is not installed.
        UsageError: the certificate or the key is none, or they do not belong together.
        ImageError: the format takes no manifest.
    """
    if image_format not in MIME_OF_FORMAT:
        known = ", ".join(MIME_OF_FORMAT)
        raise ImageError("not_signable", f"content credentials go into {known}, not {image_format}.")
    c2pa = _c2pa()
    software = {"name": "varedit", "version": str(made.get("version", ""))}
    parent = io.BytesIO(encode_image(source.rgb, "PNG", alpha=source.alpha, provenance=None))
    file, result = io.BytesIO(data), io.BytesIO()
    edited = {
        "action": "c2pa.edited",
        "softwareAgent": software,
        "digitalSourceType": EDITED_BY_MODEL,
        "parameters": {"description": str(made.get("instruction", ""))},
    }
    try:
        signer = c2pa.Signer.from_info(
            c2pa.C2paSignerInfo(key.algorithm, key.certificates, key.private_key, key.timestamp_url)
        )
        with (
            signer,
            c2pa.Context.from_dict(_WITHOUT_THUMBNAILS) as context,
            c2pa.Builder({"claim_generator_info": [software]}, context) as builder,
        ):
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            builder.add_ingredient_from_stream({"title": "source", "relationship": "parentOf"}, "image/png", parent)
            builder.add_action(edited)
            builder.sign(signer, MIME_OF_FORMAT[image_format], file, result)
    except c2pa.C2paError as error:
        raise UsageError(f"the result cannot be signed with this certificate and key: {error}") from error
    return result.getvalue()


def read_credentials(data: bytes) -> dict[str, Any] | None:
    """The manifest store of a file as C2PA's reader tells it, its judgement included; None if there is none.

    Raises:
        MissingExtra: c2pa-python is not installed.
        ImageError: what is there is damaged.
    """
    c2pa = _c2pa()
    try:
        reader = c2pa.Reader.try_create(None, io.BytesIO(data))
        if reader is None:
            return None
        with reader:
            store: dict[str, Any] = json.loads(reader.json())
    except c2pa.C2paError as error:
        raise ImageError("invalid_credentials", f"the content credentials cannot be read: {error}.") from error
    return store


def _c2pa() -> ModuleType:
    try:
        return importlib.import_module("c2pa")
    except ImportError as error:
        raise MissingExtra("content credentials", "c2pa") from error

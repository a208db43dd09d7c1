"""What the OpenAPI description says of a request, which is read by hand and not by the framework."""

from __future__ import annotations

from typing import Any

from varedit.requests import MAX_SEED
from varedit.serving.calls import MAX_DEADLINE_MS, MAX_IMAGES

_TEXT: dict[str, Any] = {"type": "string"}
_REFERENCE: dict[str, Any] = {
    "type": "object",
    "required": ["image_url"],
    "properties": {"image_url": {"type": "string", "description": "A data URL: data:image/png;base64,..."}},
}
_COMMON: dict[str, Any] = {
    "prompt": {"type": "string", "minLength": 1, "maxLength": 2000, "description": "What to change."},
    "model": _TEXT,
    "n": {"type": "integer", "minimum": 1, "maximum": MAX_IMAGES, "default": 1},
    "size": {"type": "string", "description": "auto, or WIDTHxHEIGHT of the result.", "default": "auto"},
    "background": {"type": "string", "enum": ["auto", "opaque", "transparent"], "default": "auto"},
    "output_format": {"type": "string", "enum": ["png", "webp", "jpeg"], "default": "png"},
    "output_compression": {"type": "integer", "minimum": 0, "maximum": 100, "default": 100},
    "response_format": {"type": "string", "enum": ["b64_json"], "default": "b64_json"},
    "stream": {"type": "boolean", "default": False},
    "partial_images": {"type": "integer", "minimum": 0, "default": 0},
    "seed": {"type": "integer", "minimum": 0, "maximum": MAX_SEED},
    "guidance_scale": {"type": "number", "minimum": 0, "maximum": 30},
    "temperature": {"type": "number", "minimum": 0.001, "maximum": 10},
    "top_k": {"type": "integer", "minimum": 1},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "negative_prompt": _TEXT,
    "codes": {"type": "string", "description": "Codes that came with a result, to go on from it; with its photograph."},
    "deadline_ms": {"type": "integer", "minimum": 1, "maximum": MAX_DEADLINE_MS},
    "metadata": {"type": "boolean", "default": True, "description": "Whether the file tells how it was made."},
}
_FILE: dict[str, Any] = {"type": "string", "format": "binary"}
_ERROR = {
    "description": "An error.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {
                        "type": "object",
                        "required": ["message", "type", "param", "code"],
                        "properties": {
                            "message": _TEXT,
                            "type": _TEXT,
                            "param": {"type": ["string", "null"]},
                            "code": {"type": ["string", "null"]},
                        },
                    }
                },
            }
        }
    },
}

EDIT_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image", "prompt"],
                    "properties": {"image": _FILE, "mask": _FILE, **_COMMON},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images", "prompt"],
                    "properties": {
                        "images": {"type": "array", "minItems": 1, "maxItems": 1, "items": _REFERENCE},
                        "mask": _REFERENCE,
                        **_COMMON,
                    },
                }
            },
        },
    }
}


def error_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The description of answers that are errors."""
    return {status: _ERROR for status in statuses}

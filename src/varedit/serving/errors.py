"""Errors as the API tells them: one body for all, with the status and words that clients of the field expect."""

from __future__ import annotations

import math
import random
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from varedit.errors import ImageError, MissingExtra, OutputError, UsageError, VAREditError
from varedit.serving.refusals import Cancelled, DeadlinePassed, Draining, NotReady, QueueFull

INVALID = "invalid_request_error"
CLIENT_GONE = 499  # logged; nobody reads it
MAX_RETRY_AFTER = 60
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large", 415: "unsupported_media_type"}


class ApiError(Exception):
    """An answer that is no result.

    Args:
        status: of HTTP.
        code: a stable word for programs.
        message: one sentence for people.
        param: the parameter that was wrong.
        headers: of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        """As JSON values."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else INVALID)
        message = self.message.encode(errors="replace").decode()  # half of a character would break the answer
        param = None if self.param is None else self.param.encode(errors="replace").decode()
        return {"error": {"message": message, "type": kind, "param": param, "code": self.code}}

    def response(self) -> JSONResponse:
        """As an answer."""
        return JSONResponse(self.body, self.status, self.headers)


def invalid(param: str, message: str, code: str = "invalid_value") -> ApiError:
    """A parameter that cannot be."""
    return ApiError(400, code, message, param=param)


def api_error_of(error: Exception, request_id: str) -> ApiError:
    """What the outside is told of any error; a bug shows nothing of itself but the id to ask for."""
    never_again = {"x-should-retry": "false"}
    match error:
        case ApiError():
            return error
        case ImageError():
            return invalid("mask" if error.code == "invalid_mask" else "image", str(error), error.code)
        case MissingExtra():
            return invalid("image", "the server does not read this kind of picture; send PNG, JPEG or WebP")
        case QueueFull():
            return ApiError(429, "queue_full", str(error), headers={"Retry-After": str(_retry_after(error.wait))})
        case Draining():
            return ApiError(503, "draining", str(error), headers={"Retry-After": "5", "Connection": "close"})
        case NotReady():
            return ApiError(503, "not_ready", str(error), headers={"Retry-After": "5"})
        case DeadlinePassed():
            return ApiError(504, "deadline_exceeded", str(error), headers=never_again)
        case Cancelled():
            return ApiError(CLIENT_GONE, "cancelled", str(error))
        case UsageError() | OutputError():
            return ApiError(400, "invalid_value", str(error))
        case _:
            sentence = f"something went wrong on the server; its log tells more under request id {request_id}"
            return ApiError(500, "internal_error", sentence, headers=never_again)


def install_error_handlers(app: FastAPI) -> None:
    """Let every error of the app, the framework's own included, have the one body; bugs are left to the gate."""

    async def told(request: Request, error: Exception) -> JSONResponse:
        return api_error_of(error, request.scope["state"]["request_id"]).response()

    async def of_framework(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException), "registered for it"
        code = _CODES.get(error.status_code, "invalid_value")
        message = str(error.detail or HTTPStatus(error.status_code).phrase)
        return ApiError(error.status_code, code, message, headers=dict(error.headers or {})).response()

    async def of_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError), "registered for it"
        first = error.errors()[0]
        return invalid(".".join(str(part) for part in first["loc"][1:]), str(first["msg"])).response()

    app.add_exception_handler(ApiError, told)
    app.add_exception_handler(VAREditError, told)
    app.add_exception_handler(HTTPException, of_framework)
    app.add_exception_handler(RequestValidationError, of_validation)


def _retry_after(wait: float) -> int:
    """Whole seconds, spread a little so that not all who were refused come back at once."""
    return min(MAX_RETRY_AFTER, max(1, math.ceil(wait * random.uniform(1.0, 1.3))))

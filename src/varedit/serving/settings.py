"""What an operator may choose about a server; bad combinations are refused when the settings are made."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from varedit.errors import InputMissing, UsageError
from varedit.images import MAX_PIXELS

KEY_VARIABLE = "VAREDIT_API_KEY"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
MASK_AND_TEXT_BYTES = 6 * 2**20  # a request beside its image


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How the server meets the outside.

    Attributes:
        host, port: where it listens; port 0 lets the system choose.
        api_key: what callers must present; None asks for none.
        no_auth: the operator knows that everyone who reaches the address may use the server.
        allowed_hosts: names under which the server may be called, beside its own. On loopback all others are refused,
            so that a web page elsewhere cannot reach the server through a name of its own.
        cors_origins: web pages elsewhere that may use the server, such as "https://example.com".
        docs: whether /docs shows the API.
        max_upload_bytes, max_pixels: of one image.
        model_aliases: further names of the model.
        drain_delay: seconds between the wish to stop and the end of listening, so that balancers notice.
        drain_timeout: seconds that running edits then have.
        log_prompts: whether instructions go into the log.
        strict: whether an unknown parameter is an error.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    no_auth: bool = False
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    docs: bool = True
    max_upload_bytes: int = 50 * 2**20
    max_pixels: int = MAX_PIXELS
    model_aliases: tuple[str, ...] = ()
    drain_delay: float = 5.0
    drain_timeout: float = 30.0
    log_prompts: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        if self.api_key is not None and len(self.api_key) < 8:
            raise UsageError("the API key is shorter than 8 characters; choose a longer one")
        if self.api_key is None and not self.no_auth and not self.is_loopback:
            raise UsageError(
                f"{self.host} can be reached from other machines; "
                f"set {KEY_VARIABLE} or --api-key-file, or say --no-auth"
            )
        if not 0 <= self.port <= 65535:
            raise UsageError(f"the port is {self.port}; it must be from 0 to 65535")
        for name in ("max_upload_bytes", "max_pixels"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        for origin in self.cors_origins:
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
                raise UsageError(f"{origin!r} is no origin; one looks like https://example.com")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def body_bytes(self) -> int:
        """Of the largest request; in JSON four characters hold three bytes of an image."""
        return (self.max_upload_bytes + MASK_AND_TEXT_BYTES) * 4 // 3

    @property
    def hosts(self) -> tuple[str, ...] | None:
        """Names in lower case that a request may call the server; None is any."""
        if self.allowed_hosts or self.is_loopback:
            return tuple(name.lower() for name in (*LOOPBACK_NAMES, self.host, *self.allowed_hosts))
        return None


def read_api_key(environment: Mapping[str, str], file: Path | None) -> str | None:
    """The key from a file, else from the environment; never from an argument, which other users could read.

    Raises: InputMissing; UsageError for an empty one.
    """
    if file is not None:
        try:
            key = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputMissing(f"the API key cannot be read from {file}: {error}") from error
        if not key:
            raise UsageError(f"{file} is empty; it should hold the API key")
        return key
    key = environment.get(KEY_VARIABLE, "").strip()
    return key or None

"""Where a server listens: a socket that has the address, and the address as people type it."""

from __future__ import annotations

import socket

from varedit.errors import UsageError


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that is bound and does not listen yet; port 0 is any free one. Raises UsageError if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        reason = error.strerror or error
        raise UsageError(f"cannot listen on {host}:{port}: {reason}; choose another --port") from error
    return bound


def address_of(host: str, port: int) -> str:
    """Such as http://127.0.0.1:8000 or http://[::1]:8000."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"

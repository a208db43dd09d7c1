"""Why the engine does not finish an edit although nothing is wrong with it.

```
Refused                75
├── QueueFull          too much is waiting already
├── Draining           the server is about to stop
├── NotReady           there is no model yet, or its device has failed
├── DeadlinePassed     the edit could not be ready in time
└── Cancelled          whoever asked for it no longer wants it
```
"""

from __future__ import annotations

from varedit.errors import VAREditError


class Refused(VAREditError):
    """Base; the same edit may succeed later."""

    exit_code = 75


class QueueFull(Refused):
    """Too much is waiting already.

    Args:
        message: one sentence.
        wait: seconds until there should be room.
    """

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message)
        self.wait = wait


class Draining(Refused):
    """The server is about to stop."""


class NotReady(Refused):
    """There is no model yet, or its device has failed."""


class DeadlinePassed(Refused):
    """The edit could not be ready in time."""


class Cancelled(Refused):
    """Whoever asked for the edit no longer wants it."""

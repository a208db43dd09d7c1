"""What becomes of freed memory: on Linux the C library gives every large block back to the system at once.

The next block of that size is then made of new pages, each of which the system must find and clear when it is first
written. For a large array on a CPU that takes several times as long as writing it does.
"""

from __future__ import annotations

import ctypes
import platform

KEPT_BYTES = 2**30  # larger blocks, and what is free beyond so much at the heap's end, still go back to the system
# Numbers of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> None:
    """Let this process reuse the blocks that it has freed; does nothing where the C library is not glibc.

    For commands, which have the process to themselves: the setting holds until it ends. No result depends on it.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
    library.mallopt(_MMAP_THRESHOLD, KEPT_BYTES)
    library.mallopt(_ARENA_MAX, 1)  # or threads other than the first would have heaps of 64 MB, and large blocks none

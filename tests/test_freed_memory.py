"""Commands reuse the memory that they freed: a second large block needs no new pages."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from varedit.freed_memory import keep_freed_memory

PAGES = 50_000  # of 4 KiB
# Page faults while a large block is filled, the same having been filled and freed before; here and in a thread.
COUNT = f"""
import concurrent.futures, resource, varedit.cli

def faults():
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        b"x" * ({PAGES} * 4096)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def cli(prog_name):
    with concurrent.futures.ThreadPoolExecutor() as threads:
        print(faults(), threads.submit(faults).result())

varedit.cli.cli = cli
"""


def faults(call: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", COUNT + call], capture_output=True, text=True, check=True)
    return [int(count) for count in done.stdout.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc")
def test_commands_reuse_freed_memory():
    assert max(faults("varedit.cli.main()")) < PAGES / 100
    assert min(faults("cli('')")) > PAGES / 2  # what they would be otherwise


@pytest.mark.parametrize("libc", ["", "musl"])
def test_elsewhere_nothing_is_asked_of_the_c_library(monkeypatch, libc):
    monkeypatch.setattr("platform.libc_ver", lambda: (libc, ""))
    monkeypatch.setattr("ctypes.CDLL", None)  # calling it would fail
    keep_freed_memory()

"""What a device can do at best: its rate of arithmetic and of memory traffic, measured here and now."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from varedit.bench.costs import StageCost

TRIES = 5
MATRIX_SIDES = {"cpu": (1024, 2048), "cuda": (4096, 8192), "mps": (2048, 4096)}
COPY_BYTES = {"cpu": 2**28, "cuda": 2**31, "mps": 2**28}  # many times what caches hold

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Rates of one device.

    Attributes:
        flops: additions and multiplications a second in the compute type.
        float32_flops: in float32.
        bandwidth: bytes a second between memory and processor.
    """

    flops: float
    float32_flops: float
    bandwidth: float

    def arithmetic_seconds(self, cost: StageCost) -> float:
        """The time that a stage's arithmetic takes at least."""
        return cost.flops / self.flops + cost.float32_flops / self.float32_flops

    def traffic_seconds(self, cost: StageCost) -> float:
        """The time that a stage's memory traffic takes at least."""
        return cost.traffic / self.bandwidth

    def bound(self, cost: StageCost) -> float:
        """Seconds that no implementation can be faster than."""
        return max(self.arithmetic_seconds(cost), self.traffic_seconds(cost))


def measure_limits(device: torch.device, dtype: torch.dtype, clock: Clock) -> Limits:
    """Measure the rates of a device by a clock that waits for it; a few seconds."""
    flops = _arithmetic_rate(device, dtype, clock)
    return Limits(
        flops=flops,
        float32_flops=flops if dtype == torch.float32 else _arithmetic_rate(device, torch.float32, clock),
        bandwidth=_copy_rate(device, clock),
    )


def device_clock(device: torch.device) -> Clock:
    """A clock, in seconds, that waits until the device has done what it was given."""
    if device.type == "cuda":
        return lambda: _after(lambda: torch.cuda.synchronize(device))
    if device.type == "mps":
        return lambda: _after(torch.mps.synchronize)
    return time.perf_counter


def _after(wait: Callable[[], None]) -> float:
    wait()
    return time.perf_counter()


def _arithmetic_rate(device: torch.device, dtype: torch.dtype, clock: Clock) -> float:
    """The best of matrix products and a convolution; the latter has formats of its own on some devices (TF32)."""
    rates = []
    for side in MATRIX_SIDES[device.type]:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        rates.append(2 * side**3 / _best_seconds(partial(torch.matmul, a, b), clock))
    channels, side = 256, MATRIX_SIDES[device.type][0] // 16
    x = torch.randn(1, channels, side, side, device=device).to(dtype)
    weight = torch.randn(channels, channels, 3, 3, device=device).to(dtype)
    flops = 2 * 9 * channels**2 * side**2
    rates.append(flops / _best_seconds(lambda: F.conv2d(x, weight, padding=1), clock))
    return max(rates)


def _copy_rate(device: torch.device, clock: Clock) -> float:
    """Bytes read and written a second by a copy far larger than any cache."""
    source = torch.ones(COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * len(source) / _best_seconds(lambda: target.copy_(source), clock)


def _best_seconds(work: Callable[[], object], clock: Clock) -> float:
    seconds = []
    for _ in range(TRIES + 1):  # the first one also makes ready
        start = clock()
        work()
        seconds.append(clock() - start)
    return min(seconds[1:])

"""What one must know of a metric to read its number: which way is better, how many digits, through which network."""

from __future__ import annotations

INSIDE, OUTSIDE = "_inside", "_outside"  # endings of metrics of a part of the picture

_LOWER_IS_BETTER = ("l1", "l2", "lpips", "structure", "structure_pie", "unedited_mse")
_DECIBELS = ("psnr", "unedited_psnr")
_NETWORKS = ("clip", "dino", "structure", "lpips")  # the beginning of the names of metrics through each


def whole_name(name: str) -> str:
    """The metric's name without its part of the picture."""
    return name.removesuffix(INSIDE).removesuffix(OUTSIDE)


def is_better_low(name: str) -> bool:
    """Whether a smaller number is a better one; judges' scores are better high."""
    return whole_name(name) in _LOWER_IS_BETTER


def metric_digits(name: str) -> int:
    """Digits behind the point."""
    return 2 if whole_name(name) in _DECIBELS else 4


def network_of(name: str) -> str | None:
    """The network that a metric looks through; None for metrics of pixels."""
    return next((network for network in _NETWORKS if name.startswith(network)), None)

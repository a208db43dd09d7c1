"""An image editor driven by instructions (VAREdit, arXiv 2508.15772).

Importing the package loads nothing heavy; the public names arrive when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from varedit.errors import VAREditError
    from varedit.pipeline import VAREditPipeline
    from varedit.results import EditOutput, ScaleEvent

__version__ = "0.1.0"
__all__ = ["EditOutput", "ScaleEvent", "VAREditError", "VAREditPipeline", "__version__"]

_HOME = {
    "EditOutput": "varedit.results",
    "ScaleEvent": "varedit.results",
    "VAREditError": "varedit.errors",
    "VAREditPipeline": "varedit.pipeline",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'varedit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

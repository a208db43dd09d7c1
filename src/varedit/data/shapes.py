"""Drawn shapes with names, and the colours that they come in."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageDraw

Shape = Literal["circle", "square", "triangle", "star", "heart", "diamond", "cross", "ring"]
SHAPES: tuple[Shape, ...] = get_args(Shape)

PaintName = Literal["red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink", "white", "black"]
PAINT_NAMES: tuple[PaintName, ...] = get_args(PaintName)
PAINTS: dict[PaintName, tuple[int, int, int]] = {  # sRGB bytes
    "red": (214, 34, 38),
    "orange": (244, 132, 22),
    "yellow": (246, 216, 34),
    "green": (42, 158, 62),
    "turquoise": (38, 190, 186),
    "blue": (38, 84, 204),
    "purple": (132, 52, 178),
    "pink": (244, 126, 178),
    "white": (246, 246, 246),
    "black": (20, 20, 20),
}

STENCIL_SIZE = 192  # pixels
_STENCIL_OVERSAMPLING = 2


@lru_cache(maxsize=len(SHAPES))
def stencil(shape: Shape) -> Image.Image:
    """The shape as an L image, 255 inside, that fills a square of `STENCIL_SIZE` pixels in at least one direction."""
    size = STENCIL_SIZE * _STENCIL_OVERSAMPLING
    image = Image.new("L", (size, size))
    draw = ImageDraw.Draw(image)
    match shape:
        case "circle":
            draw.ellipse((0, 0, size - 1, size - 1), fill=255)
        case "ring":
            draw.ellipse((0, 0, size - 1, size - 1), fill=255)
            hole = 0.27 * size
            draw.ellipse((hole, hole, size - 1 - hole, size - 1 - hole), fill=0)
        case _:
            draw.polygon([(x * (size - 1), y * (size - 1)) for x, y in _outline(shape)], fill=255)
    return image.resize((STENCIL_SIZE, STENCIL_SIZE), Image.Resampling.BOX)


def _outline(shape: Shape) -> list[tuple[float, float]]:
    """Corners in the unit square, y downwards."""
    match shape:
        case "square":
            return [(0.06, 0.06), (0.94, 0.06), (0.94, 0.94), (0.06, 0.94)]
        case "triangle":
            return [(0.5, 0.03), (1.0, 0.95), (0.0, 0.95)]
        case "diamond":
            return [(0.5, 0.0), (0.88, 0.5), (0.5, 1.0), (0.12, 0.5)]
        case "cross":
            a, b = 0.33, 0.67
            return [(a, 0), (b, 0), (b, a), (1, a), (1, b), (b, b), (b, 1), (a, 1), (a, b), (0, b), (0, a), (a, a)]
        case "star":
            radii = (0.52, 0.21)
            turns = [(radii[k % 2], math.pi * k / 5) for k in range(10)]
            return [(0.5 + r * math.sin(t), 0.53 - r * math.cos(t)) for r, t in turns]
        case "heart":  # the usual parametric heart curve
            angles = np.linspace(0, 2 * math.pi, 90, endpoint=False)
            x = 16 * np.sin(angles) ** 3
            y = 13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles)
            return [(0.5 + float(a) / 34, 0.46 - float(b) / 34) for a, b in zip(x, y, strict=True)]
        case _:
            raise AssertionError(f"{shape} has no outline")

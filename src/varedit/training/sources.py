"""The pairs that a recipe trains and validates on."""

from __future__ import annotations

from pathlib import Path

from varedit.data.scenes import AdjustmentScenes
from varedit.training.recipe import Recipe


def adjustment_sources(recipe: Recipe, photographs: Path) -> tuple[AdjustmentScenes, AdjustmentScenes]:
    """Photo adjustments on the training photographs, and on the validation photographs of a folder."""
    size = recipe.editor.picture_size(recipe.editor.templates.square.schedule)
    return (
        AdjustmentScenes(photographs, split="train", size_hw=size, seed=recipe.seed),
        AdjustmentScenes(photographs, split="validation", size_hw=size, seed=recipe.seed + 1),
    )

"""The pairs that a recipe trains and validates on."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from varedit.data.scene import Family
from varedit.data.scenes import Scenes, held_out_scenes
from varedit.data.vocabulary import vocabulary
from varedit.training.batches import PairSource
from varedit.training.buckets import RecordPairs, dataset
from varedit.training.editor import EditingData
from varedit.training.recipe import Recipe


def editing_data(recipe: Recipe, material: Path) -> EditingData:
    """What a recipe's tables name: scenes of a folder of material, and records from outside.

    Training scenes are made of training photographs, those for validation of photographs kept apart. Records for
    training are opened where the batches are made.

    Raises: InputMissing where material or a data set is missing; UsageError where a data set is of no known kind, or
    shares of scenes are not shares.
    """
    size = recipe.editor.picture_size(recipe.editor.templates.square.schedule)
    validation: PairSource = (
        held_out_scenes(material, "validation", size)
        if recipe.validation.kind == "scenes"
        else RecordPairs(dataset(recipe.validation))
    )
    train: PairSource = validation  # never asked where all training data are from outside
    for each in recipe.data:
        if each.kind == "scenes":
            shares = cast("dict[Family, float] | None", each.shares)  # checked by the scenes
            train = Scenes(material, split="train", size_hw=size, seed=recipe.seed, shares=shares)
        else:
            dataset(each)  # to find out now what is missing
    return EditingData(train, validation, vocabulary())

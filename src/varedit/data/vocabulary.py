"""The words that a model of the procedural scenes knows."""

from __future__ import annotations

from varedit.data.edit_phrases import edit_texts
from varedit.data.language import words
from varedit.data.material_table import material_sources
from varedit.data.phrases import adjustment_texts
from varedit.data.splits import noun_split


def vocabulary() -> tuple[str, ...]:
    """All words that training instructions are made of, sorted."""
    texts = [*adjustment_texts(), *edit_texts(), *training_nouns(), "please"]
    return tuple(sorted({word for text in texts for word in words(text)}))


def training_nouns() -> tuple[str, ...]:
    """What the cut-outs of training are called, sorted."""
    groups = (group for source in material_sources() for group in source.groups)
    return tuple(sorted({noun for group in groups for noun in group.nouns.values() if noun_split(noun) == "train"}))

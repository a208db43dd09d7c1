"""What is trained of an editor, and what of it stays as it is."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from varedit.text import TextEncoder
from varedit.text_features import TextFeatures
from varedit.training.teacher_forcing import TeacherForced
from varedit.transformer.block import TextContext
from varedit.transformer.copy_path import Proposed
from varedit.transformer.model import VAREditTransformer
from varedit.transformer.reference import SequenceLayout


class EditorModule(nn.Module):
    """The transformer, and the text encoder where it learns too."""

    def __init__(self, transformer: VAREditTransformer, text_encoder: TextEncoder | None) -> None:
        super().__init__()
        self.transformer = transformer
        self.text_encoder = text_encoder


class EditorParts:
    """Transformer and text encoder of a training, whichever of them learns.

    Args:
        transformer: frozen parameters stay so.
        text_encoder: belongs to `module` only if it learns; else it is one for all copies, kept by each process whole.
        text_learns: whether it does.
    """

    def __init__(self, transformer: VAREditTransformer, text_encoder: TextEncoder, *, text_learns: bool) -> None:
        self.module = EditorModule(transformer, text_encoder if text_learns else None)
        self.frozen_text = None if text_learns else text_encoder.eval().requires_grad_(False)

    @property
    def transformer(self) -> VAREditTransformer:
        """The transformer."""
        return self.module.transformer

    @property
    def text_encoder(self) -> TextEncoder:
        """The text encoder."""
        found = self.frozen_text if self.module.text_encoder is None else self.module.text_encoder
        assert found is not None, "one of the two has it"
        return found

    def twin(self) -> EditorParts:
        """A copy for averaged weights; what is frozen is shared with it."""
        frozen = {id(value): value for value in self.module.parameters() if not value.requires_grad}
        twin = copy.copy(self)
        twin.module = copy.deepcopy(self.module, frozen).eval().requires_grad_(False)
        return twin

    def logits(
        self,
        forced: TeacherForced,
        instructions: list[str],
        layout: SequenceLayout,
        *,
        dropped: Tensor | None = None,
        gradient_checkpointing: bool = False,
    ) -> Tensor:
        """Logits (B, L, token bits, 2); items that are dropped (B,) bool get the null text."""
        text = self._text(instructions, dropped)
        residuals = forced.residuals if self.transformer.copy_path is not None else None
        logits: Tensor = self.transformer(
            forced.source,
            forced.step_inputs,
            text,
            layout,
            residuals,
            gradient_checkpointing=gradient_checkpointing,
        )
        return logits

    def proposal(self, source: Tensor, instructions: list[str], layout: SequenceLayout, dropped: Tensor) -> Proposed:
        """What source tokens (B, S, token bits) propose."""
        return self.transformer.propose(source, self._text(instructions, dropped), layout)

    @torch.no_grad()
    def read_text(self, instructions: list[str], dropped: Tensor) -> TextContext:
        """Instructions as the transformer reads them, which learns nothing from it."""
        return self.transformer.read_text(self._text(instructions, dropped))

    def _text(self, instructions: list[str], dropped: Tensor | None) -> TextFeatures:
        with nullcontext() if self.module.text_encoder is not None else torch.no_grad():
            text: TextFeatures = self.text_encoder(self.text_encoder.tokenize(instructions))
        if dropped is None:
            return text
        null = self.transformer.unconditional_text(text.lengths)
        return TextFeatures(torch.where(dropped[:, None, None], null.features, text.features), text.lengths)

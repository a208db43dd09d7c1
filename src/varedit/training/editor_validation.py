"""Looking at an editor in training: bits it gets right, and finished edits, on pairs that it never learns from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from varedit.autoencoder import Autoencoder
from varedit.config import EditorConfig
from varedit.generation import Generation
from varedit.sampling import BatchSampler, SamplingSettings
from varedit.scales import ScaleSchedule
from varedit.text_features import TextFeatures
from varedit.training.batches import StepBatch
from varedit.training.editor_module import EditorParts
from varedit.training.loop import Metrics
from varedit.training.run import RunFolder, picture_grid
from varedit.training.teacher_forcing import Frame, TeacherForced, teacher_forced

VALIDATION_PAIRS = 96
SAMPLES = 16  # edits in the picture of a validation


@dataclass(frozen=True)
class EditorValidation:
    """Accuracies on unseen photographs; how near finished edits come to their targets; a picture of some.

    Args:
        config: of the editor.
        autoencoder: frozen.
        held_out: pairs that are not trained on.
        run: gets the pictures.
    """

    config: EditorConfig
    autoencoder: Autoencoder
    held_out: StepBatch
    run: RunFolder

    @torch.no_grad()
    def of(self, parts: EditorParts, step: int) -> Metrics:
        """The numbers of averaged weights, which are on the CPU and are brought to the autoencoder's device for it."""
        device = next(self.autoencoder.parameters()).device
        batch = self.held_out.to(device)
        parts.module.to(device)
        frame = Frame.of(self.config, batch.template, device)
        source, target = self.autoencoder.encode(torch.cat((batch.sources, batch.targets))).chunk(2)
        forced = teacher_forced(source, target, frame)
        logits = parts.logits(forced, batch.instructions, frame.layout)
        numbers = accuracies(logits, forced, batch.template.schedule)
        results = self.autoencoder.decode(self._edited(parts, source, batch.instructions, frame))
        targets = self.autoencoder.decode(frame.quantizer.encode(target).running[-1])
        sources = self.autoencoder.decode(frame.quantizer.encode(source).running[-1])
        parts.module.cpu()
        columns = [pictures[:SAMPLES] for pictures in (batch.sources, results, batch.targets)]
        self.run.save_picture(f"step-{step:06d}", picture_grid(columns))
        numbers |= _distances(results, sources, targets)
        return {f"validation_{name}": value for name, value in numbers.items()}

    def _edited(self, parts: EditorParts, source: Tensor, instructions: list[str], frame: Frame) -> Tensor:
        """Greedy edits of source features (B, d, H, W), as features."""
        text: TextFeatures = parts.text_encoder(parts.text_encoder.tokenize(instructions))
        defaults = self.config.generation
        settings = SamplingSettings(guidance=defaults.guidance_scale, temperature=defaults.temperature, greedy=True)
        lengths = frame.layout.schedule.lengths
        bits = self.config.transformer.token_bits
        scales = Generation.begin(
            parts.transformer,
            frame.quantizer,
            frame.layout,
            source,
            text,
            parts.transformer.unconditional_text(text.lengths),
            BatchSampler.of([settings] * len(source), len(lengths), source.device),
            [torch.zeros(len(source), length, bits, device=source.device) for length in lengths],
        )
        features = source
        for state in scales:
            features = state.features
        return features


def accuracies(logits: Tensor, forced: TeacherForced, schedule: ScaleSchedule) -> Metrics:
    """Share of right bits: in all, of a copy of the source, among those where the copy is wrong, and by scale.

    Args:
        logits: (B, L, token bits, 2).
        forced: its labels belong to them.
        schedule: of the L tokens.
    """
    right = ((logits[..., 1] > logits[..., 0]) == forced.labels).float()
    changed = (~forced.is_copied).float()
    numbers = {
        "accuracy": right.mean(),
        "copy": 1 - changed.mean(),
        "changed": (right * changed).sum() / changed.sum().clamp(min=1),
    }
    for scale, part in enumerate(right.split(list(schedule.lengths), dim=1), start=1):
        numbers[f"accuracy_{scale}"] = part.mean()
    return dict(zip(numbers, _rounded(list(numbers.values())), strict=True))


def _distances(results: Tensor, sources: Tensor, targets: Tensor) -> Metrics:
    """How near results (B, 3, h, w) come to their targets, both as the autoencoder sees them."""
    to_target = (results - targets).abs().mean(dim=(1, 2, 3))
    to_source = (results - sources).abs().mean(dim=(1, 2, 3))
    means = [to_target.mean(), (sources - targets).abs().mean(), (to_target < to_source).float().mean()]
    return dict(zip(("l1_to_target", "l1_source_to_target", "nearer_to_target"), _rounded(means), strict=True))


def _rounded(values: list[Tensor]) -> list[float]:
    """Four decimals of some scalars; they come from the device together."""
    return [round(value, 4) for value in torch.stack(values).tolist()]

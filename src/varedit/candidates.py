"""Choosing among candidates: several seeds are carried through the coarse scales, the best of them is finished.

Text, encoded photograph and the source's pass through the transformer are shared. What a candidate will show is decided
by its coarse scales, which cost little; the fine ones, nearly the whole cost of an edit, are computed for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from varedit.editor import Editor
from varedit.errors import UsageError
from varedit.generation import GeneratedScale, Generation
from varedit.quantizer import tokens_to_latents
from varedit.requests import EditRequest, derived_seed
from varedit.sampling import draw_uniforms
from varedit.scales import ScaleSchedule, Template

MAX_CANDIDATES = 64
COARSE_SHARE = 0.1  # of the target's tokens: the scales up to there decide what an edit shows


@dataclass(frozen=True, eq=False)
class Candidate:
    """One seed's coarse scales.

    Attributes:
        seed: finishing an edit with this seed alone gives this candidate.
        instruction: of the edit.
        source: (3, h, w) in [-1, 1], the photograph through the autoencoder.
        preview: (3, h, w) in [-1, 1], the coarse scales decoded.
        agreement: mean, over the bits drawn, of how much likelier they are with the instruction than without it, in
            nats; without guidance, their mean log-likelihood.
        outside_change: how far the features have left the source where the instruction has no say, as a share of how
            far they have left it everywhere, in [0, 1]; without guidance, 0.
    """

    seed: int
    instruction: str
    source: NDArray[np.float32]
    preview: NDArray[np.float32]
    agreement: float
    outside_change: float


class Ranker(Protocol):
    """What chooses: any callable of this form."""

    def __call__(self, candidates: Sequence[Candidate]) -> Sequence[float]:
        """A score for each candidate of one edit; the highest is finished."""
        ...


def rank_by_guidance(candidates: Sequence[Candidate]) -> list[float]:
    """The built-in ranker: bits that the instruction speaks for, and little change where it has no say.

    Each signal counts in standard deviations among the candidates.
    """
    agreement = np.array([candidate.agreement for candidate in candidates])
    outside = np.array([candidate.outside_change for candidate in candidates])
    scores: list[float] = (_standardised(agreement) - _standardised(outside)).tolist()
    return scores


def coarse_scales(schedule: ScaleSchedule) -> int:
    """How many scales candidates are carried through: those with the first tenth of all tokens, at least 1."""
    limit = COARSE_SHARE * schedule.num_tokens
    return max(1, sum(schedule.first(count).num_tokens <= limit for count in range(1, len(schedule))))


@dataclass(frozen=True)
class CandidateChoice:
    """How many candidates an edit has, and what chooses among them. Raises UsageError for a number that is none."""

    count: int = 1
    ranker: Ranker = rank_by_guidance

    def __post_init__(self) -> None:
        count: object = self.count
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_CANDIDATES:
            raise UsageError(f"the number of candidates is {self.count}; it must be 1 to {MAX_CANDIDATES}")


ONE_CANDIDATE = CandidateChoice()


@dataclass
class GuidanceSignals:
    """What the guidance branches say of each candidate; an observer of its draws (`generation.DrawObserver`).

    Attributes:
        schedule: of the tokens.
        gains: per scale, (B,) mean log-likelihood of the bits with the instruction, less that without it.
        influence: (B, h, w) on the final token grid, mean difference that the instruction makes to a bit's probability.
        has_branches: whether both branches ran so far.
    """

    schedule: ScaleSchedule
    gains: list[Tensor] = field(default_factory=list)
    influence: Tensor | None = None
    has_branches: bool = True

    def __call__(self, conditional: Tensor, unconditional: Tensor | None, bits: Tensor, scale: int) -> None:
        """See `generation.DrawObserver`."""
        gain = _likelihood(conditional, bits)
        if unconditional is None:
            self.has_branches = False
        else:
            gain = gain - _likelihood(unconditional, bits)
            moved = (conditional.softmax(-1) - unconditional.softmax(-1))[..., 1].abs().mean(dim=2, keepdim=True)
            on_grid = tokens_to_latents(moved, self.schedule.grids[scale], 1)
            raised = F.interpolate(on_grid, self.schedule.final, mode="bilinear")[:, 0]
            self.influence = raised if self.influence is None else torch.maximum(self.influence, raised)
        self.gains.append(gain)

    def agreement(self) -> list[float]:
        """Of each candidate: the mean over the scales."""
        means: list[float] = torch.stack(self.gains).mean(dim=0).tolist()
        return means

    def outside_change(self, source_sum: Tensor, features: Tensor) -> list[float]:
        """Of each candidate, from the sums of codes (B, d, H, W) of source and target after the same scales."""
        if self.influence is None or not self.has_branches:
            return [0.0] * len(features)
        change = (features - source_sum).square().mean(dim=1, keepdim=True)
        change = F.adaptive_avg_pool2d(change, self.schedule.final)[:, 0]
        said = self.influence / self.influence.amax(dim=(1, 2), keepdim=True).clamp_min(1e-6)
        outside = ((1 - said) * change).sum(dim=(1, 2)) / change.sum(dim=(1, 2)).clamp_min(1e-12)
        shares: list[float] = outside.tolist()
        return shares


def _carried(
    generation: Generation, count: int, uniforms: Sequence[Tensor], signals: GuidanceSignals
) -> tuple[list[GeneratedScale], Generation]:
    """Each edit of a generation ``count`` times, with draws (B * count, L_k, token bits), through the coarse scales."""
    items = torch.arange(len(generation.source), device=generation.source.device).repeat_interleave(count)
    scales = coarse_scales(generation.layout.schedule)
    branched = generation.taken(items, uniforms, scales)
    branched.observer = signals
    states = [next(branched) for _ in range(scales)]
    branched.observer = None
    return states, branched


@dataclass(frozen=True)
class Beginning:
    """The coarse scales of the best candidates, one for each edit.

    Attributes:
        seeds: per edit, of its best candidate.
        scales: the coarse scales as they were drawn.
        generation: goes on with the scales that follow.
    """

    seeds: list[int]
    scales: list[GeneratedScale]
    generation: Generation


@torch.inference_mode()
def best_beginning(
    editor: Editor, template: Template, generation: Generation, requests: Sequence[EditRequest], choice: CandidateChoice
) -> Beginning:
    """Carry each edit's candidates through the coarse scales and keep the best.

    Candidate 0 has the edit's own seed, the others those of its further images (`requests.derived_seed`).

    Args:
        generation: of the edits, with no scale drawn yet.
    """
    count = choice.count
    seeds = [derived_seed(request.seed, copy) for request in requests for copy in range(count)]
    uniforms = seeded_uniforms(seeds, template.schedule.lengths, generation.uniforms[0])
    signals = GuidanceSignals(template.schedule)
    states, branched = _carried(generation, count, uniforms, signals)
    sums = editor.quantizer(template).encode(generation.source).running
    before = sums[len(states) - 1].repeat_interleave(count, dim=0)
    agreement, outside = signals.agreement(), signals.outside_change(before, branched.features)
    sources, previews = editor.decode(sums[-1]).numpy(), editor.decode(branched.features).numpy()
    best = []
    for item, request in enumerate(requests):
        places = range(item * count, (item + 1) * count)
        shown = [
            Candidate(
                seed=seeds[place],
                instruction=request.instruction,
                source=sources[item],
                preview=previews[place],
                agreement=agreement[place],
                outside_change=outside[place],
            )
            for place in places
        ]
        scores = list(choice.ranker(shown))
        best.append(places[scores.index(max(scores))])
    taken = torch.tensor(best, device=generation.source.device)
    scales = [GeneratedScale(state.index, state.bits[taken], state.features[taken]) for state in states]
    goes_on = branched.taken(taken, [numbers[taken] for numbers in uniforms])
    return Beginning([seeds[place] for place in best], scales, goes_on)


def seeded_uniforms(seeds: Sequence[int], lengths: Sequence[int], like: Tensor) -> list[Tensor]:
    """The draws of edits with these seeds, as `sampling.draw_uniforms`, where and as wide as ``like``."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return [uniforms.to(like.device) for uniforms in draw_uniforms(generators, lengths, like.shape[-1])]


def _likelihood(logits: Tensor, bits: Tensor) -> Tensor:
    """Mean log-likelihood (B,) of bits (B, L, d) under logits (B, L, d, 2)."""
    margin = logits[..., 1] - logits[..., 0]
    likelihood: Tensor = F.logsigmoid(torch.where(bits, margin, -margin)).mean(dim=(1, 2))
    return likelihood


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)

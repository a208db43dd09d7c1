"""Choosing among candidates: each is what its seed gives alone, the best is finished, and what is shared is shared."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests.listening import inputs_of
from tests.toys import picture, toy_pipeline
from varedit.candidates import Candidate, GuidanceSignals, coarse_scales, rank_by_guidance
from varedit.errors import UsageError
from varedit.requests import derived_seed
from varedit.scales import ScaleSchedule

EDIT = {"image": picture(30, 31, 1), "prompt": "make it a lot warmer", "seed": 11, "temperature": 1.5}


@pytest.fixture(scope="module")
def pipeline():
    return toy_pipeline()


def seen_by(ranked: list[list[Candidate]], best: int):
    """A ranker that keeps what it is shown and always chooses one place."""

    def rank(candidates):
        ranked.append(list(candidates))
        return [float(place == best) for place in range(len(candidates))]

    return rank


@pytest.mark.parametrize("best", [0, 2])
def test_the_chosen_candidate_is_finished_as_its_seed_alone_would_be(pipeline, best):
    ranked: list[list[Candidate]] = []
    output = pipeline(**EDIT, candidates=3, ranker=seen_by(ranked, best), output_type="bits")
    seed = derived_seed(11, best)
    assert output.seeds == [seed] and output.settings[0]["seed"] == seed
    assert [candidate.seed for candidate in ranked[0]] == [derived_seed(11, copy) for copy in range(3)]
    alone = pipeline(**(EDIT | {"seed": seed}), output_type="bits").images[0]
    assert all(torch.equal(mine, other) for mine, other in zip(output.images[0], alone, strict=True))


@pytest.mark.usefixtures("text_form")
def test_a_batch_chooses_for_each_edit(pipeline):
    ranked: list[list[Candidate]] = []
    prompts = ["make it warmer", "a lot darker"]
    output = pipeline(EDIT["image"], prompts, seed=[3, 4], candidates=2, ranker=seen_by(ranked, 1), output_type="bits")
    assert [candidates[0].instruction for candidates in ranked] == prompts
    for prompt, seed, bits in zip(prompts, (3, 4), output.images, strict=True):
        alone = pipeline(EDIT["image"], prompt, seed=derived_seed(seed, 1), output_type="bits").images[0]
        assert all(torch.equal(mine, other) for mine, other in zip(bits, alone, strict=True))


def test_previews_are_the_decoded_coarse_scales(pipeline):
    ranked: list[list[Candidate]] = []
    pipeline(**EDIT, candidates=2, ranker=seen_by(ranked, 0))
    requests, options = pipeline.requests(**EDIT)
    ((_, run),) = pipeline._runs(requests, options)
    run.encode()
    scales = coarse_scales(run.template.schedule)
    loop = run.scales()
    for _ in range(scales):
        run.features = next(loop).features
    assert_close(ranked[0][0].preview, run.decoded()[0], rtol=0, atol=1e-5)
    assert not np.array_equal(ranked[0][0].preview, ranked[0][1].preview)


def test_the_source_is_encoded_and_prefilled_once(pipeline):
    tokens = pipeline.editor.transformer.token_embed
    with inputs_of(tokens) as alone:
        pipeline(**EDIT)
    with inputs_of(tokens) as shared:
        pipeline(**EDIT, candidates=4, ranker=seen_by([], 3))
    assert [len(batch) for batch in alone] == [2, 2, 2, 2]  # the source, then scales 2 to 4, in two branches
    assert [len(batch) for batch in shared] == [2, 2, 2, 2]  # candidates end with the first of four scales


def test_coarse_scales_hold_the_first_tenth_of_all_tokens():
    assert coarse_scales(ScaleSchedule(((1, 1), (2, 2), (4, 4), (8, 8), (8, 8), (8, 8)))) == 3  # 21 of 213
    assert coarse_scales(ScaleSchedule(((1, 1), (2, 2), (3, 3), (5, 5)))) == 1
    assert coarse_scales(ScaleSchedule(((1, 1), (1, 1)))) == 1


def test_agreement_is_the_gain_in_likelihood_that_the_instruction_brings():
    signals = GuidanceSignals(ScaleSchedule(((1, 1), (2, 2))))
    bits = torch.tensor([[[True, False]]])
    conditional = torch.tensor([[[[0.0, math.log(3.0)], [0.0, 0.0]]]])  # bit 1 with 3/4 and 1/2
    unconditional = torch.zeros(1, 1, 2, 2)
    signals(conditional, unconditional, bits, 0)
    assert_close(signals.agreement(), [math.log(0.75 / 0.5) / 2])
    signals(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, dtype=torch.bool), 1)
    assert_close(signals.agreement(), [math.log(0.75 / 0.5) / 4])


def test_outside_change_is_the_share_where_the_instruction_has_no_say():
    signals = GuidanceSignals(ScaleSchedule(((1, 1), (2, 2))))
    conditional = torch.zeros(1, 4, 1, 2)
    conditional[0, 0, 0, 1] = 2.0  # the instruction speaks of the first token alone
    signals(conditional, torch.zeros(1, 4, 1, 2), torch.zeros(1, 4, 1, dtype=torch.bool), 1)
    source, target = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    target[0, 0, 0, 0] = 1.0
    assert_close(signals.outside_change(source, target), [0.0])
    target[0, 0, 1, 1] = 1.0
    assert_close(signals.outside_change(source, target), [0.5])


def test_without_guidance_the_signals_are_the_likelihood_and_nothing():
    signals = GuidanceSignals(ScaleSchedule(((1, 1),)))
    signals(torch.zeros(1, 1, 2, 2), None, torch.ones(1, 1, 2, dtype=torch.bool), 0)
    assert_close(signals.agreement(), [math.log(0.5)])
    assert signals.outside_change(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)) == [0.0]


def candidate(agreement: float, outside_change: float) -> Candidate:
    blank = np.zeros((3, 2, 2), np.float32)
    return Candidate(0, "it", blank, blank, agreement, outside_change)


def test_the_built_in_ranker_wants_agreement_and_no_change_outside():
    assert int(np.argmax(rank_by_guidance([candidate(0.1, 0.2), candidate(0.3, 0.2), candidate(0.2, 0.2)]))) == 1
    assert int(np.argmax(rank_by_guidance([candidate(0.1, 0.2), candidate(0.1, 0.1), candidate(0.1, 0.3)]))) == 1
    assert rank_by_guidance([candidate(0.1, 0.2)]) == [0.0]


@pytest.mark.parametrize("count", [0, 65, True, 1.5])
def test_numbers_of_candidates_that_are_none_are_refused(pipeline, count):
    with pytest.raises(UsageError, match="number of candidates"):
        pipeline(**EDIT, candidates=count)


def test_candidates_need_seeds_and_no_callback(pipeline):
    with pytest.raises(UsageError, match="give seed"):
        pipeline(EDIT["image"], "it", candidates=2, generator=torch.Generator().manual_seed(1))
    with pytest.raises(UsageError, match="without a callback"):
        pipeline(**EDIT, candidates=2, callback_on_step_end=lambda *_: None)

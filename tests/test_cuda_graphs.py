"""CUDA graphs of whole passes, here on a tape of operations that is played again: the same memory, no Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.toys import CONFIG, picture, toy_pipeline
from varedit import cuda_graphs
from varedit.config import EditorConfig
from varedit.cuda_graphs import MAX_RECORDINGS, ModuleGraphs, TextGraphs, TransformerGraphs
from varedit.pipeline import VAREditPipeline
from varedit.reuse import ReuseSettings

EDITS: list[dict[str, Any]] = [  # of one size, with instructions of unlike lengths
    {"image": picture(30, 30, seed), "prompt": prompt, "seed": seed}
    for seed, prompt in enumerate(["make it warmer", "slightly darker", "make it a lot warmer", "the picture"] * 2)
]
PASSES = 1 + 1 + 1 + 4 + 1  # the picture, the text, the source, the scales, and the picture again
CORNER = np.pad(np.full((12, 8), 255, np.uint8), ((0, 18), (0, 22)))
PROPOSING = dataclasses.replace(
    CONFIG, transformer=dataclasses.replace(CONFIG.transformer, source_residual=True, source_proposal=True)
)


class Tape(TorchDispatchMode):
    """Writes down every operation; `play` carries them out again, into the results of the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, made))
        return made

    @torch.inference_mode()
    def play(self) -> None:
        for func, args, kwargs, made in self.operations:
            for old, new in zip(tree_leaves(made), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, Tensor):
                    old.copy_(new)


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """Every tape that is written, in order; they stand in for graphs."""
    written: list[Tape] = []

    def record(function: Callable[[], Any], pool: object) -> tuple[Any, Callable[[], None]]:
        written.append(Tape())
        with written[-1]:
            made = function()
        results = [made] if isinstance(made, Tensor) else [made.layers[0].keys, made.layers[1].values]
        for result in results:
            result.fill_(torch.nan)  # no kernel has run yet
        return made, written[-1].play

    monkeypatch.setattr(cuda_graphs, "record", record)
    monkeypatch.setattr(cuda_graphs, "memory_of", lambda device: (2**40, 2**40))
    return written


def with_graphs(config: EditorConfig = CONFIG) -> VAREditPipeline:
    """All graphs of `Editor.compile`, but no compiled blocks."""
    pipeline = toy_pipeline(config)
    for half in (pipeline.editor.autoencoder.encoder, pipeline.editor.autoencoder.decoder):
        ModuleGraphs(half)
    TransformerGraphs(pipeline.editor.transformer)
    TextGraphs(pipeline.editor.text_encoder.encoder)
    return pipeline


def bits(output: Any) -> Tensor:
    return torch.cat([scale.flatten() for item in output.images for scale in item])


def same(one: Any, other: Any) -> bool:
    return torch.equal(bits(one), bits(other))


@pytest.mark.parametrize("config", [CONFIG, PROPOSING], ids=["released", "proposing"])
def test_every_edit_has_its_own_bits_whatever_was_recorded_before(tapes: list[Tape], config: EditorConfig) -> None:
    plain, recorded = toy_pipeline(config), with_graphs(config)
    for number, edit in enumerate(EDITS):
        assert same(recorded(**edit, output_type="bits"), plain(**edit, output_type="bits")), number
    assert len(tapes) == PASSES, "once for all edits"


def test_batches_and_aspect_ratios_are_recorded_on_their_own(tapes: list[Tape]) -> None:
    plain, recorded = toy_pipeline(), with_graphs()
    for seed in range(4):
        edits: list[dict[str, Any]] = [
            {"image": picture(30, 30, seed), "prompt": ["warmer", "a lot darker"], "seed": [seed, seed + 1]},
            {"image": picture(30, 20, seed), "prompt": "warmer", "seed": seed},
        ]
        for edit in edits:
            assert same(recorded(**edit, output_type="bits"), plain(**edit, output_type="bits"))
    assert len(tapes) == 2 * PASSES


@pytest.mark.parametrize(
    "options, recorded_scales",
    [
        ({"reuse": ReuseSettings(tolerance=0.9)}, 4),
        ({"reuse": ReuseSettings(first_scale=2), "mask": CORNER}, 4),
        ({"reuse": True, "mask": CORNER, "guidance_scale": [2.0, 2.0, 2.0, 1.0]}, 4),
        ({"guidance_scale": [2.0, 2.0, 1.0, 1.0]}, 4),
        ({"num_images_per_prompt": 3}, None),
        ({"candidates": 3}, None),
        ({"image": [picture(30, 30, 8), picture(30, 30, 9)], "mask": [CORNER, 255 - CORNER], "reuse": True}, None),
    ],
    ids=["reuse", "mask", "both", "late scales without guidance", "variants", "candidates", "reuse in a batch"],
)
def test_options_go_on_from_recorded_caches(
    tapes: list[Tape], options: dict[str, Any], recorded_scales: int | None
) -> None:
    recorded = with_graphs()
    for number, edit in enumerate(EDITS):
        given = edit | options | {"output_type": "bits"}
        unrecorded = with_graphs()  # it fills up texts and tokens, too
        assert same(recorded(**given), unrecorded(**given)), number
    assert recorded_scales is None or len(tapes) == PASSES - 4 + recorded_scales


def test_variants_are_told_to_a_recording_by_their_places(tapes: list[Tape]) -> None:
    plain, recorded = toy_pipeline(), with_graphs()
    given: dict[str, Any] = {"prompt": ["warmer", "a lot darker"], "num_images_per_prompt": 2}
    for seed, chosen in enumerate(([0, 1, 2], [0, 2, 3], [2, 0, 1], [2, 0, 3])):
        made = []
        for pipeline in (plain, recorded):
            requests, options = pipeline.requests(image=picture(30, 30, seed), seed=seed, **given)
            made.append(pipeline.edit([requests[place] for place in chosen], options, output_type="bits"))
        assert same(*made), chosen
    assert len(tapes) == PASSES


def test_an_edit_that_begins_while_another_goes_on_does_not_write_over_it(tapes: list[Tape]) -> None:
    plain, recorded = toy_pipeline(), with_graphs()
    for edit in EDITS[:3]:
        recorded(**edit)
    count = len(tapes)
    first, second = (recorded.stream(**edit, output_type="bits") for edit in EDITS[3:5])
    found: list[list[Any]] = [[], []]
    for events in zip(first, second, strict=True):
        for own, event in zip(found, events, strict=True):
            own.append(event)
    for own, edit in zip(found, EDITS[3:5], strict=True):
        assert same(own[-1].output, plain(**edit, output_type="bits"))
    abandoned = recorded.stream(**EDITS[5], output_type="bits")
    next(abandoned)
    del abandoned
    assert same(recorded(**EDITS[6], output_type="bits"), plain(**EDITS[6], output_type="bits"))
    assert len(tapes) == count, "nothing was recorded anew"


def test_without_room_no_caches_are_recorded_and_older_kinds_go_first(
    tapes: list[Tape], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, recorded = toy_pipeline(), with_graphs()

    def recorded_by_edits_of(width: int, height: int) -> int:
        before = len(tapes)
        for seed in range(3):
            edit: dict[str, Any] = {"image": picture(width, height, seed), "prompt": "warmer", "seed": seed}
            assert same(recorded(**edit, output_type="bits"), plain(**edit, output_type="bits"))
        return len(tapes) - before

    assert recorded_by_edits_of(30, 30) == PASSES
    monkeypatch.setattr(cuda_graphs, "memory_of", lambda device: (0, 2**40))
    assert recorded_by_edits_of(30, 20) == 2, "the pictures' passes alone"
    monkeypatch.setattr(cuda_graphs, "memory_of", lambda device: (2**40, 2**40))
    assert recorded_by_edits_of(30, 30) == 1 + 4, "the kind had made room, and is recorded anew"
    monkeypatch.setattr(cuda_graphs, "memory_of", lambda device: (2**40, 2**10))
    assert recorded_by_edits_of(20, 30) == PASSES - 1, "one kind may take more than its share; texts are all alike"
    assert recorded_by_edits_of(30, 30) == 1 + 4, "but not two"


def test_a_module_is_recorded_for_few_shapes_none_of_them_large(tapes: list[Tape]) -> None:
    norm = nn.LayerNorm(3)
    plain = norm.forward
    ModuleGraphs(norm, largest=3 * 20)
    with torch.inference_mode():
        for rows in (*range(1, 25), *range(1, 25), *range(1, 25)):
            x = torch.randn(rows, 3)
            assert torch.equal(norm(x), plain(x)), rows
    assert [len(tape.operations) > 0 for tape in tapes] == [True] * MAX_RECORDINGS


def test_pictures_go_through_their_graphs(tapes: list[Tape]) -> None:
    plain, recorded = toy_pipeline(), with_graphs()
    for edit in EDITS[:4]:
        assert recorded(**edit).images[0].tobytes() == plain(**edit).images[0].tobytes()
    assert len(tapes) == PASSES

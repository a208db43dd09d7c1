"""The pipeline as its users call it, on a toy editor with random weights."""

from __future__ import annotations

import gc
import inspect
import io
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.toys import CONFIG, picture, toy_pipeline
from varedit.errors import ConfigError, ImageError, ModelError, UsageError
from varedit.output import save_image
from varedit.pipeline import VAREditPipeline
from varedit.requests import EditRequest, derived_seed
from varedit.results import EditOutput


@pytest.fixture(scope="module")
def pipeline() -> VAREditPipeline:
    return toy_pipeline()


def images_of(output: object) -> list[np.ndarray]:
    assert isinstance(output, EditOutput)
    return [np.asarray(image) for image in output.images]


UNLIKE = [
    {"image": picture(31, 29, 1), "prompt": "make it black and white", "seed": 3, "guidance_scale": 3.0},
    {"image": picture(40, 41, 2), "prompt": "warmer", "seed": 4, "guidance_scale": 1.0, "temperature": 1.0},
    {"image": picture(17, 18, 3), "prompt": "make the picture a lot darker", "seed": 5, "greedy": True},
    {"image": picture(64, 60, 4), "prompt": "it", "seed": 6, "guidance_scale": [1.0, 2.0, 3.0, 1.0], "top_p": 0.8},
]


@pytest.mark.parametrize("restore", [True, False])
def test_a_batch_of_unlike_edits_equals_the_single_edits(pipeline, restore):
    singles = [images_of(pipeline(**edit, restore=restore))[0] for edit in UNLIKE]
    requests = [pipeline.requests(**edit, restore=restore)[0][0] for edit in UNLIKE]
    options = pipeline.requests(**UNLIKE[0], restore=restore)[1]
    together = images_of(pipeline.edit(requests, options))
    for single, batched in zip(singles, together, strict=True):
        assert single.shape == batched.shape
        assert np.abs(single.astype(int) - batched).max() <= 1  # rounding of equal bits through a batched convolution
    bits = pipeline.edit([pipeline.requests(**edit)[0][0] for edit in UNLIKE], options, output_type="bits").images
    for edit, mine in zip(UNLIKE, bits, strict=True):
        alone = pipeline(**edit, output_type="bits").images[0]
        assert all(torch.equal(a, b) for a, b in zip(alone, mine, strict=True))


def test_pictures_of_several_shapes_come_back_in_order_and_size(pipeline):
    sizes = [(30, 30), (61, 33), (20, 47), (33, 31), (1, 1), (90, 31)]
    output = pipeline([picture(*size, seed=index) for index, size in enumerate(sizes)], "warmer", seed=1)
    assert [image.size for image in output.images] == sizes
    assert [schedule.final for schedule in output.schedules] == [(5, 5), (4, 7), (7, 4), (5, 5), (5, 5), (4, 7)]
    alone = images_of(pipeline(picture(20, 47, seed=2), "warmer", seed=1))[0]
    assert np.abs(alone.astype(int) - np.asarray(output.images[2])).max() <= 1


def copy_of_the_source(pipeline: VAREditPipeline, image: Image.Image):
    """A callback that puts the source's own codes in place of what was drawn."""
    requests, options = pipeline.requests(image, "it", seed=0)
    ((_, run),) = pipeline._runs(requests, options)
    run.encode()
    sums = pipeline.editor.quantizer(run.template).encode(run.source).running
    return lambda _pipeline, scale, _grid, _tensors: {"features": sums[scale]}


@settings(max_examples=20, deadline=None)
@given(
    width=st.integers(1, 75), height=st.integers(1, 75), seed=st.integers(0, 5), suffix=st.sampled_from(["png", "tiff"])
)
def test_bits_equal_to_the_sources_give_the_inputs_own_pixels(pipeline, tmp_path_factory, width, height, seed, suffix):
    image = picture(width, height, seed)
    callback = copy_of_the_source(pipeline, image)
    output = pipeline(image, "make it black and white", seed=seed, callback_on_step_end=callback)
    path = tmp_path_factory.mktemp("identity") / f"result.{suffix}"
    save_image(np.asarray(output.images[0]), path, provenance=output.settings[0])
    with Image.open(path) as written:
        assert np.array_equal(np.asarray(written.convert("RGB")), np.asarray(image))
    assert not np.asarray(output.change_maps[0]).any()


def test_the_change_map_tells_where_pixels_changed(pipeline):
    image = picture(40, 40, 7)
    output = pipeline(image, "make it black and white", seed=2)
    changed = (np.asarray(output.images[0]) != np.asarray(image)).any(axis=2)
    assert changed.any()
    assert not changed[np.asarray(output.change_maps[0]) == 0].any()


@pytest.mark.parametrize("restore", [True, False])
def test_a_mask_keeps_black_places_bit_for_bit(pipeline, restore):
    image = picture(40, 36, 8)
    mask = np.zeros((36, 40), np.uint8)
    mask[:, 20:] = 255
    result = images_of(pipeline(image, "warmer", seed=3, mask=Image.fromarray(mask), restore=restore))[0]
    assert np.array_equal(result[:, :20], np.asarray(image)[:, :20])
    assert not np.array_equal(result[:, 20:], np.asarray(image)[:, 20:])


def test_warming_up_edits_a_grey_picture_and_tells_how_far_it_is(pipeline):
    told = []
    pipeline.warm_up(on_scale=lambda done, total: told.append((done, total)))
    scales = len(pipeline.config.templates.nearest(1, 1).schedule)
    assert told == [(done + 1, scales) for done in range(scales)]


def test_one_seed_one_result(pipeline):
    image = picture(33, 35)
    first, again = (images_of(pipeline(image, "warmer", seed=5))[0] for _ in range(2))
    other = images_of(pipeline(image, "warmer", seed=6))[0]
    drawn = pipeline(image, "warmer")
    repeated = images_of(pipeline(image, "warmer", seed=drawn.seeds[0]))[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(np.asarray(drawn.images[0]), repeated)


def test_the_first_of_n_images_is_the_only_one_and_seeds_are_told(pipeline):
    image = picture(30, 30)
    output = pipeline([image, image], ["warmer", "darker"], seed=[5, 9], num_images_per_prompt=2)
    assert output.seeds == [5, derived_seed(5, 1), 9, derived_seed(9, 1)]
    assert derived_seed(5, 1) != derived_seed(5, 2)
    single = images_of(pipeline(image, "darker", seed=9))[0]
    assert np.abs(single.astype(int) - np.asarray(output.images[2])).max() <= 1


def test_variants_of_an_edit_share_all_that_comes_before_their_first_bit(monkeypatch):
    pipeline = toy_pipeline()
    mask = np.pad(np.full((20, 20), 255, np.uint8), ((0, 9), (0, 11)))
    unlike: list[dict[str, Any]] = [
        UNLIKE[0] | {"negative_prompt": "darker", "mask": mask},
        UNLIKE[2],
        UNLIKE[2] | {"prompt": "warmer"},
    ]
    found = [pipeline.requests(**edit, num_images_per_prompt=3) for edit in unlike]
    options = found[0][1]
    mixed = [found[edit][0][copy] for edit, copy in ((0, 0), (1, 0), (0, 1), (2, 1), (1, 1), (0, 2), (1, 2))]
    alone = [pipeline.edit([anew(each)], options, output_type="bits").images[0] for each in mixed]
    seen = defaultdict(list)

    def watched(owner, name, count):
        function = getattr(owner, name)

        def call(*given):
            seen[name].append(count(given[0]))
            return function(*given)

        monkeypatch.setattr(owner, name, call)

    watched(pipeline.editor, "encode", len)
    watched(pipeline.editor.text_encoder, "forward", lambda tokens: len(tokens.lengths))
    watched(pipeline.editor.transformer, "prefill", len)
    together = pipeline.edit([anew(each) for each in mixed], options, output_type="bits").images
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    texts = [3, 1]  # instructions, and the one negative
    sources = [2 * 3]  # of both guidance branches
    assert seen == {"encode": [3], "forward": texts, "prefill": sources}


def anew(request: EditRequest) -> EditRequest:
    """The request before anything was drawn with it."""
    return replace(request, generator=torch.Generator().manual_seed(request.seed))


@pytest.mark.parametrize("options", [{}, {"num_images_per_prompt": 2}, {"candidates": 2}, {"reuse": True}], ids=str)
def test_an_edit_leaves_no_garbage_that_holds_memory_until_it_is_searched_for(pipeline, options):
    pipeline(picture(30, 30), "warmer", **options)
    gc.collect()
    gc.disable()
    try:
        pipeline(picture(30, 30), "warmer", **options)
        for event in pipeline.stream(picture(30, 30), "warmer", **options):
            event.preview()
        del event
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_generator_draws_what_its_seed_draws(pipeline):
    image = picture(30, 30)
    seeded = images_of(pipeline(image, "warmer", seed=11))[0]
    generated = images_of(pipeline(image, "warmer", generator=torch.Generator().manual_seed(11)))[0]
    assert np.array_equal(seeded, generated)


def test_the_instruction_matters_and_guidance_one_ignores_the_null_text(pipeline):
    image = picture(30, 30)
    warm, dark = (pipeline(image, prompt, seed=1, output_type="bits").images[0] for prompt in ("warmer", "darker"))
    assert any(not torch.equal(a, b) for a, b in zip(warm, dark, strict=True))
    plain = [
        pipeline(image, "warmer", seed=1, guidance_scale=1.0, negative_prompt=negative, output_type="bits").images[0]
        for negative in (None, "darker")
    ]
    assert all(torch.equal(a, b) for a, b in zip(*plain, strict=True))
    guided = pipeline(image, "warmer", seed=1, guidance_scale=3.0, negative_prompt="darker", output_type="bits").images[
        0
    ]
    usual = pipeline(image, "warmer", seed=1, guidance_scale=3.0, output_type="bits").images[0]
    assert any(not torch.equal(a, b) for a, b in zip(guided, usual, strict=True))


def test_a_negative_prompt_equal_to_the_prompt_cancels_guidance(pipeline):
    image = picture(30, 30)
    kept = {"greedy": True, "temperature": 1.0, "output_type": "bits"}
    cancelled = pipeline(image, "warmer", guidance_scale=3.0, negative_prompt="warmer", **kept).images[0]
    plain = pipeline(image, "warmer", guidance_scale=1.0, **kept).images[0]
    assert all(torch.equal(a, b) for a, b in zip(cancelled, plain, strict=True))


def test_output_types(pipeline):
    image = picture(30, 28)
    pil = images_of(pipeline(image, "warmer", seed=1))[0]
    array = pipeline(image, "warmer", seed=1, output_type="np").images
    tensor = pipeline(image, "warmer", seed=1, output_type="pt").images
    assert array.shape == (1, 28, 30, 3) and array.dtype == np.float32
    assert np.array_equal(np.rint(array[0] * 255).astype(np.uint8), pil)
    assert torch.equal(tensor, torch.from_numpy(array).permute(0, 3, 1, 2))
    bits = pipeline(image, "warmer", seed=1, output_type="bits").images[0]
    assert [tuple(scale.shape) for scale in bits] == [(1, 5, 1, 1), (1, 5, 2, 2), (1, 5, 3, 3), (1, 5, 5, 5)]
    (images,) = pipeline(image, "warmer", seed=1, return_dict=False)
    assert np.array_equal(np.asarray(images[0]), pil)
    with pytest.raises(UsageError, match="output_type must be one of"):
        pipeline(image, "warmer", output_type="jpeg")


def test_a_stream_previews_every_scale_and_ends_with_the_result(pipeline):
    image = picture(45, 44)
    events = list(pipeline.stream(image, "make it warmer", seed=4))
    assert [(event.index, event.total, event.grid) for event in events] == [
        (0, 4, (1, 1)),
        (1, 4, (2, 2)),
        (2, 4, (3, 3)),
        (3, 4, (5, 5)),
    ]
    assert [event.output is not None for event in events] == [False, False, False, True]
    result, called = events[-1].output, pipeline(image, "make it warmer", seed=4)
    assert np.array_equal(np.asarray(result.images[0]), np.asarray(called.images[0]))
    raw = images_of(pipeline(image, "make it warmer", seed=4, restore=False))[0]
    assert np.array_equal(np.asarray(events[-1].preview()), raw)


def test_a_preview_shows_its_own_scale_while_the_stream_waits(pipeline):
    previews = [np.asarray(event.preview()) for event in pipeline.stream(picture(30, 30), "warmer", seed=4)]
    assert all(preview.shape == (30, 30, 3) for preview in previews)
    assert not any(np.array_equal(a, b) for a, b in pairwise(previews))


def test_the_callback_sees_every_scale_in_the_fields_conventions(pipeline):
    seen = []

    def callback(pipe, index, grid, tensors):
        seen.append((pipe is pipeline, index, grid, tuple(tensors["bits"].shape), tuple(tensors["features"].shape)))

    pipeline(picture(30, 30), "warmer", seed=4, callback_on_step_end=callback)
    assert seen == [(True, k, (n, n), (1, 5, n, n), (1, 5, 5, 5)) for k, n in enumerate((1, 2, 3, 5))]


def test_height_and_width_set_the_size_of_the_result(pipeline):
    assert pipeline(picture(30, 30), "warmer", seed=1, height=50, width=70).images[0].size == (70, 50)
    with pytest.raises(UsageError, match="both height and width"):
        pipeline(picture(30, 30), "warmer", height=50)


def test_settings_repeat_the_edit(pipeline):
    image = picture(30, 30)
    output = pipeline(image, "warmer", guidance_scale=2.5, temperature=0.9, top_p=0.9)
    told = output.settings[0]
    names = ("guidance_scale", "temperature", "top_k", "top_p", "greedy", "seed", "fit", "restore", "negative_prompt")
    again = pipeline(image, told["instruction"], **{name: told[name] for name in names})
    assert np.array_equal(np.asarray(again.images[0]), np.asarray(output.images[0]))
    assert told["model"] == "toy"


def test_words_that_the_model_does_not_know_are_told(pipeline):
    output = pipeline(picture(30, 30), ["make it warmer", "add a zebra to it"], seed=1)
    assert output.notes == [(), ("this model does not know: add, zebra, to",)]


def test_a_long_instruction_is_cut_with_a_note(pipeline):
    output = pipeline(picture(30, 30), "warmer " * 200, seed=1)
    assert output.notes[0] == ("the instruction has 201 tokens; only the first 12 were read",)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prompt": ""}, "the instruction is empty"),
        ({"prompt": " \x00\n "}, "the instruction is empty"),
        ({"prompt": "x" * 2001}, "2001 characters"),
        ({"prompt": "a \ud800"}, "lone surrogate"),
        ({"prompt": 7}, "an instruction must be text"),
        ({"guidance_scale": float("nan")}, "guidance must be a finite number"),
        ({"guidance_scale": "3"}, "guidance must be a finite number"),
        ({"temperature": ["a"]}, "temperature must be a finite number"),
        ({"guidance_scale": -1.0}, "guidance is -1.0; it must be from 0"),
        ({"guidance_scale": [1.0, 2.0]}, "guidance has 2 values; this model has 4 scales"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": float("inf")}, "temperature must be a finite number"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"seed": -1}, "a seed must be"),
        ({"seed": 2**63}, "a seed must be"),
        ({"seed": True}, "a seed must be"),
        ({"seed": 1, "generator": torch.Generator()}, "either seed or generator"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt is 0"),
        ({"prompt": ["a", "b", "c"], "image": [picture(9, 9)] * 2}, "2 images do not go with 3 prompts"),
        ({"image": []}, "0 images do not go with 1 prompts"),
        ({"seed": [1, 2, 3]}, "seed has 3 values for 1 edits"),
        ({"fit": "crop"}, "fit must be"),
        ({"num_inference_steps": 50}, "num_inference_steps is not accepted: this model has 4 scales"),
        ({"true_cfg_scale": 4.0}, "use guidance_scale"),
        ({"strenght": 1}, "strenght is not accepted"),
    ],
)
def test_bad_arguments_are_named_in_one_sentence(pipeline, settings, words):
    with pytest.raises(UsageError, match=words):
        pipeline(**({"image": picture(9, 9), "prompt": "warmer"} | settings))


def test_every_language_passes(pipeline):
    prompts = ["mach es wärmer", "暖かくして", "اجعلها أدفأ", "сделай теплее", "🐱🔥", "e\u0301"]
    assert len(pipeline(picture(9, 9), prompts, seed=1).images) == len(prompts)


def test_too_long_a_picture_is_refused(pipeline):
    with pytest.raises(ImageError, match="16 times"):
        pipeline(picture(1700, 40), "warmer")


def test_square_fit_reproduces_the_released_padding(pipeline):
    image = picture(40, 20, 3)
    result = pipeline(image, "warmer", seed=1, fit="square", restore=False)
    white = Image.new("RGB", (40, 40), (255, 255, 255))
    white.paste(image, (0, 0))
    padded = pipeline(white, "warmer", seed=1, fit="square", restore=False)
    assert result.images[0].size == (40, 20)
    assert np.array_equal(np.asarray(result.images[0]), np.asarray(padded.images[0])[:20])
    assert result.settings[0]["schedule"] == "square"


def test_saved_and_loaded_again_it_edits_alike(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "model")
    loaded = VAREditPipeline.from_pretrained(tmp_path / "model", device="cpu")
    assert loaded.config == CONFIG
    first, second = (images_of(pipe(picture(30, 30), "warmer", seed=3))[0] for pipe in (pipeline, loaded))
    assert np.array_equal(first, second)


def test_bfloat16_stays_near_float32(tmp_path):
    pipeline = toy_pipeline()
    image, exact = picture(30, 30), []
    for dtype in (torch.float32, torch.bfloat16):
        output = pipeline.to(dtype)(image, "warmer", seed=3, greedy=True, output_type="bits", guidance_scale=1.0)
        exact.append(torch.cat([scale.flatten() for scale in output.images[0]]))
    assert pipeline.dtype == torch.bfloat16
    assert pipeline.editor.transformer.head.weight.dtype == torch.float32
    assert (exact[0] == exact[1]).float().mean() > 0.8  # bits near even odds may differ in 8 bits of mantissa


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("no/such/folder/here", "there is no model folder"),
        ("nothing", "not a hub name"),
        ("owner/unknown", "owner/unknown"),
    ],
)
def test_a_model_that_is_not_there_is_one_sentence(source, words):
    with pytest.raises(ModelError, match=words):
        VAREditPipeline.from_pretrained(source, local_files_only=True)


def test_a_folder_that_is_no_model_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"no config.json"):
        VAREditPipeline.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "varedit", "name": 3')
    with pytest.raises(ConfigError, match="not valid JSON"):
        VAREditPipeline.from_pretrained(tmp_path)


def test_a_device_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="no device 'cuda:77'"):
        VAREditPipeline.from_pretrained(tmp_path, device="cuda:77")
    with pytest.raises(UsageError, match="no device 'toaster'"):
        VAREditPipeline.from_pretrained(tmp_path, device="toaster")


def test_sources_may_be_paths_bytes_arrays_and_tensors(pipeline, tmp_path: Path):
    image = picture(21, 22)
    image.save(tmp_path / "picture.png")
    held = io.BytesIO()
    image.save(held, "PNG")
    array = np.asarray(image)
    sources = [tmp_path / "picture.png", str(tmp_path / "picture.png"), held.getvalue(), array]
    results = images_of(pipeline([*sources, torch.from_numpy(array.copy())], "warmer", seed=2))
    assert all(np.array_equal(results[0], result) for result in results[1:])


def test_names_are_the_fields_own():
    names = set(inspect.signature(VAREditPipeline.requests).parameters)
    assert {"image", "prompt", "negative_prompt", "guidance_scale", "height", "width", "generator"} <= names
    assert {"num_images_per_prompt"} <= names
    assert {"output_type", "return_dict", "callback_on_step_end"} <= set(
        inspect.signature(VAREditPipeline.__call__).parameters
    )


def test_a_saved_model_can_be_read_by_others(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "model")
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert len(files) >= 6
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in files)

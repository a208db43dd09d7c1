"""The same edit on an accelerator: same draws, same bits up to rounding. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tests.toys import picture, toy_pipeline
from tests.training_toys import DATA, Negatives, read_recipe
from varedit import strips
from varedit.autoencoder import GroupNorm
from varedit.pipeline import VAREditPipeline
from varedit.restore import restore
from varedit.training.autoencoder import train_autoencoder
from varedit.training.editor import train_editor

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


def bits_on(device: str, **randomness: Any) -> torch.Tensor:
    output = toy_pipeline().to(device)(picture(30, 30), "warmer", output_type="bits", **randomness)
    return torch.cat([scale.flatten().cpu() for scale in output.images[0]])


def test_one_seed_draws_the_same_on_both():
    agreement = (bits_on("cpu", seed=5) == bits_on("cuda", seed=5)).float().mean()
    assert agreement > 0.99  # float32 sums in another order; a bit at even odds may fall the other way


def test_a_generator_of_the_accelerator_is_accepted():
    first, again = (bits_on("cuda", generator=torch.Generator("cuda").manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)


def test_bfloat16_keeps_norms_and_head_in_float32():
    pipeline = toy_pipeline().to("cuda").to(torch.bfloat16)
    output = pipeline(picture(30, 30), "warmer", seed=5)
    assert output.images[0].size == (30, 30)
    assert pipeline.editor.transformer.head.weight.dtype == torch.float32
    assert pipeline.editor.transformer.get_parameter("blocks.0.attention.project.weight").dtype == torch.bfloat16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "toy"
    toy_pipeline().save_pretrained(path)
    return path


@pytest.mark.parametrize("options", [{"offload_text": True}, {"weights": "int8"}, {"weights": "fp8"}], ids=str)
def test_options_of_memory_change_few_bits(folder: Path, options: dict[str, Any]) -> None:
    if "weights" in options:
        pytest.importorskip("torchao")
    edit: dict[str, Any] = {"image": picture(30, 30), "prompt": "warmer", "seed": 5, "output_type": "bits"}
    plain, saving = (
        VAREditPipeline.from_pretrained(folder, device="cuda", dtype="float32", **chosen)(**edit).images[0]
        for chosen in ({}, options)
    )
    same = torch.cat([(one == other).flatten() for one, other in zip(plain, saving, strict=True)]).float().mean()
    assert same > 0.93  # as on the CPU, see test_low_bit


def test_strips_are_seamless_on_the_layout_of_the_accelerator(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = VAREditPipeline.from_pretrained(folder, device="cuda", dtype="float32").editor
    features = torch.randn(2, 5, 9, 7, generator=torch.Generator().manual_seed(0)).cuda()
    with torch.inference_mode():
        whole = editor.decode(features)
        monkeypatch.setattr(strips, "WHOLE_BYTES", 0)
        monkeypatch.setattr(strips, "STRIP_PIXELS", 3 * 28)
        torch.testing.assert_close(editor.decode(features), whole, rtol=0, atol=1e-3)  # TF32 in convolutions


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("precision, near", [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)], ids=str)
@torch.no_grad()
def test_group_norm_is_torchs_and_keeps_the_layout(
    layout: torch.memory_format, precision: torch.dtype, near: float
) -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    norm = GroupNorm(8, 32, eps=1e-6).to("cuda", precision)
    for parameter in norm.parameters():
        parameter.normal_(generator=generator)
    channels = torch.randn(1, 32, 1, 1, device="cuda", generator=generator)
    x = 3 * torch.randn(1, 32, 40, 24, device="cuda", generator=generator) + 5 * channels
    x = x.to(precision).contiguous(memory_format=layout)
    normed = norm(x)
    assert normed.dtype == precision
    assert normed.is_contiguous(memory_format=layout)
    expected = F.group_norm(x.double(), 8, norm.weight.double(), norm.bias.double(), 1e-6)
    torch.testing.assert_close(normed.double(), expected, rtol=near, atol=near)


@pytest.mark.parametrize("edited", ["tone", "place"])
def test_an_edit_is_explained_alike_on_both(edited: str) -> None:
    photograph = np.array(picture(150, 100))
    before = torch.from_numpy(photograph).permute(2, 0, 1).float() / 127.5 - 1
    before = F.interpolate(before[None], (64, 64), mode="area")[0]
    gain, red = (0.8, 0.2) if edited == "tone" else (1.0, 0.0)
    after = (gain * before + torch.tensor([red, 0.0, -red])[:, None, None]).clip(-1, 1)
    after[:, 20:34, 22:40] = torch.tensor([0.9, -0.5, -0.5])[:, None, None]

    def upsample(maps: NDArray[np.float32], rows: slice = slice(None)) -> NDArray[np.float32]:
        whole: NDArray[np.float32] = F.interpolate(torch.from_numpy(maps)[None], (100, 150), mode="bilinear")[0].numpy()
        return whole[:, rows]

    on_cpu, on_cuda = (
        restore(photograph, before.numpy(), after.numpy(), upsample=upsample, device=device)
        for device in ("cpu", "cuda")
    )
    assert on_cpu.change.any()
    for one, other in ((on_cpu.rgb, on_cuda.rgb), (on_cpu.change, on_cuda.change)):
        difference = np.abs(one.astype(int) - other)
        assert difference.max() <= 2 and (difference > 0).mean() < 0.01


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_both_trainings_learn_and_go_on_on_an_accelerator(tmp_path: Path, precision: str) -> None:
    recipe = read_recipe(tmp_path, ("text_dropout = 0.3\n", f'text_dropout = 0.3\nprecision = "{precision}"\n'))
    train_autoencoder(recipe, Negatives(), Negatives(), tmp_path / "autoencoder")
    trained = train_editor(recipe, tmp_path / "autoencoder" / "autoencoder", DATA, tmp_path / "editor")
    assert trained.metrics["validation_accuracy"] > 0.4
    again = train_editor(recipe, tmp_path / "autoencoder" / "autoencoder", DATA, tmp_path / "editor")
    assert trained.weights.keys() == again.weights.keys()
    assert all(torch.equal(value, again.weights[name]) for name, value in trained.weights.items())
    pipeline = VAREditPipeline.from_pretrained(tmp_path / "editor" / "model", device="cuda")
    assert pipeline(picture(30, 30), "invert the colours", seed=5).images[0].size == (30, 30)

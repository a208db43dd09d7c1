"""LPIPS on narrow stages: the formula by hand, the public files' names, and what a missing file says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close

from tests.tiny import random
from varedit.errors import InputMissing, ModelError
from varedit.perceptual import WIDTHS, PerceptualDistance, load_perceptual

NARROW = (2, 3, 4, 3, 5)
# Where torchvision's VGG16 has its convolutions, by stage.
PUBLIC_LAYERS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


def backbone_weights(widths: tuple[int, ...]) -> dict[str, Tensor]:
    """A VGG16 of these widths with the names of torchvision's file, classifier included."""
    weights = {"classifier.0.weight": random(2, 3, seed=90), "classifier.0.bias": random(2, seed=91)}
    previous = 3
    for width, layers in zip(widths, PUBLIC_LAYERS, strict=True):
        for layer in layers:
            weights[f"features.{layer}.weight"] = random(width, previous, 3, 3, seed=layer) / previous**0.5
            weights[f"features.{layer}.bias"] = random(width, seed=layer + 100)
            previous = width
    return weights


def head_weights(widths: tuple[int, ...]) -> dict[str, Tensor]:
    """The five heads with the names of the package lpips."""
    return {f"lin{i}.model.1.weight": random(1, width, 1, 1, seed=i).abs() for i, width in enumerate(widths)}


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    torch.save(backbone_weights(NARROW), tmp_path / "vgg16.pth")
    torch.save(head_weights(NARROW), tmp_path / "vgg.pth")
    return str(tmp_path / "vgg16.pth"), str(tmp_path / "vgg.pth")


@pytest.fixture
def distance(files: tuple[str, str]) -> PerceptualDistance:
    return load_perceptual(*files, NARROW)


def by_hand(pictures: Tensor, references: Tensor) -> Tensor:
    """LPIPS of one pair in float64, place by place, from the public names alone."""
    backbone = {name: weight.double() for name, weight in backbone_weights(NARROW).items()}
    heads = [weight.double().flatten() for weight in head_weights(NARROW).values()]
    mean, spread = (torch.tensor(v, dtype=torch.float64) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    a, b = ((p.double() - mean[:, None, None]) / spread[:, None, None] for p in (pictures, references))
    total = torch.zeros((), dtype=torch.float64)
    for stage, layers in enumerate(PUBLIC_LAYERS):
        for layer in layers:
            weight, bias = backbone[f"features.{layer}.weight"], backbone[f"features.{layer}.bias"]
            a, b = (torch.conv2d(x[None], weight, bias, padding=1)[0].clamp(min=0) for x in (a, b))
        differences = [
            heads[stage] @ (unit(a[:, y, x]) - unit(b[:, y, x])).square()
            for y in range(a.shape[1])
            for x in range(a.shape[2])
        ]
        total += torch.stack(differences).mean()
        if stage < len(PUBLIC_LAYERS) - 1:
            a, b = (torch.max_pool2d(x, 2) for x in (a, b))
    return total


def unit(vector: Tensor) -> Tensor:
    length = math.sqrt(float(vector @ vector))
    return vector / length if length else vector


def test_the_distance_is_that_of_the_formula(distance):
    pictures, references = random(2, 3, 16, 24, seed=1).clamp(-1, 1), random(2, 3, 16, 24, seed=2).clamp(-1, 1)
    wanted = torch.stack([by_hand(a, b) for a, b in zip(pictures, references, strict=True)]).float()
    assert wanted.min() > 0.1
    assert_close(distance(pictures, references), wanted, rtol=1e-4, atol=0)


def test_a_picture_is_at_no_distance_from_itself_and_its_gradient_is_a_number(distance):
    pictures = torch.zeros(1, 3, 16, 16, requires_grad=True)
    found = distance(pictures, torch.zeros(1, 3, 16, 16))
    found.sum().backward()
    assert found.item() == 0
    assert pictures.grad is not None and torch.isfinite(pictures.grad).all()


def test_places_without_any_feature_have_a_gradient_that_is_a_number(distance):
    with torch.no_grad():
        distance.features[0].bias.fill_(-100)  # everything behind it is zero
    pictures = random(1, 3, 16, 16, seed=1).requires_grad_()
    distance(pictures, random(1, 3, 16, 16, seed=2)).sum().backward()
    assert pictures.grad is not None and torch.isfinite(pictures.grad).all()


def test_only_the_pictures_pass_a_gradient_on(distance):
    pictures, references = (random(1, 3, 16, 16, seed=seed).requires_grad_() for seed in (1, 2))
    distance(pictures, references).sum().backward()
    assert pictures.grad is not None and pictures.grad.abs().max() > 0
    assert references.grad is None
    assert all(parameter.grad is None for parameter in distance.parameters())


def test_the_full_backbone_has_the_shapes_of_the_public_files():
    with torch.device("meta"):
        full = PerceptualDistance()
    shapes = {name: tuple(weight.shape) for name, weight in full.state_dict().items()}
    public = backbone_weights(WIDTHS) | {f"heads.{i}.weight": w for i, w in enumerate(head_weights(WIDTHS).values())}
    assert shapes == {n: tuple(w.shape) for n, w in public.items() if not n.startswith("classifier")}
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in full.features) == 4


def test_a_safetensors_file_and_a_folder_as_on_the_hub_are_read_alike(files, distance, tmp_path):
    folder = tmp_path / "hub"
    folder.mkdir()
    save_file(backbone_weights(NARROW), folder / "model.safetensors")
    for place in (folder, folder / "model.safetensors"):
        again = load_perceptual(str(place), files[1], NARROW)
        for name, weight in distance.state_dict().items():
            assert torch.equal(weight, again.state_dict()[name]), name


def test_a_missing_file_is_one_sentence_that_says_what_to_do(files):
    with pytest.raises(InputMissing, match=r"no file weights/vgg16\.pth.*set perceptual_weight to 0"):
        load_perceptual("weights/vgg16.pth", files[1])


def test_swapped_files_are_told_by_the_first_weight_that_is_missing(files):
    with pytest.raises(ModelError, match=r"vgg\.pth lacks features\.0\.weight \(26 such weights\)"):
        load_perceptual(files[1], files[0], NARROW)


def test_weights_of_other_sizes_are_named(files):
    with pytest.raises(
        ModelError, match=r"features\.0\.weight in .*vgg16\.pth is \(2, 3, 3, 3\), where \(64, 3, 3, 3\)"
    ):
        load_perceptual(*files)


def test_a_name_that_is_nowhere_is_one_sentence(files):
    with pytest.raises(ModelError, match="nowhere"):
        load_perceptual("nowhere", files[1])


SQUEEZED = (8, 16, 24, 16, 32, 8, 16)  # widths of seven stages
# Where torchvision's SqueezeNet 1.1 has its fire modules, by stage; the pooling is before 3, 6 and 9.
FIRES = ((), (3, 4), (6, 7), (9,), (10,), (11,), (12,))


def squeeze_weights() -> dict[str, Tensor]:
    """A SqueezeNet 1.1 of these widths with the names of torchvision's file."""
    weights = {"features.0.weight": random(8, 3, 3, 3, seed=1) / 3, "features.0.bias": random(8, seed=2)}
    previous = 8
    for width, fires in zip(SQUEEZED, FIRES, strict=True):
        for fire in fires:
            shapes = {"squeeze": (width // 8, previous, 1), "expand1x1": (width // 2, width // 8, 1)}
            shapes["expand3x3"] = (width // 2, width // 8, 3)
            for seed, (part, (outputs, inputs, side)) in enumerate(shapes.items()):
                name = f"features.{fire}.{part}"
                weights[f"{name}.weight"] = random(outputs, inputs, side, side, seed=10 * fire + seed)
                weights[f"{name}.bias"] = random(outputs, seed=10 * fire + seed + 5)
            previous = width
    return weights


def test_the_squeezenet_backbone_is_the_published_one_by_hand(tmp_path):
    heads = {f"lin{i}.model.1.weight": random(1, width, 1, 1, seed=i).abs() for i, width in enumerate(SQUEEZED)}
    torch.save(squeeze_weights(), tmp_path / "squeezenet.pth")
    torch.save(heads, tmp_path / "squeeze.pth")
    files = str(tmp_path / "squeezenet.pth"), str(tmp_path / "squeeze.pth")
    pictures, references = random(1, 3, 37, 43, seed=70).clamp(-1, 1), random(1, 3, 37, 43, seed=71).clamp(-1, 1)
    weights = squeeze_weights()

    def stages(picture: Tensor) -> list[Tensor]:
        mean, spread = (torch.tensor(v)[:, None, None] for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
        x = F.conv2d((picture - mean) / spread, weights["features.0.weight"], weights["features.0.bias"], stride=2)
        x = x.relu()
        found = [x]
        for stage in FIRES[1:]:
            if stage[0] in (3, 6, 9):
                x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
            for fire in stage:
                w = {
                    name: weights[f"features.{fire}.{name}"]
                    for name in (
                        f"{part}.{kind}"
                        for part in ("squeeze", "expand1x1", "expand3x3")
                        for kind in ("weight", "bias")
                    )
                }
                x = F.conv2d(x, w["squeeze.weight"], w["squeeze.bias"]).relu()
                wide = F.conv2d(x, w["expand3x3.weight"], w["expand3x3.bias"], padding=1)
                x = torch.cat([F.conv2d(x, w["expand1x1.weight"], w["expand1x1.bias"]), wide], dim=1).relu()
            found.append(x)
        return [stage / (stage.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for stage in found]

    expected = sum(
        ((a - b).square() * head.view(1, -1, 1, 1)).sum(dim=1).mean()
        for a, b, head in zip(stages(pictures), stages(references), heads.values(), strict=True)
    )
    distance = load_perceptual(*files, SQUEEZED, name="squeezenet1_1")
    assert_close(distance(pictures, references), torch.as_tensor(expected).view(1), rtol=1e-4, atol=1e-6)


def test_the_published_squeezenet_has_its_number_of_parameters():
    distance = PerceptualDistance(backbone="squeezenet1_1")
    assert sum(weight.numel() for weight in distance.features.parameters()) == 722_496  # 1,235,496 less the classifier
    widths = [weight.shape[1] for weight in distance.heads.parameters()]
    assert widths == [64, 128, 256, 384, 384, 512, 512]

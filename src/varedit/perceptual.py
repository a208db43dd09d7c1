"""LPIPS: the distance of two pictures in the features of a small network, weighted by learned 1x1 heads.

Zhang et al., 1801.03924, version 0.1 with the backbone VGG16, on which losses rest, or SqueezeNet 1.1, on which
published numbers of PIE-Bench rest. No weights come with this package: the backbone's are those of torchvision (VGG16
also on the hub, such as timm/vgg16.tv_in1k), the heads' are the files vgg.pth and squeeze.pth of the package lpips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from varedit.errors import InputMissing, ModelError
from varedit.hub import find_model
from varedit.weight_sources import WeightSource, plain_weights

BackboneName = Literal["vgg16", "squeezenet1_1"]

WIDTHS = (64, 128, 256, 512, 512)  # of the five stages of VGG16
CONVOLUTIONS = (2, 2, 3, 3, 3)  # in each stage, a pooling between two stages
SQUEEZE_WIDTHS = (64, 128, 256, 384, 384, 512, 512)  # of the seven stages of SqueezeNet 1.1
FIRES = (0, 2, 2, 1, 1, 1, 1)  # fire modules in each stage; a pooling before those of stages 2, 3 and 4
SHIFT = (-0.030, -0.088, -0.188)  # ImageNet's mean and spread, for pixels in [-1, 1]
SPREAD = (0.458, 0.448, 0.450)
EPS = 1e-10  # under the root: the published form adds it to the root, whose gradient at zero is no number
WEIGHT_FILES = (".pth", ".pt", ".bin", ".safetensors")


class PerceptualDistance(nn.Module):
    """LPIPS with frozen weights; parameters are named as in torchvision (``features.0.weight``, ...).

    Args:
        widths: of the stages; None for the published ones.
        backbone: see `BackboneName`.
    """

    shift: Tensor  # (1, 3, 1, 1), as the next one
    spread: Tensor

    def __init__(self, widths: Sequence[int] | None = None, backbone: BackboneName = "vgg16") -> None:
        super().__init__()
        known = BACKBONES[backbone]
        widths = known.widths if widths is None else widths
        self.features, self.ends = known.features(widths)
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in widths)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(SPREAD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, pictures: Tensor, references: Tensor) -> Tensor:
        """Distances (B,) of pictures from references, both (B, 3, h, w) in [-1, 1], RGB, sides of at least 16.

        Only the pictures pass a gradient on.
        """
        with torch.no_grad():
            wanted = self.unit_features(references)
        found = self.unit_features(pictures)
        return torch.stack(
            [head((a - b).square()).mean(dim=(1, 2, 3)) for head, a, b in zip(self.heads, found, wanted, strict=True)]
        ).sum(dim=0)

    def unit_features(self, pixels: Tensor) -> list[Tensor]:
        """Features (B, C, h, w) at the end of each stage, of length one over the channels."""
        x = (pixels - self.shift) / self.spread
        stages = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.ends:
                stages.append(x)
        return [_unit(stage.float()) for stage in stages]


def load_perceptual(
    backbone: str, heads: str, widths: Sequence[int] | None = None, *, name: BackboneName = "vgg16"
) -> PerceptualDistance:
    """Read the public weights.

    Args:
        backbone: with torchvision's names, classifier or not: a .pth or .safetensors file, a folder, or a name on the
            hub.
        heads: ``lin0.model.1.weight`` and so on, one a stage, from the same kinds of places.
        widths: of the stages; None for the published ones.
        name: of the backbone.

    Raises:
        InputMissing: there is no such file.
        ModelError: it cannot be read or fetched, or holds other weights.
    """
    distance = PerceptualDistance(widths, name)
    wanted = {key: key for key in distance.state_dict() if key.startswith("features.")}
    stages = range(len(distance.heads))
    state = _read(backbone, wanted) | _read(heads, {f"heads.{i}.weight": f"lin{i}.model.1.weight" for i in stages})
    for key, weight in distance.state_dict().items():
        if weight.shape != state[key].shape:
            file = backbone if key in wanted else heads
            raise ModelError(f"{key} in {file} is {tuple(state[key].shape)}, where {tuple(weight.shape)} is needed")
    distance.load_state_dict(state)
    return distance


def _read(place: str, public_names: dict[str, str]) -> dict[str, Tensor]:
    """Some weights of a file, by our names for them."""
    source = WeightSource(_weights_path(place), plain_weights)
    if missing := [name for name in public_names.values() if name not in source.weights]:
        raise ModelError(
            f"{place} lacks {missing[0]} ({len(missing)} such weights); LPIPS needs VGG16 or SqueezeNet 1.1 with names "
            "as in torchvision as its backbone, and the file vgg.pth or squeeze.pth of the package lpips as its heads"
        )
    read = source.read(public_names.values())
    return {ours: read[public] for ours, public in public_names.items()}


def _weights_path(place: str) -> Path:
    path = Path(place)
    if path.exists():
        return path
    if path.suffix in WEIGHT_FILES:
        raise InputMissing(
            f"there is no file {place} with weights of LPIPS; download it, or do without LPIPS (in a recipe, set "
            "perceptual_weight to 0)"
        )
    return find_model(place).folder


def _vgg16_features(widths: Sequence[int]) -> tuple[nn.Sequential, list[int]]:
    """The convolutions of VGG16 up to the last one, numbered as in torchvision, and the last layer of each stage."""
    layers: list[nn.Module] = []
    ends = []
    previous = 3
    for width, convolutions in zip(widths, CONVOLUTIONS, strict=True):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(convolutions):
            layers += [nn.Conv2d(previous, width, 3, padding=1), nn.ReLU()]
            previous = width
        ends.append(len(layers) - 1)
    return nn.Sequential(*layers), ends


def _squeezenet_features(widths: Sequence[int]) -> tuple[nn.Sequential, list[int]]:
    """The layers of SqueezeNet 1.1 but its classifier, numbered likewise, and the last layer of each stage."""
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, stride=2), nn.ReLU()]
    ends = [1]
    previous = widths[0]
    for stage, (width, fires) in enumerate(zip(widths, FIRES, strict=True)):
        if stage in (1, 2, 3):
            layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
        for _ in range(fires):
            layers.append(Fire(previous, width))
            previous = width
        if stage:
            ends.append(len(layers) - 1)
    return nn.Sequential(*layers), ends


class Fire(nn.Module):
    """A module of SqueezeNet (1602.07360): squeezed to an eighth of its width, then widened in two ways."""

    def __init__(self, previous: int, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(previous, width // 8, 1)
        self.expand1x1 = nn.Conv2d(width // 8, width // 2, 1)
        self.expand3x3 = nn.Conv2d(width // 8, width // 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.squeeze(x).relu()
        return torch.cat((self.expand1x1(squeezed), self.expand3x3(squeezed)), dim=1).relu()


@dataclass(frozen=True)
class Backbone:
    """A network whose features LPIPS compares.

    Attributes:
        widths: of its stages, as published.
        features: makes its layers of some widths, and tells which of them end a stage.
    """

    widths: Sequence[int]
    features: Callable[[Sequence[int]], tuple[nn.Sequential, list[int]]]


BACKBONES: Mapping[BackboneName, Backbone] = {
    "vgg16": Backbone(WIDTHS, _vgg16_features),
    "squeezenet1_1": Backbone(SQUEEZE_WIDTHS, _squeezenet_features),
}


def _unit(features: Tensor) -> Tensor:
    return features * torch.rsqrt(features.square().sum(dim=1, keepdim=True) + EPS)

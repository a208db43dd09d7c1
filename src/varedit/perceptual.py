"""LPIPS: the distance of two pictures in the features of VGG16, weighted by five learned 1x1 heads.

Zhang et al., 1801.03924, version 0.1 with the VGG16 backbone. Neither set of weights comes with this package: the
backbone's are those of torchvision (also on the hub, such as timm/vgg16.tv_in1k), the heads' are the file vgg.pth
of the package lpips.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from varedit.errors import InputMissing, ModelError
from varedit.hub import find_model
from varedit.weight_sources import WeightSource, plain_weights

WIDTHS = (64, 128, 256, 512, 512)  # of the five stages
CONVOLUTIONS = (2, 2, 3, 3, 3)  # in each stage, a pooling between two stages
SHIFT = (-0.030, -0.088, -0.188)  # ImageNet's mean and spread, for pixels in [-1, 1]
SPREAD = (0.458, 0.448, 0.450)
EPS = 1e-10  # under the root: the published form adds it to the root, whose gradient at zero is no number
WEIGHT_FILES = (".pth", ".pt", ".bin", ".safetensors")


class PerceptualDistance(nn.Module):
    """LPIPS with frozen weights; parameters are named as in torchvision (``features.0.weight``, ...).

    Args:
        widths: of the five stages.
    """

    shift: Tensor  # (1, 3, 1, 1), as the next one
    spread: Tensor

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.features = _vgg16_features(widths)
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
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                stages.append(x)
            x = layer(x)
        return [_unit(stage.float()) for stage in (*stages, x)]


def load_perceptual(backbone: str, heads: str, widths: Sequence[int] = WIDTHS) -> PerceptualDistance:
    """Read the public weights.

    Args:
        backbone: VGG16 with torchvision's names, classifier or not: a .pth or .safetensors file, a folder, or a name
            on the hub.
        heads: ``lin0.model.1.weight`` to ``lin4.model.1.weight``, from the same kinds of places.
        widths: of the five stages.

    Raises:
        InputMissing: there is no such file.
        ModelError: it cannot be read or fetched, or holds other weights.
    """
    distance = PerceptualDistance(widths)
    wanted = {name: name for name in distance.state_dict() if name.startswith("features.")}
    state = _read(backbone, wanted) | _read(heads, {f"heads.{i}.weight": f"lin{i}.model.1.weight" for i in range(5)})
    for name, weight in distance.state_dict().items():
        if weight.shape != state[name].shape:
            file = backbone if name in wanted else heads
            raise ModelError(f"{name} in {file} is {tuple(state[name].shape)}, where {tuple(weight.shape)} is needed")
    distance.load_state_dict(state)
    return distance


def _read(place: str, public_names: dict[str, str]) -> dict[str, Tensor]:
    """Some weights of a file, by our names for them."""
    source = WeightSource(_weights_path(place), plain_weights)
    if missing := [name for name in public_names.values() if name not in source.weights]:
        raise ModelError(
            f"{place} lacks {missing[0]} ({len(missing)} such weights); a perceptual loss needs VGG16 with names as in "
            "torchvision as its backbone, and the file vgg.pth of the package lpips as its heads"
        )
    read = source.read(public_names.values())
    return {ours: read[public] for ours, public in public_names.items()}


def _weights_path(place: str) -> Path:
    path = Path(place)
    if path.exists():
        return path
    if path.suffix in WEIGHT_FILES:
        raise InputMissing(
            f"there is no file {place}, which the recipe names for its perceptual loss; download it, or set "
            "perceptual_weight to 0"
        )
    return find_model(place).folder


def _vgg16_features(widths: Sequence[int]) -> nn.Sequential:
    """The convolutions of VGG16 up to the last one, numbered as in torchvision."""
    layers: list[nn.Module] = []
    previous = 3
    for width, convolutions in zip(widths, CONVOLUTIONS, strict=True):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(convolutions):
            layers += [nn.Conv2d(previous, width, 3, padding=1), nn.ReLU()]
            previous = width
    return nn.Sequential(*layers)


def _unit(features: Tensor) -> Tensor:
    return features * torch.rsqrt(features.square().sum(dim=1, keepdim=True) + EPS)

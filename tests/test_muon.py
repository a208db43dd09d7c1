"""Muon against its definition, and which weights it is for."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.tiny import random
from varedit.autoencoder import Autoencoder
from varedit.config import AutoencoderConfig
from varedit.errors import UsageError
from varedit.training.muon import COEFFICIENTS, STEPS, Muon, orthogonalised
from varedit.training.optimizer import optimizer_of
from varedit.training.recipe import OptimizerSettings

SETTINGS = OptimizerSettings(steps=3, batch_size=2, learning_rate=0.1, optimizer="muon", weight_decay=0.2)


@pytest.mark.parametrize("shape", [(7, 5), (4, 9)])
def test_an_orthogonalised_matrix_keeps_its_singular_vectors_and_levels_its_singular_values(shape: tuple[int, int]):
    generator = torch.Generator().manual_seed(0)
    u, _, vt = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    values = torch.linspace(1.0, 0.2, len(vt) if shape[0] > shape[1] else shape[0])
    result = u.T @ orthogonalised(u @ torch.diag(values) @ vt) @ vt.T
    assert ((result.diagonal() > 0.65) & (result.diagonal() < 1.25)).all()
    assert (result - torch.diag(result.diagonal())).abs().max() < 0.06  # bfloat16 has 8 bits


@pytest.mark.parametrize(("capability", "is_exact"), [("DEFAULT", True), ("AVX2", True), ("AVX512", False)])
def test_only_processors_that_are_fast_at_it_orthogonalise_in_bfloat16(monkeypatch, capability, is_exact):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    matrix = random(5, 9, seed=4)
    a, b, c = COEFFICIENTS
    x = matrix.double() / matrix.double().norm()
    for _ in range(STEPS):
        x = a * x + (b * x @ x.T + c * x @ x.T @ x @ x.T) @ x
    found = orthogonalised(matrix)
    assert found.dtype == torch.float32
    assert ((found - x).abs().max() < 1e-4) == is_exact


def test_a_kernel_moves_by_the_orthogonalised_nesterov_momentum():
    kernel = nn.Parameter(torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(1)))
    optimizer = Muon([kernel], [], [], weight_decay=0.5, momentum=0.9)
    optimizer.param_groups[0]["lr"] = 0.1
    expected, momentum = kernel.detach().clone(), torch.zeros(3, 8)
    for seed in (2, 3):
        kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(seed))
        gradient = kernel.grad.flatten(1)
        momentum = 0.9 * momentum + gradient
        step = orthogonalised(gradient + 0.9 * momentum) * 0.2 * 8**0.5  # the longer side of 3 x 8
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * step.view_as(expected)
        optimizer.step()
    assert_close(kernel.detach(), expected)


def test_what_is_no_matrix_inside_moves_as_under_adamw():
    generator = torch.Generator().manual_seed(4)
    ours = [nn.Parameter(torch.randn(4, 3, generator=generator)), nn.Parameter(torch.randn(5, generator=generator))]
    theirs = [nn.Parameter(each.detach().clone()) for each in ours]
    optimizer = Muon([], [ours[0]], [ours[1]], weight_decay=0.3, betas=(0.8, 0.95))
    groups = [{"params": [theirs[0]], "weight_decay": 0.3}, {"params": [theirs[1]], "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, betas=(0.8, 0.95))
    for _ in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        optimizer.step()
        adamw.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine, other)


def test_muon_is_for_the_matrices_between_the_first_and_the_last_layer():
    config = AutoencoderConfig(latent_channels=4, base_channels=6, channel_multipliers=(1, 2), norm="pixel")
    autoencoder = Autoencoder(config)
    optimizer = optimizer_of(autoencoder, SETTINGS, shards_weights=False)
    names = {parameter: name for name, parameter in autoencoder.named_parameters()}
    by_kind = {
        (group["orthogonal"], group["weight_decay"]): {names[each] for each in group["params"]}
        for group in optimizer.param_groups
    }
    assert set(by_kind) == {(True, 0.2), (False, 0.2), (False, 0.0)}
    outer = {f"{half}.{end}.weight" for half in ("encoder", "decoder") for end in ("conv_in", "conv_out")}
    assert by_kind[False, 0.2] == outer
    assert all(
        name.endswith(("bias", "norm1.weight", "norm2.weight", "norm_out.weight")) for name in by_kind[False, 0.0]
    )
    assert sum(map(len, by_kind.values())) == len(names)


def test_sharded_weights_are_refused_in_a_sentence():
    with pytest.raises(UsageError, match="Muon needs whole matrices"):
        optimizer_of(nn.Linear(2, 2), SETTINGS, shards_weights=True)

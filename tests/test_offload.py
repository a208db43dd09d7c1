"""A text encoder that is in memory only while it reads."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.toys import picture, toy_editor
from varedit.pipeline import VAREditPipeline
from varedit.t5 import T5Encoder
from varedit.text import OffloadedTextEncoder

MAPS = Path("/proc/self/maps")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "toy"
    toy_editor().save(path)
    return path


def test_an_edit_comes_out_the_same(folder):
    edit: dict[str, Any] = {"image": picture(30, 30), "prompt": "a lot warmer", "negative_prompt": "darker", "seed": 5}
    kept, offloaded = (
        VAREditPipeline.from_pretrained(folder, device="cpu", offload_text=offload)(**edit, output_type="bits")
        for offload in (False, True)
    )
    assert all(torch.equal(a, b) for a, b in zip(kept.images[0], offloaded.images[0], strict=True))


def test_weights_are_dropped_once_it_has_read(folder, monkeypatch):
    pipeline = VAREditPipeline.from_pretrained(folder, device="cpu", offload_text=True)
    encoder = pipeline.editor.text_encoder
    seen = []
    forward = T5Encoder.forward

    def spied(self, ids, mask):
        seen.append([weakref.ref(weight) for weight in self.parameters()])
        assert not any(weight.is_meta for weight in self.parameters())
        return forward(self, ids, mask)

    monkeypatch.setattr(T5Encoder, "forward", spied)
    encoder(encoder.tokenize(["warmer"]))
    gc.collect()
    assert seen and all(weight() is None for weight in seen[0])
    assert all(weight.is_meta for weight in encoder.parameters())


def test_it_is_written_and_cast_like_any_other(folder, tmp_path):
    pipeline = VAREditPipeline.from_pretrained(folder, device="cpu", offload_text=True)
    pipeline.save_pretrained(tmp_path / "copy")
    whole = VAREditPipeline.from_pretrained(folder, device="cpu").editor.text_encoder.state_dict()
    copied = VAREditPipeline.from_pretrained(tmp_path / "copy", device="cpu").editor.text_encoder.state_dict()
    assert all(torch.equal(copied[name], value) for name, value in whole.items())
    pipeline.to("cpu").to(torch.bfloat16)
    encoder = pipeline.editor.text_encoder
    assert isinstance(encoder, OffloadedTextEncoder)
    assert encoder._loaded().shared.weight.dtype == torch.bfloat16


@pytest.mark.skipif(not MAPS.exists(), reason="this system does not tell what a process has mapped")
def test_weights_stored_in_the_compute_type_are_views_of_the_file(folder):
    """Nothing is initialised and nothing is copied: each weight lies where the mapped file does."""
    editor = VAREditPipeline.from_pretrained(folder, device="cpu").editor
    maps = [line.split() for line in MAPS.read_text().splitlines() if line.endswith(".safetensors")]
    ranges = [[int(end, 16) for end in fields[0].split("-")] for fields in maps]
    for part in (editor.transformer, editor.autoencoder, editor.text_encoder):
        for weight in part.parameters():
            assert any(start <= weight.data_ptr() < end for start, end in ranges)

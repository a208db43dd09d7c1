"""Our folder format: what is saved loads back, what is damaged is one sentence, and a folder is whole or not there."""

from __future__ import annotations

import json
import pickle
import random
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from varedit.checkpoints import INDEX, WEIGHTS, load_config, load_weights, replaced_folder, save_weights, weight_shapes
from varedit.errors import ConfigError, ModelError, OutputError, UsageError, VAREditError


def network(dtype: torch.dtype = torch.float32, device: str = "cpu") -> nn.Module:
    """Sizes all different; the second part may compute in another type."""
    torch.manual_seed(0)
    with torch.device(device):
        module = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 7, bias=False))
    module[2].to(dtype)
    return module


def assert_one_sentence(error: pytest.ExceptionInfo[VAREditError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message and all(part in message for part in parts), message


@pytest.fixture
def folder(tmp_path):
    save_weights(network().state_dict(), tmp_path / "part")
    return tmp_path / "part"


@pytest.mark.parametrize("size, shards", [("5GB", 1), ("0.2KB", 2), ("0.1 kb", 3), ("0.05KB", 4)])
def test_saved_weights_load_back_bit_for_bit(tmp_path, size, shards):
    save_weights(network().state_dict(), tmp_path / "part", size)
    assert len(list((tmp_path / "part").glob("*.safetensors"))) == shards
    loaded = network(device="meta")
    load_weights(loaded, tmp_path / "part")
    for name, value in network().state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_shards_are_what_others_can_read(tmp_path):
    save_weights(network().state_dict(), tmp_path / "part", "0.1KB")
    index = json.loads((tmp_path / "part" / INDEX).read_text())
    assert index["metadata"]["total_size"] == 4 * sum(value.numel() for value in network().state_dict().values())
    for name, file in index["weight_map"].items():
        assert torch.equal(load_file(tmp_path / "part" / file)[name], network().state_dict()[name])


@pytest.mark.parametrize("size", ["", "5", "GB", "-1GB", "0MB", "5 parsecs"])
def test_a_shard_size_that_is_none_is_refused(tmp_path, size):
    with pytest.raises(UsageError, match="shard size"):
        save_weights(network().state_dict(), tmp_path / "part", size)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("computed", [torch.float32, torch.bfloat16])
def test_weights_come_in_the_dtype_that_the_module_was_built_with(tmp_path, stored, computed):
    saved = {name: value.to(stored) for name, value in network().state_dict().items()}
    save_weights(saved, tmp_path / "part")
    module = network(computed, device="meta")
    load_weights(module, tmp_path / "part")
    for name, value in module.state_dict().items():
        assert value.dtype == (computed if name.startswith("2.") else torch.float32)
        assert torch.equal(value, saved[name].to(value.dtype))


def test_loaded_parameters_keep_whether_they_are_trained(folder):
    module = network().requires_grad_(False)
    load_weights(module, folder)
    assert not any(parameter.requires_grad for parameter in module.parameters())


# Damaged folders


def rewrite(folder: Path, change) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)


def cut(share: float):
    def damage(folder: Path) -> None:
        whole = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(whole[: int(share * len(whole))])

    return damage


def lie(header: bytes):
    return lambda folder: (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))


def entry(dtype: str, shape: list[int], offsets: list[int]) -> bytes:
    return json.dumps({"0.weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


DAMAGE = {
    "missing": (lambda folder: (folder / WEIGHTS).unlink(), WEIGHTS),
    "empty": (cut(0.0), "damaged"),
    "header cut": (cut(0.1), "damaged"),
    "data cut": (cut(0.9), "damaged"),
    "a pickle": (lambda folder: (folder / WEIGHTS).write_bytes(pickle.dumps({"0.weight": [1.0]})), "damaged"),
    "a torch file": (lambda folder: torch.save(network().state_dict(), folder / WEIGHTS), "damaged"),
    "header of 2**63 bytes": (lambda folder: (folder / WEIGHTS).write_bytes(struct.pack("<Q", 2**63)), "damaged"),
    "header is no JSON": (lie(b"{{{{{{{{"), "damaged"),
    "shape lies": (lie(entry("F32", [10**6, 10**6], [0, 64])), "damaged"),
    "offsets lie": (lie(entry("F32", [16], [0, 6400])), "damaged"),
    "unknown type": (lie(entry("F77", [16], [0, 64])), "damaged"),
    "a key is missing": (lambda folder: rewrite(folder, lambda weights: weights.pop("1.bias")), "1.bias is missing"),
    "a key too many": (
        lambda folder: rewrite(folder, lambda weights: weights.update(extra=torch.ones(2))),
        "extra has no place",
    ),
    "wrong shape": (
        lambda folder: rewrite(folder, lambda weights: weights.update({"2.weight": torch.ones(5, 7)})),
        "2.weight is (5, 7), not (7, 5)",
    ),
    "whole numbers": (
        lambda folder: rewrite(folder, lambda weights: weights.update({"1.bias": torch.ones(5, dtype=torch.int8)})),
        "1.bias as torch.int8",
    ),
    "index is no JSON": (lambda folder: (folder / INDEX).write_text("{"), "damaged"),
    "index is a list": (lambda folder: (folder / INDEX).write_text("[]"), "damaged"),
    "index nested deeply": (lambda folder: (folder / INDEX).write_text("[" * 100_000), "damaged"),
    "index names numbers": (lambda folder: (folder / INDEX).write_text('{"weight_map": {"a": 1}}'), "damaged"),
    "index names a missing shard": (
        lambda folder: (folder / INDEX).write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'),
        "model-00001-of-00002.safetensors is missing",
    ),
    "index points elsewhere": (
        lambda folder: (folder / INDEX).write_text('{"weight_map": {"a": "../../secret.safetensors"}}'),
        "secret.safetensors is missing",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_one_sentence(folder, damage):
    change, part = DAMAGE[damage]
    (folder.parents[1] / "secret.safetensors").write_bytes((folder / WEIGHTS).read_bytes())
    change(folder)
    with pytest.raises(ModelError) as error:
        load_weights(network(device="meta"), folder)
    assert_one_sentence(error, str(folder), part)


def test_a_weight_in_two_shards_is_refused(tmp_path):
    save_weights(network().state_dict(), tmp_path / "part", "0.1KB")
    first, second, *_ = sorted((tmp_path / "part").glob("*.safetensors"))
    first.write_bytes(second.read_bytes())
    with pytest.raises(ModelError, match="twice"):
        load_weights(network(device="meta"), tmp_path / "part")


def test_any_damaged_byte_of_the_header_is_an_error_or_harmless(folder):
    whole = (folder / WEIGHTS).read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    draws = random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draws.randrange(header)] ^= 1 << draws.randrange(8)
        (folder / WEIGHTS).write_bytes(damaged)
        try:
            weight_shapes(folder)
            load_weights(network(device="meta"), folder)
        except ModelError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 200


@pytest.mark.parametrize("content, kind", [(b"\xff\xfe", ModelError), (b"{", ConfigError), (b"{}", ConfigError)])
def test_a_damaged_config_is_one_sentence(tmp_path, content, kind):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(kind) as error:
        load_config(tmp_path)
    assert_one_sentence(error, "config.json")


# Whole or not at all


def test_a_folder_appears_only_when_its_block_ends_well(tmp_path):
    with pytest.raises(ZeroDivisionError), replaced_folder(tmp_path / "new") as temporary:
        (temporary / "half").write_text("done")
        assert not (tmp_path / "new").exists()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [ZeroDivisionError, KeyboardInterrupt])
def test_an_older_folder_stays_whole_when_the_new_one_fails(folder, failure):
    before = (folder / WEIGHTS).read_bytes()
    with pytest.raises(failure), replaced_folder(folder):
        raise failure
    assert (folder / WEIGHTS).read_bytes() == before
    assert list(folder.parent.iterdir()) == [folder]


def test_an_older_folder_comes_back_when_the_new_one_cannot_take_its_place(folder, monkeypatch):
    rename = Path.rename

    def refusing(self: Path, target: Path) -> Path:
        if target.name == "part" and not self.name.endswith("-old"):
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refusing)
    with pytest.raises(OutputError, match="Permission denied"), replaced_folder(folder) as temporary:
        (temporary / "new").touch()
    assert [path.name for path in folder.iterdir()] == [WEIGHTS]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_new_folder_replaces_the_older_one_entirely(folder):
    with replaced_folder(folder) as temporary:
        (temporary / "new").touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_link_to_a_folder_stays_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    with replaced_folder(tmp_path / "link") as temporary:
        (temporary / "new").touch()
    assert (tmp_path / "link").is_symlink() and [path.name for path in folder.iterdir()] == ["new"]


def test_a_file_is_never_replaced_by_a_folder(tmp_path):
    (tmp_path / "part").write_text("mine")
    with pytest.raises(OutputError) as error:
        save_weights(network().state_dict(), tmp_path / "part")
    assert_one_sentence(error, "is not a folder")
    assert (tmp_path / "part").read_text() == "mine"


def test_a_disk_that_takes_no_more_is_one_sentence_and_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))  # bytes that one file may have
    try:
        with pytest.raises(OutputError) as error:
            save_weights(network().state_dict(), tmp_path / "part")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_one_sentence(error, "part cannot be written")
    assert list(tmp_path.iterdir()) == []


def test_files_are_on_the_disk_before_the_folder_has_its_name(tmp_path, monkeypatch):
    flushed: list[bool] = []
    monkeypatch.setattr("os.fsync", lambda number: flushed.append((tmp_path / "part").exists()))
    save_weights(network().state_dict(), tmp_path / "part", "0.05KB")
    assert flushed == [False] * 5  # four shards and their index

"""Released weights, in every layout in which they exist, become a model folder; anything else leaves nothing behind."""

from __future__ import annotations

import json
import pickle
import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, T5Config, T5EncoderModel, T5ForConditionalGeneration, T5Tokenizer
from transformers.utils import logging

from varedit import conversion
from varedit.autoencoder import Autoencoder
from varedit.checkpoints import load_config, load_weights, weight_files, weight_shapes
from varedit.cli import cli
from varedit.config import AutoencoderConfig, EditorConfig, ScheduleConfig, TransformerConfig
from varedit.conversion import convert, null_text_of_length
from varedit.editor import Editor
from varedit.errors import InputMissing, ModelError, OutputError, UsageError, VAREditError
from varedit.precision import set_compute_dtype
from varedit.presets import PRESETS, Preset
from varedit.released import autoencoder_name, released_autoencoder_name, released_transformer_name
from varedit.text_features import TextFeatures
from varedit.transformer.model import VAREditTransformer
from varedit.transformer.reference import sequence_layout
from varedit.weight_sources import WeightSource

State = dict[str, Tensor]

CONFIG = EditorConfig(
    name="tiny",
    autoencoder=AutoencoderConfig(latent_channels=3, base_channels=24, channel_multipliers=(1, 2)),
    transformer=TransformerConfig(
        width=32, depth=4, num_heads=2, ffn_hidden=40, token_bits=12, text_channels=24, max_text_length=7, pool_heads=4,
        rotary_layout="released_flat",
    ),
    schedule=ScheduleConfig(templates={"square": [[1, 1], [2, 2], [3, 3]]}),
    patch_merge=True,
)  # fmt: skip


def preset_of(config: EditorConfig) -> Preset:
    return replace(PRESETS["2b-512"], config=config)


def random_state(module: nn.Module, released_name: Callable[[str], str], seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {
        released_name(name): torch.randn(value.shape, generator=generator)
        for name, value in module.state_dict().items()
    }


def with_zero_biases(state: State) -> State:
    """The buffers that released transformers store beside their weights."""
    zeros = {name: value for name, value in state.items() if name.endswith(("sa.v_bias", "ca.v_bias"))}
    return state | {name.replace("v_bias", "zero_k_bias"): torch.zeros_like(value) for name, value in zeros.items()}


def text_folder(folder: Path, channels: int) -> Path:
    """A tiny T5, encoder and decoder, with its tokenizer, as the hub gives it."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    sizes = T5Config(vocab_size=11, d_model=channels, d_kv=6, d_ff=20, num_layers=2, num_heads=3)
    T5ForConditionalGeneration(sizes).save_pretrained(folder)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581a", -1.0), ("\u2581hat", -2.0), ("\u2581", -3.0)]
    T5Tokenizer(vocab=pieces, extra_ids=2).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _tiny_preset(monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny", preset_of(CONFIG))


@pytest.fixture(scope="session")
def transformer_state() -> State:
    name_of = partial(released_transformer_name, blocks_per_chunk=2)
    return with_zero_biases(random_state(VAREditTransformer(CONFIG.transformer), name_of, seed=1))


@pytest.fixture(scope="session")
def autoencoder_state() -> State:
    state = random_state(Autoencoder(CONFIG.autoencoder), released_autoencoder_name, seed=2)
    return state | {"quantizer.lfq.mask": torch.tensor([4, 2, 1]), "quantize.lfq.mask": torch.tensor([4, 2, 1])}


@pytest.fixture(scope="session")
def t5(tmp_path_factory) -> Path:
    return text_folder(tmp_path_factory.mktemp("published") / "flan-t5-xl", CONFIG.transformer.text_channels)


@pytest.fixture
def released(tmp_path, transformer_state, autoencoder_state, t5) -> dict[str, Path]:
    """The arguments of a conversion that goes well."""
    torch.save(transformer_state, tmp_path / "2B.pth")
    torch.save({"vae": autoencoder_state}, tmp_path / "vae.pth")
    return {
        "transformer": tmp_path / "2B.pth",
        "autoencoder": tmp_path / "vae.pth",
        "text_encoder": t5,
        "out": tmp_path / "model",
    }


@pytest.fixture
def transformer(transformer_state) -> State:
    """Our names -> weights, found without the table that is tested here: both orders are those of one state dict."""
    learned = [value for name, value in transformer_state.items() if "zero_k_bias" not in name]
    return dict(zip(VAREditTransformer(CONFIG.transformer).state_dict(), learned, strict=True))


def stored(folder: Path) -> State:
    weights: State = {}
    for file in weight_files(folder):
        weights |= load_file(file)
    return weights


def assert_equal(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value) and found[name].dtype == value.dtype, name


# What comes out


def test_the_folder_is_a_model_that_loads(released, transformer, autoencoder_state):
    told: list[tuple[int, int]] = []
    convert(**released, preset="tiny", on_progress=lambda done, total: told.append((done, total)))
    out = released["out"]
    parts = ["README.md", "autoencoder", "config.json", "text_encoder", "tokenizer", "transformer"]
    assert sorted(path.name for path in out.iterdir()) == parts
    assert load_config(out) == CONFIG
    assert told == [(1, 3), (2, 3), (3, 3)]
    editor = Editor.load(out, torch.device("cpu"), torch.float32)
    assert_equal(editor.transformer.state_dict(), transformer)
    learned = {name: value for name, value in autoencoder_state.items() if "lfq" not in name}
    assert_equal(editor.autoencoder.state_dict(), {autoencoder_name(name): value for name, value in learned.items()})


def test_the_text_encoder_says_the_same_as_the_published_one(released, t5):
    convert(**released, preset="tiny")
    editor = Editor.load(released["out"], torch.device("cpu"), torch.float32)
    tokens = editor.text_encoder.tokenize(["a hat", "hat hat a"])
    assert tokens.ids.tolist() == [[3, 4, 1, 0], [4, 4, 3, 1]]
    published = T5EncoderModel.from_pretrained(t5).eval()
    with torch.no_grad():
        expected = published(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
        assert torch.equal(editor.text_encoder(tokens).features, expected)
    assert not [name for name in weight_shapes(released["out"] / "text_encoder") if name.startswith("decoder")]


def test_text_encoder_and_tokenizer_of_a_folder_are_ones_that_others_read(released):
    convert(**released, preset="tiny")
    texts = ["a hat", "hat  a unheard a hat"]
    editor = Editor.load(released["out"], torch.device("cpu"), torch.float32)
    tokens = editor.text_encoder.tokenize(texts)
    theirs = AutoTokenizer.from_pretrained(released["out"] / "tokenizer")
    assert tokens.ids.tolist() == theirs(texts, padding=True)["input_ids"]
    assert len(tokens.notes[1]) == 1 and "unheard" in tokens.notes[1][0]
    encoder = T5EncoderModel.from_pretrained(released["out"] / "text_encoder").eval()
    with torch.no_grad():
        expected = encoder(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
        assert torch.equal(editor.text_encoder(tokens).features, expected)
    editor.text_encoder.max_length = 3
    short = theirs(texts, padding=True, truncation=True, max_length=3)
    assert editor.text_encoder.tokenize(texts).ids.tolist() == short["input_ids"]


def test_weights_are_split_into_shards_of_which_one_is_held_at_a_time(released, transformer, monkeypatch):
    monkeypatch.setattr(conversion, "SHARD_BYTES", 20_000)
    monkeypatch.setattr(conversion, "PIECE_BYTES", 7_000)
    alive: list[weakref.ref[Tensor]] = []
    read = conversion.Part.read

    def watched(self: conversion.Part, names: Any) -> State:
        assert not any(reference() is not None for reference in alive)
        shard = read(self, names)
        assert sum(value.nbytes for value in shard.values()) <= 20_000 or len(shard) == 1
        alive.extend(weakref.ref(value) for value in shard.values())
        return shard

    monkeypatch.setattr(conversion.Part, "read", watched)
    convert(**released, preset="tiny")
    assert len(weight_files(released["out"] / "transformer")) > 4
    assert_equal(stored(released["out"] / "transformer"), transformer)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "tiny"])
def test_the_card_has_the_front_matter_that_the_hub_reads(released, preset):
    published = PRESETS[preset]
    PRESETS["tiny"] = replace(published, config=CONFIG)  # the fixture takes it back
    convert(**released, preset="tiny", dtype="bfloat16")
    card = ModelCard((released["out"] / "README.md").read_text(encoding="utf-8"))
    facts = card.data.to_dict()
    assert facts["library_name"] == "varedit" and facts["language"] == "en" and facts["license_link"]
    assert facts["pipeline_tag"] == ("image-to-image" if published.edits else "text-to-image")
    assert facts["base_model"] == published.repository
    assert published.title in card.text and published.transformer in card.text and "bfloat16" in card.text
    assert ("VAREditPipeline" in card.text) == published.edits


# Number formats


def test_bfloat16_folders_hold_what_computing_in_bfloat16_uses(released, transformer):
    convert(**released, preset="tiny", dtype="bfloat16")
    found = stored(released["out"] / "transformer")
    assert {found[name].dtype for name in ("null_text", "head.weight", "modulation.weight")} == {torch.float32}
    from_small = Editor.load(released["out"], torch.device("cpu"), torch.bfloat16)
    released["out"] = released["out"].with_name("large")
    convert(**released, preset="tiny")
    from_large = Editor.load(released["out"], torch.device("cpu"), torch.bfloat16)
    for part in ("transformer", "autoencoder", "text_encoder"):
        assert_equal(getattr(from_small, part).state_dict(), getattr(from_large, part).state_dict())
    sizes = [
        sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        for folder in (released["out"], released["out"].with_name("model"))
    ]
    assert sizes[1] < 0.75 * sizes[0]


def test_a_folder_in_half_precision_computes_in_float32_when_asked(released, transformer):
    torch.save(
        {name: value.half() for name, value in torch.load(released["transformer"]).items()}, released["transformer"]
    )
    convert(**released, preset="tiny")
    assert {value.dtype for value in stored(released["out"] / "transformer").values()} == {torch.float16}
    editor = Editor.load(released["out"], torch.device("cpu"), torch.float32)
    assert_equal(editor.transformer.state_dict(), {name: value.half().float() for name, value in transformer.items()})


def test_a_module_brought_to_its_compute_type_first_is_filled_in_it(released, transformer):
    convert(**released, preset="tiny")
    with torch.device("meta"):
        module, other = VAREditTransformer(CONFIG.transformer), Autoencoder(CONFIG.autoencoder)
    set_compute_dtype(module, other, torch.bfloat16)
    load_weights(module, released["out"] / "transformer")
    assert module.head.weight.dtype == torch.float32
    name = "blocks.2.feed_forward.narrow.weight"
    assert torch.equal(module.state_dict()[name], transformer[name].bfloat16())


# Layouts


def one_chunk(state: State) -> State:
    def renamed(name: str) -> str:
        if not name.startswith("block_chunks."):
            return name
        _, chunk, _, index, rest = name.split(".", 4)
        return f"blocks.{2 * int(chunk) + int(index)}.{rest}"

    return {renamed(name): value for name, value in state.items()}


def one_block_a_chunk(state: State) -> State:
    names = ((name, name.split(".", 2)) for name in one_chunk(state))
    renamed = {
        name: f"block_chunks.{parts[1]}.module.0.{parts[2]}" if name.startswith("blocks.") else name
        for name, parts in names
    }
    return {renamed[name]: value for name, value in one_chunk(state).items()}


def old_names(state: State) -> State:
    return state | {"lvl_1L": torch.zeros(1, 9), "attn_bias_for_masking": torch.zeros(1, 1, 9, 9)}


def in_trainer(key: str) -> Callable[[State], Any]:
    def wrapped(state: State) -> Any:
        others = {name: torch.zeros_like(value) for name, value in state.items()}
        trainer = {"gpt_fsdp_opt": {"state": {}}, "gpt_ema_fsdp": others, key: state}
        return {
            "args": {"model": "2bc8"},
            "epoch": 3,
            "iter": 17,
            "trainer": trainer,
            "acc_str": None,
            "milestones": [],
        }

    return wrapped


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def safetensors_file(path: Path, state: State) -> Path:
    save_file(state, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def sharded(path: Path, state: State, suffix: str) -> Path:
    """A folder as transformers writes it; names in the shards are interleaved."""
    folder = path.with_suffix("")
    folder.mkdir()
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    files = [f"{stem}-{number:05d}-of-00003.{suffix}" for number in (1, 2, 3)]
    for number, file in enumerate(files):
        part = dict(list(state.items())[number::3])
        save_file(part, folder / file) if suffix == "safetensors" else torch.save(part, folder / file)
    places = {name: files[index % 3] for index, name in enumerate(state)}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def single_file_folder(path: Path, state: State) -> Path:
    path.with_suffix("").mkdir()
    torch.save(state, path.with_suffix("") / "pytorch_model.bin")
    return path.with_suffix("")


TRANSFORMERS: dict[str, Callable[[Path, State], Path]] = {
    "one chunk": lambda path, state: saved(path, one_chunk(state)),
    "a chunk a block": lambda path, state: saved(path, one_block_a_chunk(state)),
    "old names": lambda path, state: saved(path, old_names(state)),
    "no zero biases": lambda path, state: saved(path, {n: v for n, v in state.items() if "zero_k" not in n}),
    "trainer with FSDP": lambda path, state: saved(path, in_trainer("gpt_fsdp")(state)),
    "trainer without FSDP": lambda path, state: saved(path, in_trainer("gpt_wo_ddp")(state)),
    "older torch": lambda path, state: saved(path, state, _use_new_zipfile_serialization=False),
    "views of one storage": lambda path, state: saved(path, views(state)),
    "transposed in memory": lambda path, state: saved(path, {name: transposed(v) for name, v in state.items()}),
    "safetensors": safetensors_file,
    "sharded bin": lambda path, state: sharded(path, state, "bin"),
    "sharded safetensors": lambda path, state: sharded(path, state, "safetensors"),
    "folder of one file": single_file_folder,
}  # fmt: skip


def transposed(value: Tensor) -> Tensor:
    return value.t().contiguous().t() if value.ndim == 2 else value


def views(state: State) -> State:
    """All weights in one storage, as some trainers keep them."""
    flat = torch.cat([value.flatten() for value in state.values()])
    pieces = flat.split([value.numel() for value in state.values()])
    return {name: piece.view(value.shape) for (name, value), piece in zip(state.items(), pieces, strict=True)}


@pytest.mark.parametrize("layout", TRANSFORMERS)
def test_transformers_of_every_layout_become_the_same_folder(released, transformer_state, transformer, layout):
    released["transformer"].unlink()
    released["transformer"] = TRANSFORMERS[layout](released["transformer"], transformer_state)
    convert(**released, preset="tiny")
    assert_equal(stored(released["out"] / "transformer"), transformer)


def without_inner(state: State) -> State:
    return {name.replace(".conv.weight", ".weight").replace(".conv.bias", ".bias").replace(".norm.", "."): value
            for name, value in state.items()}  # fmt: skip


AUTOENCODERS: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "with EMA and a discriminator": lambda state: {
        "vae": state | {"discriminator.conv1.weight": torch.ones(2)},
        "ema": {name: torch.zeros_like(value) for name, value in state.items()},
    },
    "names without the inner part": lambda state: {"vae": without_inner(state)},
    "in a trainer's file": lambda state: {"epoch": 1, "trainer": {"vae_local": state, "gpt_fsdp": {}}},
}


@pytest.mark.parametrize("layout", AUTOENCODERS)
def test_autoencoders_of_every_layout_become_the_same_folder(released, autoencoder_state, layout):
    torch.save(AUTOENCODERS[layout](autoencoder_state), released["autoencoder"])
    convert(**released, preset="tiny")
    module = Autoencoder(CONFIG.autoencoder)
    load_weights(module, released["out"] / "autoencoder")
    for name, value in module.state_dict().items():
        assert torch.equal(value, autoencoder_state[released_autoencoder_name(name)])


@pytest.mark.parametrize("key", ["gpt_ema_fsdp", "gpt_ema_for_vis"])
def test_averaged_weights_are_taken_on_request(released, transformer_state, transformer, key):
    zeros = {name: torch.zeros_like(value) for name, value in transformer_state.items()}
    torch.save({"trainer": {"gpt_fsdp": zeros, key: transformer_state}}, released["transformer"])
    convert(**released, preset="tiny", use_ema=True)
    assert_equal(stored(released["out"] / "transformer"), transformer)


def test_a_pickled_text_encoder_with_its_table_under_three_names_is_read(released, tmp_path, t5):
    folder = tmp_path / "t5"
    shutil.copytree(t5, folder)
    sizes = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(sizes | {"tie_word_embeddings": False}))  # as Flan-T5 says
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    table = weights["shared.weight"]
    torch.save(
        weights | {f"{half}.embed_tokens.weight": table for half in ("encoder", "decoder")},
        folder / "pytorch_model.bin",
    )
    convert(**released | {"text_encoder": folder}, preset="tiny")
    found = stored(released["out"] / "text_encoder")
    assert torch.equal(found["shared.weight"], table) and "encoder.embed_tokens.weight" not in found
    editor = Editor.load(released["out"], torch.device("cpu"), torch.float32)
    used = editor.text_encoder.state_dict()
    assert torch.equal(used["encoder.shared.weight"], table)


@pytest.mark.parametrize("rows", [3, 7, 12])
def test_the_unconditional_text_is_cut_or_completed(released, transformer_state, rows):
    given = torch.randn(rows, 24)
    torch.save(transformer_state | {"cfg_uncond": given}, released["transformer"])
    convert(**released, preset="tiny")
    found = stored(released["out"] / "transformer")["null_text"]
    kept = min(rows, 7)
    assert found.shape == (7, 24) and torch.equal(found[:kept], given[:kept])
    if rows < 7:  # completed with the rows that were there before training, not with zeros or repetitions
        assert torch.equal(found[kept:], null_text_of_length(torch.empty(0, 24), 7)[kept:])


def test_the_initial_unconditional_text_is_that_of_the_release():
    drawn = nn.init.trunc_normal_(torch.empty(9, 64), std=1.2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(null_text_of_length(torch.empty(0, 64), 9), drawn / 8)


# What is refused, before anything is written


def changed(**changes: Any) -> Callable[[dict[str, Path]], None]:
    def change(released: dict[str, Path]) -> None:
        state = torch.load(released["transformer"])
        torch.save({n: v for n, v in (state | changes).items() if v is not None}, released["transformer"])

    return change


def cut(argument: str, share: float) -> Callable[[dict[str, Path]], None]:
    def change(released: dict[str, Path]) -> None:
        whole = released[argument].read_bytes()
        released[argument].write_bytes(whole[: int(share * len(whole))])

    return change


def content(argument: str, data: Any) -> Callable[[dict[str, Path]], None]:
    return lambda released: torch.save(data, released[argument])


def bytes_of(argument: str, data: bytes) -> Callable[[dict[str, Path]], None]:
    def change(released: dict[str, Path]) -> None:
        released[argument].write_bytes(data)

    return change


def renamed_pickle(released: dict[str, Path]) -> None:
    released["transformer"] = released["transformer"].rename(released["transformer"].with_suffix(".safetensors"))


def bad_shard(released: dict[str, Path]) -> None:
    folder = released["transformer"].with_name("shards")
    folder.mkdir()
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": {"head.weight": "a.bin"}}')
    released["transformer"] = folder


def moved(argument: str, name: str) -> Callable[[dict[str, Path]], None]:
    def change(released: dict[str, Path]) -> None:
        released[argument] = released["out"].with_name(name)

    return change


def without(argument: str) -> Callable[[dict[str, Any]], None]:
    return lambda released: released.update({argument: None})


def exists(released: dict[str, Path]) -> None:
    released["out"].mkdir()


def damaged_t5(name: str, data: bytes | None) -> Callable[[dict[str, Path]], None]:
    def change(released: dict[str, Path]) -> None:
        folder = released["out"].with_name("t5")
        shutil.copytree(released["text_encoder"], folder)
        (folder / name).unlink() if data is None else (folder / name).write_bytes(data)
        released["text_encoder"] = folder

    return change


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harmed"),)


KEY = "block_chunks.1.module.0.sa.zero_k_bias"
WRONG: dict[str, tuple[Callable[[dict[str, Path]], None], type[VAREditError], str]] = {
    "truncated": (cut("transformer", 0.5), ModelError, "2B.pth is damaged"),
    "cut in its directory": (cut("autoencoder", 0.999), ModelError, "vae.pth is damaged"),
    "empty": (bytes_of("transformer", b""), ModelError, "2B.pth is damaged"),
    "no pickle": (bytes_of("transformer", b"<html>404</html>"), ModelError, "2B.pth is damaged"),
    "a zip of nothing": (bytes_of("transformer", b"PK\x05\x06" + bytes(18)), ModelError, "2B.pth is damaged"),
    "harmful": (content("transformer", {"head.weight": Harmful()}), ModelError, "could run code"),
    "harmful, older torch": (bytes_of("transformer", pickle.dumps(Harmful(), 2)), ModelError, "2B.pth"),
    "pickle renamed": (renamed_pickle, ModelError, "2B.safetensors is damaged or not a safetensors file"),
    "a list": (content("transformer", [torch.ones(2)]), ModelError, "holds a list"),
    "no tensors": (content("transformer", {"epoch": 3}), ModelError, "its entries are epoch"),
    "a trainer's file without weights": (
        content("transformer", {"trainer": {"gpt_fsdp_opt": {}}}), ModelError, "without gpt_fsdp or gpt_wo_ddp"),
    "a missing weight": (changed(pos_start=None), ModelError, "lacks pos_start"),
    "a missing block": (
        changed(**{"block_chunks.1.module.1.ada_gss": None}), ModelError, "lacks block_chunks.1.module.1.ada_gss"),
    "a weight of another variant": (
        changed(**{"block_chunks.0.module.0.ca_gamma": torch.ones(3)}), ModelError, "ca_gamma, for which"),
    "one weight under two names": (
        changed(**{"blocks.0.ada_gss": torch.ones(1, 1, 6, 32)}), ModelError, "the same weight twice"),
    "a wrong shape": (changed(pos_start=torch.ones(1, 1, 33)), ModelError, "pos_start is 1x1x33, not 1x1x32"),
    "a wrong number of rows": (
        changed(**{"lvl_embed.weight": torch.ones(14, 32)}), ModelError, "lvl_embed.weight is 14x32, not 15x32"),
    "unconditional text of other channels": (
        changed(cfg_uncond=torch.ones(7, 25)), ModelError, "cfg_uncond is 7x25, not 7x24"),
    "whole numbers": (changed(pos_start=torch.ones(1, 1, 32, dtype=torch.int8)), ModelError, "pos_start as torch.int8"),
    "a sparse weight": (changed(pos_start=torch.ones(1, 1, 32).to_sparse()), ModelError, "not plain numbers"),
    "a key bias": (changed(**{KEY: torch.full((32,), 1e-9)}), ModelError, f"key bias {KEY} that is not zero"),
    "a missing shard": (bad_shard, ModelError, "a.bin is missing"),
    "no transformer": (moved("transformer", "nowhere.pth"), InputMissing, "nowhere.pth does not exist"),
    "an autoencoder that lacks a weight": (
        content("autoencoder", {"vae": {"encoder.conv_in.conv.weight": torch.ones(24, 3, 3, 3)}}),
        ModelError, "lacks encoder.conv_in.conv.bias"),
    "transformer and autoencoder exchanged": (
        lambda released: released.update(transformer=released["autoencoder"], autoencoder=released["transformer"]),
        ModelError, "its entries are vae"),
    "no text encoder": (without("text_encoder"), InputMissing, "google/flan-t5-xl"),
    "text encoder is elsewhere": (moved("text_encoder", "nowhere"), InputMissing, "nowhere is not a folder"),
    "text encoder is no T5": (damaged_t5("config.json", b"{"), ModelError, "not the folder of a T5"),
    "text encoder without configuration": (damaged_t5("config.json", None), ModelError, "not the folder of a T5"),
    "text encoder of another size": (
        damaged_t5("config.json", T5Config(d_model=25).to_json_string().encode()), ModelError, "25 channels"),
    "text encoder without weights": (damaged_t5("model.safetensors", None), ModelError, "holds none of"),
    "text encoder damaged": (damaged_t5("model.safetensors", b"12345678901"), ModelError, "damaged"),
    "text encoder without tokenizer": (damaged_t5("tokenizer.json", None), ModelError, "tokenizer"),
    "tokenizer damaged": (damaged_t5("tokenizer.json", b"{"), ModelError, "tokenizer"),
    "the folder exists": (exists, OutputError, "exists already"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_source_is_one_sentence_and_leaves_nothing(released, tmp_path, monkeypatch, case):
    change, kind, part = WRONG[case]
    monkeypatch.chdir(tmp_path)
    change(released)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(kind) as error:
        convert(**released, preset="tiny")
    assert "\n" not in str(error.value) and part in str(error.value), str(error.value)
    assert sorted(tmp_path.iterdir()) == before  # neither a folder, nor a part of one, nor what a pickle would do


def test_averaged_weights_that_are_not_there_are_not_replaced_by_others(released):
    with pytest.raises(ModelError, match="no averaged weights"):
        convert(**released, preset="tiny", use_ema=True)


def test_an_unknown_preset_is_one_sentence(released):
    with pytest.raises(UsageError, match="there is no preset huge; known are 2b-512, 8b-512, 8b-1024"):
        convert(**released, preset="huge")


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(released, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1))
    with pytest.raises(OutputError, match=r"model needs 0\.\d GB and only 0\.0 GB are free"):
        convert(**released, preset="tiny")
    assert not list(tmp_path.glob("*model*"))


def test_a_conversion_that_is_stopped_leaves_nothing(released, tmp_path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(**released, preset="tiny", on_progress=stop)
    assert not list(tmp_path.glob("*model*"))


def test_the_command_tells_that_weights_are_not_those_of_the_preset(released, tmp_path):
    sources = [str(released[part]) for part in ("transformer", "autoencoder")]
    result = CliRunner().invoke(
        cli, ["convert", *sources, str(released["text_encoder"]), "--preset", "2b-512", "-o", str(released["out"])]
    )
    assert result.exit_code == 69
    assert result.stderr.count("\n") == 1 and "channels" in result.stderr
    assert not list(tmp_path.glob("*model*"))


# Against the released implementation


def golden_config(facts: dict[str, Any], transformer: dict[str, Any], autoencoder: AutoencoderConfig) -> EditorConfig:
    name = "golden"
    return EditorConfig(
        name=name,
        autoencoder=autoencoder,
        transformer=TransformerConfig(
            width=transformer["embed_dim"],
            depth=transformer["depth"],
            num_heads=transformer["num_heads"],
            ffn_hidden=transformer["mlp_hidden"],
            token_bits=transformer["token_bits"],
            text_channels=transformer["text_channels"],
            max_text_length=transformer["text_maxlen"],
            pool_heads=transformer["text_channels"] // 128,
            norm_eps=transformer["norm_eps"],
            rotary_layout="released_flat",
        ),
        schedule=ScheduleConfig(
            templates={name: facts["scales_hw"]}, rotary_reference={name: facts["rotary_reference_schedule_hw"]}
        ),
        patch_merge=facts["patchify"],
    )


def part_of(tensors: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Largest error over the spread, which is how the vectors' tolerance is stated."""
    assert (found - expected).abs().max() < 1e-4 * expected.std()


@pytest.mark.golden
@pytest.mark.parametrize("case", ["transformer_2b_like", "transformer_8b_like", "transformer_2b_like_low_budget"])
def test_a_converted_transformer_gives_the_released_logits(released, golden_dir, tmp_path, case):
    facts = json.loads((golden_dir / f"{case}.json").read_text())
    tensors = load_file(golden_dir / f"{case}.safetensors")
    channels = facts["latent_channels"]
    small = replace(CONFIG.autoencoder, latent_channels=channels)
    config = golden_config(facts, facts, small)
    PRESETS["tiny"] = preset_of(config)
    torch.save(part_of(tensors, "state."), released["transformer"])
    torch.save(random_state(Autoencoder(small), released_autoencoder_name, seed=3), released["autoencoder"])
    released["text_encoder"] = text_folder(tmp_path / "t5", facts["text_channels"])
    convert(**released, preset="tiny")
    editor = Editor.load(released["out"], torch.device("cpu"), torch.float32)

    lengths = tuple(facts["text_lengths"])
    words = tensors["text_features"].float().split(lengths)
    text = TextFeatures(nn.utils.rnn.pad_sequence(list(words), batch_first=True), lengths)
    layout = sequence_layout(config.transformer, config.templates.templates[0])
    with torch.no_grad():
        logits = editor.transformer(tensors["source_tokens"], tensors["target_step_inputs"], text, layout)
    assert_close(logits.flatten(2), tensors["forward.logits"])


@pytest.mark.golden
@pytest.mark.parametrize("case", ["edit_2b_like", "edit_8b_like"])
def test_a_converted_autoencoder_gives_the_released_features_and_picture(released, golden_dir, tmp_path, case):
    facts = json.loads((golden_dir / f"{case}.json").read_text())
    tensors = load_file(golden_dir / f"{case}.safetensors")
    sizes = facts["autoencoder"]
    autoencoder = AutoencoderConfig(
        latent_channels=sizes["latent_channels"],
        base_channels=sizes["base_channels"],
        channel_multipliers=tuple(sizes["channel_multipliers"]),
        res_blocks_per_level=sizes["res_blocks_per_level"],
    )
    PRESETS["tiny"] = preset_of(golden_config(facts, facts["transformer"], autoencoder))
    torch.save(part_of(tensors, "transformer."), released["transformer"])
    torch.save({"vae": part_of(tensors, "autoencoder.")}, released["autoencoder"])
    released["text_encoder"] = text_folder(tmp_path / "t5", facts["transformer"]["text_channels"])
    convert(**released, preset="tiny")
    editor = Editor.load(released["out"], torch.device("cpu"), torch.float32)
    with torch.no_grad():
        assert_close(editor.autoencoder.encode(tensors["source_image"]), tensors["source_features"])
        assert_close(editor.decode(tensors["edited_features"]), tensors["edited_image"])


# Reading


def test_what_two_files_of_a_folder_both_hold_is_refused(tmp_path):
    folder = sharded(tmp_path / "model.pth", {name: torch.ones(2) for name in "abc"}, "bin")
    shutil.copy(folder / "pytorch_model-00001-of-00003.bin", folder / "pytorch_model-00003-of-00003.bin")
    with pytest.raises(ModelError, match="holds a twice"):
        WeightSource(folder, lambda content: content)


def test_weights_that_share_memory_are_read_apart(tmp_path):
    table = torch.arange(6.0).view(2, 3)
    torch.save({"a": table, "b": table, "c": table.t(), "d": table[1:]}, tmp_path / "tied.pth")
    found = WeightSource(tmp_path / "tied.pth", lambda content: content).read("abcd")
    save_file(found, tmp_path / "apart.safetensors")  # refuses shared memory
    for name, value in {"a": table, "b": table, "c": table.t(), "d": table[1:]}.items():
        assert torch.equal(load_file(tmp_path / "apart.safetensors")[name], value)

"""First weights: of an Infinity checkpoint, of an editor, with adapters; and what does not fit, in one sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch.testing import assert_close

from tests.training_toys import DATA, read_recipe, toy_autoencoder
from varedit.checkpoints import save_weights
from varedit.cli.train import train as train_command
from varedit.editor import Editor
from varedit.errors import ConfigError, InputMissing, ModelError, UsageError, VAREditError
from varedit.released import released_transformer_name
from varedit.text import save_tokenizer
from varedit.training.editor import EditorTask, train_editor
from varedit.training.export import merged_editor, trained_editor
from varedit.training.initialisation import check_initial, initial_parts
from varedit.training.recipe import Recipe
from varedit.training.run import RunFolder
from varedit.training.words import word_text_encoder

NO_COPY = ("source_residual = true\n", "")
T5 = '[text_encoder]\nfolder = "{}"\n\n[training]'


def random_editor(folder: Path, recipe: Recipe) -> Editor:
    """An editor of the recipe in FOLDER, all of whose weights are random."""
    torch.manual_seed(5)
    parts = initial_parts(recipe, DATA.words)
    for value in parts.transformer.parameters():
        torch.nn.init.normal_(value, std=0.2)
    autoencoder = EditorTask(recipe, toy_autoencoder(recipe, folder), DATA, RunFolder(folder / "x", "")).autoencoder
    editor = Editor(recipe.editor, autoencoder, parts.transformer, parts.text_encoder)
    editor.save(folder / "editor")
    return editor


def beginning_with(folder: Path, kind: str, path: Path, more: str = "", *changes: tuple[str, str]) -> Recipe:
    choice = f'text_dropout = 0.3\ninitial_kind = "{kind}"\ninitial = "{path}"\n{more}'
    return read_recipe(folder, ("text_dropout = 0.3\n", choice), *changes)


def with_t5(folder: Path) -> tuple[str, str]:
    """A published T5 in FOLDER/t5; the change of the toy recipe that takes it."""
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
    encoder = word_text_encoder(DATA.words, sizes, 16)
    save_weights(encoder.encoder.state_dict(), folder / "t5")
    (folder / "t5" / "config.json").write_text(encoder.encoder.config.to_json())
    save_tokenizer(encoder.tokenizer, folder / "t5")
    old = "[text_encoder]\nd_model = 16\nd_kv = 8\nd_ff = 24\nnum_layers = 1\nnum_heads = 2\n\n[training]"
    return old, T5.format(folder / "t5")


def test_an_infinity_checkpoint_gives_every_weight_of_the_transformer(tmp_path):
    t5 = with_t5(tmp_path)
    donor = random_editor(tmp_path, read_recipe(tmp_path, NO_COPY)).transformer.state_dict()
    released = {released_transformer_name(name, 1): value for name, value in donor.items()}
    torch.save(released, tmp_path / "infinity.pth")
    recipe = beginning_with(tmp_path, "infinity", tmp_path / "infinity.pth", "", NO_COPY, t5)
    check_initial(recipe, tmp_path / "autoencoder")
    parts = initial_parts(recipe, ())
    assert_close(parts.transformer.state_dict(), donor, rtol=0, atol=0)
    assert parts.module.text_encoder is None, "a published text encoder stays as it is"
    losses = []
    train_editor(
        recipe,
        tmp_path / "autoencoder",
        DATA,
        tmp_path / "run",
        lambda step, _, metrics: losses.append(metrics["loss"]),
    )
    assert len(losses) == 6
    before, after = (
        parts.text_encoder.state_dict(),
        trained_editor(tmp_path / "run" / "model").text_encoder.state_dict(),
    )
    assert_close(after, before, rtol=0, atol=0)


def test_an_editor_goes_on_from_its_own_weights_with_its_own_words(tmp_path):
    editor = random_editor(tmp_path, read_recipe(tmp_path))
    recipe = beginning_with(tmp_path, "editor", tmp_path / "editor")
    check_initial(recipe, None)
    parts = initial_parts(recipe, ("other", "words"))
    assert_close(parts.transformer.state_dict(), editor.transformer.state_dict(), rtol=0, atol=0)
    assert_close(parts.text_encoder.state_dict(), editor.text_encoder.state_dict(), rtol=0, atol=0)
    assert parts.text_encoder.tokenizer.get_vocab() == editor.text_encoder.tokenizer.get_vocab()
    train_editor(recipe, None, DATA, tmp_path / "run")
    trained = trained_editor(tmp_path / "run" / "model")
    assert_close(trained.autoencoder.state_dict(), editor.autoencoder.state_dict(), rtol=0, atol=0)
    assert not torch.equal(trained.transformer.head.weight, editor.transformer.head.weight)
    assert_close(trained_editor(tmp_path / "editor").transformer.state_dict(), editor.transformer.state_dict())


def test_adapters_learn_alone_are_read_by_peft_and_merge_into_the_same_editor(tmp_path):
    peft = pytest.importorskip("peft")
    base = random_editor(tmp_path, read_recipe(tmp_path))
    lora = '\n[training.editor.lora]\nrank = 3\nalpha = 5\ntargets = ["query_key_value", "key_value", "narrow"]\n'
    recipe = beginning_with(tmp_path, "editor", tmp_path / "editor", lora)
    train_editor(recipe, None, DATA, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
    state = RunFolder(tmp_path / "run", recipe.text).load_checkpoint()
    assert state is not None
    names = [name for name in state["module"] if not name.endswith("spread")]
    assert len(names) == 2 * 3 * 2 and all(".lora_" in name for name in names)  # 2 blocks, 3 layers, 2 matrices

    merged = merged_editor(tmp_path / "run" / "adapter").transformer
    wrapped = peft.PeftModel.from_pretrained(
        trained_editor(tmp_path / "editor").transformer, tmp_path / "run" / "adapter"
    )
    inputs = model_inputs(recipe)
    with torch.no_grad():
        results = [model(*inputs) for model in (wrapped, merged, base.transformer)]
    assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(results[2], results[0], atol=1e-3), "the adapters have learnt something"
    assert merged.state_dict().keys() == base.transformer.state_dict().keys()


def model_inputs(recipe: Recipe):
    from varedit.text_features import TextFeatures
    from varedit.transformer.reference import sequence_layout

    layout = sequence_layout(recipe.editor.transformer, recipe.editor.templates.square)
    text = TextFeatures(torch.randn(2, 3, 16), (3, 2))
    shapes = ((2, 16, 6), (2, 20, 6), (2, 21, 6))
    source, inputs, residuals = (torch.randn(shape) for shape in shapes)
    return source, inputs, text, layout, residuals


def test_export_merges_adapters_only_if_it_is_told_to(tmp_path):
    pytest.importorskip("peft")
    random_editor(tmp_path, read_recipe(tmp_path))
    recipe = beginning_with(tmp_path, "editor", tmp_path / "editor", "\n[training.editor.lora]\nrank = 2\n")
    train_editor(recipe, None, DATA, tmp_path / "run")
    adapter, out = tmp_path / "run" / "adapter", tmp_path / "out"
    command = [str(adapter), "--recipe", str(tmp_path / "recipe.toml"), "-o", str(out)]
    refused = CliRunner().invoke(train_command, ["export", *command])
    assert isinstance(refused.exception, UsageError)
    assert "holds adapters and no editor; add --merge" in str(refused.exception)
    assert CliRunner().invoke(train_command, ["export", *command, "--merge"]).exit_code == 0
    half = trained_editor(out).transformer.state_dict()
    assert_close(half, merged_editor(adapter).transformer.state_dict(), rtol=1e-3, atol=1e-4)  # float16 storage
    with pytest.raises(ModelError, match="is no folder of adapters"):
        merged_editor(tmp_path / "editor")


@pytest.mark.parametrize(
    ("kind", "path", "more", "changes", "error", "words"),
    [
        ("editor", "nowhere", "", (), InputMissing, "nowhere does not exist"),
        (
            "editor",
            "editor",
            "",
            (("ffn_hidden = 48", "ffn_hidden = 52"),),
            ConfigError,
            "transformer.ffn_hidden is 48",
        ),
        ("editor", "editor", "", (("[1.0, 0.9, 0.81]", "[1.0, 0.9, 0.8]"),), ConfigError, "step_sizes is"),
        ("infinity", "editor", "", (), ConfigError, "no weights for source_residual"),
        ("infinity", "editor", "", (NO_COPY,), ConfigError, r"needs the text encoder that it knows: \[text_encoder\]"),
        ("scratch", "editor", "", (), ConfigError, '"scratch" takes no path'),
        ("infinity", "editor", "\n[training.editor.lora]\n", (NO_COPY,), ConfigError, "lora adapts a trained editor"),
        ("editor", "editor", '\n[training.editor.lora]\ntargets = ["head"]\n', (), ConfigError, "targets names head"),
        ("editor", "editor", "\n[training.editor.lora]\nrang = 2\n", (), ConfigError, "unknown key.*rang"),
    ],
)
def test_first_weights_that_do_not_fit_are_one_sentence(tmp_path, kind, path, more, changes, error, words):
    random_editor(tmp_path, read_recipe(tmp_path))
    with pytest.raises(error, match=words) as raised:
        recipe = beginning_with(tmp_path, kind, tmp_path / path, more, *changes)
        train_editor(recipe, tmp_path / "autoencoder", DATA, tmp_path / "run")
    assert isinstance(raised.value, VAREditError) and "\n" not in str(raised.value)


def test_an_editor_from_scratch_needs_an_autoencoder(tmp_path):
    with pytest.raises(UsageError, match="with --autoencoder"):
        check_initial(read_recipe(tmp_path), None)


def test_another_reference_mode_may_go_on_from_an_editor(tmp_path):
    random_editor(tmp_path, read_recipe(tmp_path))
    mode = ("source_residual = true\n", 'source_residual = true\nreference = "finest"\n')
    recipe = beginning_with(tmp_path, "editor", tmp_path / "editor", "", mode)
    assert recipe.editor == dataclasses.replace(read_recipe(tmp_path).editor, transformer=recipe.editor.transformer)
    check_initial(recipe, None)

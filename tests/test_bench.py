"""`varedit bench`: what it reports, whom it measures, and what it says of wrong calls."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from tests.test_bench_naive import BENCHMARKS, bench_config
from tests.toys import toy_editor
from varedit.bench.costs import StageCost
from varedit.bench.limits import Limits
from varedit.bench.models import BenchModel
from varedit.bench.other_code import OtherCode
from varedit.bench.plot import write_plot
from varedit.bench.random_weights import random_editor
from varedit.bench.run import BenchRequest, Steps, run_bench, warm_up
from varedit.cli import cli
from varedit.errors import InputMissing, MissingExtra, UsageError

CPU = torch.device("cpu")
STAGES = ["encode", "text", "prefill", "scale 1", "scale 2", "scale 3", "scale 4", "decode", "decode source", "restore"]


@pytest.fixture(scope="module")
def slow_limits() -> Iterator[Limits]:
    """A device of known rates, so that bounds can be told in advance and nothing large is multiplied."""
    limits = Limits(flops=1e6, float32_flops=1e5, bandwidth=1e6)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("varedit.bench.run.measure_limits", lambda device, dtype, clock: limits)
        yield limits


@pytest.fixture(scope="module")
def told() -> list[tuple[int, int]]:
    """What was said of the progress of `report`."""
    return []


@pytest.fixture(scope="module")
def report(slow_limits: Limits, told: list[tuple[int, int]]) -> dict[str, Any]:
    """One measurement, beside the naive baseline."""
    chosen = request(batches=(2, 1), folder=BENCHMARKS)
    return run_bench(chosen, "varedit bench", lambda done, total: told.append((done, total)))


def request(**changes: Any) -> BenchRequest:
    model = BenchModel(config=bench_config(), text_layers=1)
    return replace(BenchRequest(model=model, device=CPU, dtype=torch.float32, repeats=2), **changes)


def test_every_stage_is_reported_beside_its_bound(report, told):
    json.dumps(report)  # nothing but JSON values
    assert [row["batch"] for row in report["batches"]] == [1, 2]
    for row in report["batches"]:
        assert [stage["stage"] for stage in row["stages"]] == STAGES
        for stage in row["stages"]:
            arithmetic = stage["flops"] / 1e6 + stage["float32_flops"] / 1e5
            assert stage["bound_seconds"] == pytest.approx(max(arithmetic, stage["traffic"] / 1e6))
            assert stage["bound_by"] == ("arithmetic" if arithmetic >= stage["traffic"] / 1e6 else "traffic")
            assert stage["ratio"] == pytest.approx(stage["seconds"] / stage["bound_seconds"])
            assert 0 < stage["spread"][0] <= stage["seconds"] <= stage["spread"][1]
        assert row["images_per_second"] == pytest.approx(row["batch"] / row["seconds"])
        assert row["seconds"] < row["restored_seconds"]
        assert row["peak_bytes"] > 50e6  # an interpreter with torch in it
    one, two = (row["stages"][2]["flops"] for row in report["batches"])
    assert two == 2 * one
    assert report["words"] == 14  # 13 words and the end
    sizes = {"width": 24, "depth": 2, "num_heads": 3, "ffn_hidden": 40}
    assert report["model"] == {"name": "toy", "weights": "random"} | sizes
    assert told[-1][0] == told[-1][1] and [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_bound_is_the_larger_of_arithmetic_and_traffic():
    limits = Limits(flops=100.0, float32_flops=10.0, bandwidth=1000.0)
    assert limits.bound(StageCost(flops=200, float32_flops=30, traffic=4000)) == 5.0
    assert limits.bound(StageCost(flops=200, float32_flops=30, traffic=7000)) == 7.0


def test_warming_up_ends_when_times_settle():
    for times, taken in (([9.0, 8.9], 2), ([9.0, 3.0, 2.9], 3), ([9.0, 3.0, 1.0, 0.5], 3)):
        given = iter(times)
        steps = Steps(lambda done, total: None, 3)
        warm_up(given.__next__, steps)
        assert len(times) - len(list(given)) == taken
        assert steps.finished == 3


def test_other_code_is_measured_in_the_same_run(report):
    assert [row["batch"] for row in report["other"]["batches"]] == [1, 2]
    for row in report["other"]["batches"]:
        assert row["speedup"] == pytest.approx(row["their_seconds"] / row["our_seconds"])
        assert row["their_images_per_second"] == pytest.approx(row["batch"] / row["their_seconds"])


def test_other_code_without_the_two_calls_is_refused(tmp_path):
    with pytest.raises(InputMissing, match=r"bench_adapter\.py does not exist"):
        OtherCode.of_folder(tmp_path)
    (tmp_path / "bench_adapter.py").write_text("def load(): pass\n", encoding="utf-8")
    with pytest.raises(UsageError, match="has no function edit"):
        OtherCode.of_folder(tmp_path)


def test_a_model_is_described_so_that_others_can_make_it_again(tmp_path):
    model = BenchModel(config=bench_config(), text_layers=3)
    assert BenchModel.from_dict(json.loads(json.dumps(model.to_dict()))) == model
    first, again = (random_editor(model.config, 3, CPU, torch.float32) for _ in range(2))
    for part in ("autoencoder", "transformer", "text_encoder"):
        states = [getattr(editor, part).state_dict() for editor in (first, again)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    toy_editor().save(tmp_path / "toy")
    assert BenchModel.of_folder(tmp_path / "toy").config == toy_editor().config


def test_random_weights_are_made_in_the_compute_type_and_tame():
    editor = random_editor(bench_config(), 1, CPU, torch.bfloat16)
    block = editor.transformer.get_parameter("blocks.1.attention.project.weight")
    assert block.dtype == torch.bfloat16
    assert float(block.float().std()) == pytest.approx(24**-0.5, rel=0.1)
    assert editor.transformer.head.weight.dtype == torch.float32
    assert editor.transformer.get_parameter("blocks.1.modulation_offset").any()  # no gate is closed
    with torch.inference_mode():
        features = editor.autoencoder.encode(torch.rand(1, 3, 40, 40) * 2 - 1)
    assert 0.01 < float(features.std()) < 10


def test_presets_are_cut_in_proportion_and_resized():
    cut = BenchModel.of_preset("8b-1024", 10)
    assert (cut.config.transformer.depth, cut.text_layers) == (10, 6)
    assert cut.at_size(512).config.picture_size(cut.at_size(512).template(None).schedule) == (512, 512)
    with pytest.raises(UsageError, match="40 blocks"):
        BenchModel.of_preset("8b-1024", 41)
    with pytest.raises(UsageError, match="no template 7"):
        cut.template("7")


def test_a_plot_is_drawn(report, tmp_path):
    pytest.importorskip("matplotlib")
    write_plot(report, tmp_path / "speed.svg")
    drawn = (tmp_path / "speed.svg").read_text(encoding="utf-8")
    assert drawn.count("<svg") == 1
    with pytest.raises(UsageError, match=r"speed\.jpg"):
        write_plot(report, tmp_path / "speed.jpg")


def test_without_matplotlib_one_sentence_says_what_to_install(monkeypatch, tmp_path):
    real = builtins.__import__

    def refusing(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(MissingExtra, match=r"pip install 'varedit\[bench\]'"):
        write_plot({}, tmp_path / "speed.png")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["bench", *arguments])


def test_the_command_prints_tables_and_writes_the_numbers(slow_limits, tmp_path):
    toy_editor(bench_config()).save(tmp_path / "toy")
    file = tmp_path / "speed.json"
    result = run("--model", str(tmp_path / "toy"), "--batch", "2,1", "--repeats", "1", "--json", str(file))
    assert result.exit_code == 0, result.output
    assert "measured/bound" in result.stdout and "images/s" in result.stdout
    report = json.loads(Path(file).read_text(encoding="utf-8"))
    assert [row["batch"] for row in report["batches"]] == [1, 2]
    assert report["model"]["weights"] == "its own"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (("--batch", "1,x"), "not a list of batch sizes"),
        (("--batch", "0"), "not a list of batch sizes"),
        (("--depth", "2"), "--depth cuts a preset"),
        (("--preset", "3b"), "there is no preset 3b"),
        (("--preset", "2b-512", "--model", "mini"), "either --model or --preset"),
        (("--size", "512"), "scale schedules of its own"),
        (("--plot", "speed.jpg"), "a plot is a .png or .svg file"),
    ],
)
def test_wrong_calls_end_in_one_sentence(arguments, sentence):
    result = run(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_on_an_accelerator_stages_are_waited_for():
    device = torch.device("cuda")
    report = run_bench(request(device=device, dtype=torch.bfloat16), "varedit bench", lambda done, total: None)
    assert report["limits"]["flops"] > report["limits"]["float32_flops"]
    assert all(stage["ratio"] > 1 for stage in report["batches"][0]["stages"])

"""`varedit eval run` and `varedit eval score` as a person meets them; the model is a toy on disk."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.benchmark_folders import emu_edit, imgedit, magicbrush
from tests.clip_models import save_clip
from tests.sentences import assert_one_sentence
from varedit.cli import cli
from varedit.cli.eval_run import NAMES
from varedit.evaluation import metrics
from varedit.evaluation.benchmarks.catalogue import BENCHMARKS
from varedit.images import load_mask, read_image


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: str) -> Path:
    """The working folder, with a benchmark in emu/; the model is the toy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAREDIT_MODEL", toy)
    monkeypatch.setenv("VAREDIT_DEVICE", "cpu")
    return emu_edit(tmp_path / "emu").parent


def varedit(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["eval", *arguments], prog_name="varedit")


def test_every_benchmark_can_be_named():
    assert list(NAMES) == list(BENCHMARKS)


def test_from_a_benchmark_to_a_table_of_scores(folder, toy):
    result = varedit("run", "emu-edit", "emu", "-o", "run", "--guidance", "1.5", "--batch-size", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout == "run\n"
    assert "2 items of emu-edit, split test; 3589 are published" in result.stderr
    assert "2 edited, 0 done before, 0 failed" in result.stderr
    with Image.open("run/results/12.png") as picture:
        assert picture.size == (64, 48)  # the source's own
    editor = json.loads(Path("run/editor.json").read_text())
    assert editor["model"]["name"] == toy and len(editor["model"]["sha256"]) == 64
    assert editor["settings"]["guidance_scale"] == 1.5 and editor["seed"] == 20261124 and editor["failed"] == 0

    scored = varedit("score", "run", "--clip", str(save_clip(folder / "clip")))
    assert scored.exit_code == 0, scored.output
    lines = [line.split() for line in scored.stdout.splitlines()]
    assert lines[0] == ["metric", "n", "whole", "inside", "outside"]
    assert [line[0] for line in lines[1:]] == ["l1", "l2", "psnr", "ssim", "clip_image", "clip_text", "clip_direction"]
    assert [line[1] for line in lines[1:]] == ["2", "2", "2", "2", "2", "2", "1"]  # one has no caption of its source
    report = json.loads(Path("run/scores.json").read_text())
    assert lines[1][2] == f"{report['metrics']['l1']['mean']:.4f}"
    assert report["benchmark"]["name"] == "emu-edit" and report["editor"] == editor
    assert report["networks"]["clip"].endswith("clip") and set(report["categories"]) == {"add", "global"}


def test_the_same_command_again_makes_only_what_is_missing(folder):
    options = ("run", "emu-edit", "emu", "-o", "run")
    assert varedit(*options).exit_code == 0
    first = {path.name: path.read_bytes() for path in Path("run/results").glob("*.png")}
    Path("run/results/7.png").unlink()
    kept = Path("run/results/12.png").stat().st_mtime_ns
    shutil.rmtree("emu")  # the run holds all that it needs
    again = varedit(*options, "--batch-size", "1")
    assert again.exit_code == 0, again.output
    assert "1 edited, 1 done before, 0 failed" in again.stderr
    assert {path.name: path.read_bytes() for path in Path("run/results").glob("*.png")} == first
    assert Path("run/results/12.png").stat().st_mtime_ns == kept


def test_each_turn_goes_on_from_the_result_before_it(folder):
    magicbrush(folder / "sessions")
    options = ("run", "magicbrush", "sessions", "-o", "run", "--split", "multi-turn", "--count", "3", "--seed", "5")
    edited = varedit(*options)
    assert edited.exit_code == 0 and "3 edited, 0 done before, 0 failed" in edited.stderr, edited.output
    turns = [Path("run/results/242679") / f"242679_{name}.png" for name in ("1", "iter_2", "iter_3")]
    second = json.loads(Path("run/items.jsonl").read_text().splitlines()[1])
    assert second["source"] == "results/242679/242679_1.png" and second["after"] == "242679/242679_1"
    results = [turn.read_bytes() for turn in turns]
    single = ("run", "magicbrush", "sessions", "-o", "single", "--count", "2", "--seed", "5")
    assert varedit(*single).exit_code == 0
    assert Path("single/results/242679/242679_1.png").read_bytes() == results[0]
    assert Path("single/results/242679/242679_inde_2.png").read_bytes() != results[1]

    for turn in turns[1:]:  # a run that was killed after the first turn
        turn.unlink()
    assert "2 edited, 1 done before" in varedit(*options).stderr
    assert [turn.read_bytes() for turn in turns] == results
    assert varedit("score", "run").exit_code == 0
    scores = json.loads(Path("run/scores.jsonl").read_text().splitlines()[1])["scores"]
    outside = load_mask(Path("run/pictures/242679/242679_iter_2.mask.png"), 64, 48) < 0.5
    first, other = (read_image(turn).rgb for turn in turns[:2])
    assert scores["l1_outside"] == metrics.l1(other, first, outside)

    turns[0].unlink()
    varedit("score", "run")
    missing = json.loads(Path("run/scores.json").read_text())["missing"]
    assert missing["242679/242679_iter_2"] == "there is no result of 242679/242679_1, which it goes on from"
    assert list(missing) == ["242679/242679_1", "242679/242679_iter_2"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'varedit[ray]'")
def test_a_local_ray_makes_the_pictures_that_one_process_makes(folder):
    assert varedit("run", "emu-edit", "emu", "-o", "here").exit_code == 0
    call = [sys.executable, "-m", "varedit", "eval", "run", "emu-edit", "emu", "-o", "there", "--ray", "--workers", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "2 edited, 0 done before, 0 failed" in done.stderr, done.stderr
    for name in ("7.png", "12.png"):
        assert Path("there/results", name).read_bytes() == Path("here/results", name).read_bytes()


def test_pictures_of_another_editor_are_scored_alike(folder):
    imgedit(folder / "imgedit")
    result = varedit("run", "imgedit", "imgedit", "-o", "run", "--prepare", "--count", "1")
    assert result.exit_code == 0, result.output
    assert not Path("run/results").exists()
    Path("run/results").mkdir()
    with Image.open("run/pictures/1082.source.jpg") as picture:
        picture.save("run/results/1082.webp", lossless=True)
    scored = varedit("score", "run", "--json", "--quiet")
    assert scored.exit_code == 0 and scored.stderr == ""
    report = json.loads(scored.stdout)
    assert report["editor"] is None
    assert report["metrics"]["l1"]["mean"] == 0 and report["metrics"]["psnr"]["mean"] == 100


def test_what_has_no_result_is_told(folder):
    varedit("run", "emu-edit", "emu", "-o", "run")
    Path("run/results/7.png").write_bytes(b"no picture")
    scored = varedit("score", "run")
    assert scored.exit_code == 0
    assert "note: 7 is left out: " in scored.stderr and "1 of 2 items have no scores" in scored.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (("run", "coco", "emu", "-o", "run"), 2, ("'coco' is not one of",)),
        (("run", "emu-edit", "emu"), 2, ("--out",)),
        (("run", "emu-edit", "nowhere", "-o", "run"), 66, ("there is no folder nowhere",)),
        (("run", "emu-edit", "emu", "-o", "run", "--split", "dev"), 2, ("no split 'dev'; it has test, validation",)),
        (("run", "emu-edit", "emu", "-o", "run", "--workers", "2"), 2, ("--workers are those of --ray",)),
        (("run", "emu-edit", "emu", "-o", "run", "--guidance", "-1"), 2, ("guidance is -1.0",)),
        (("run", "emu-edit", "emu", "-o", "run", "-m", "no-such-model"), 69, ("no-such-model",)),
        (("score", "nowhere"), 66, ("items.jsonl cannot be read", "varedit eval run")),
    ],
)
def test_bad_input_is_one_sentence(folder, arguments, code, parts):
    assert_one_sentence(varedit(*arguments, "--quiet"), code, *parts)

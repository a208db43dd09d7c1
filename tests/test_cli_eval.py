"""`varedit eval scenes` as a person or a script meets it; the model has random weights, the scenes are made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from tests.sentences import assert_one_sentence
from tests.stub_scenes import StubScenes
from tests.toys import toy_pipeline
from varedit.cli import cli
from varedit.errors import InputMissing
from varedit.hub import ModelSource


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command asked for: model and device, then material, split and size."""
    pipeline, calls = toy_pipeline(), list[Any]()
    monkeypatch.chdir(tmp_path)
    pipeline.save_pretrained(tmp_path / "model")

    def load(model, device):
        calls.append((model, device))
        return ModelSource(tmp_path / "model"), pipeline

    def scenes(material, split, size_hw):
        calls.append((material, split, size_hw))
        return StubScenes()

    monkeypatch.setattr("varedit.evaluation.scene_run.loaded_model", load)
    monkeypatch.setattr("varedit.evaluation.scene_run.held_out_scenes", scenes)
    return calls


def varedit(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["eval", "scenes", *arguments], prog_name="varedit")


def test_it_prints_a_table_and_writes_a_page_and_its_numbers(asked, tmp_path):
    result = varedit("--model", "toy", "--count", "7", "--batch-size", "3", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].split()[:3] == ["scenes", "n", "success"]
    assert result.stdout.splitlines()[1].split()[:2] == ["all", "7"]
    assert sorted(path.name for path in (tmp_path / "evaluation").iterdir()) == ["toy-test.html", "toy-test.json"]
    assert "pictures: evaluation/toy-test.html" in result.stderr
    assert asked == [("toy", "cpu"), (Path("material"), "test", (20, 20))]


def test_json_holds_what_the_numbers_must_carry_and_the_file_says_the_same(asked, tmp_path):
    options = ("--split", "validation", "--count", "4", "--guidance", "1.5", "--greedy", "-o", "out", "--material", "m")
    result = varedit(*options, "--json", "--quiet")
    assert result.exit_code == 0 and result.stderr == ""
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "out" / "toy-validation.json").read_text(encoding="utf-8"))
    command = "varedit eval scenes --model mini --split validation --count 4 --material m --guidance 1.5 --greedy"
    assert report["command"] == command
    assert (report["split"], report["count"], report["size"]) == ("validation", 4, [20, 20])
    assert report["settings"]["guidance"] == 1.5 and report["settings"]["greedy"] is True
    assert [rows[0]["scenes"] for rows in report["results"].values()] == [4, 4, 4]
    assert {"seed", "date", "device", "versions", "model", "definition"} <= set(report)


def test_a_second_run_replaces_the_first_and_repeats_it(asked, tmp_path):
    first, second = (varedit("--count", "3", "--json", "--batch-size", str(size)) for size in (1, 3))
    scenes = [json.loads(result.stdout)["scenes"] for result in (first, second)]
    assert scenes[0] == scenes[1]


def test_threads_are_set(asked, monkeypatch):
    given: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    assert varedit("--count", "1", "--threads", "3").exit_code == 0
    assert given == [3]


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        (("--count", "0"), 2, "0 is not in the range"),
        (("--batch-size", "none"), 2, "'none' is not a valid integer"),
        (("--threads", "0"), 2, "0 is not in the range"),
        (("--split", "train"), 2, "'train' is not one of"),
        (("--guidance", "-1"), 2, "guidance is -1.0; it must be from 0 to 30"),
        (("--temperature", "nan"), 2, "temperature must be a finite number"),
        (("-o", "in-the-way"), 73, "in-the-way cannot be written to"),
        (("extra",), 2, "extra"),
    ],
)
def test_bad_input_is_one_sentence_before_a_model_is_loaded(asked, options, code, part):
    Path("in-the-way").write_text("a file")
    assert_one_sentence(varedit(*options), code, part)
    assert asked == []


def test_a_missing_model_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_sentence(varedit("--model", "no-such-model"), 69, "no-such-model")


def test_missing_material_is_one_sentence(asked, monkeypatch):
    def missing(material, split, size_hw):
        raise InputMissing(f"{material} is no folder of photographs. Fetch some first.")

    monkeypatch.setattr("varedit.evaluation.scene_run.held_out_scenes", missing)
    assert_one_sentence(varedit("--material", "nowhere"), 66, "nowhere is no folder")


def test_the_real_scenes_say_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_sentence(varedit("--material", "nowhere"), 66, "nowhere", "varedit data fetch")


def test_guidance_by_scale_reuse_and_candidates_are_told_as_they_were_asked_for(asked, tmp_path):
    options = ("--count", "2", "--guidance", "3,2,1,1", "--reuse", "--candidates", "2", "-o", "out")
    result = varedit(*options, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["settings"]["guidance"] == [3.0, 2.0, 1.0, 1.0]
    assert report["settings"]["reuse"] == {"first_scale": None, "tolerance": 0.02, "margin": 1, "nearly_all": 0.9}
    assert report["settings"]["candidates"] == 2
    assert report["command"].endswith("--guidance 3,2,1,1 --reuse --candidates 2")


@pytest.mark.parametrize("wrong", ["3,2", "high", "3,,1"])
def test_numbers_by_scale_that_are_none_are_one_sentence(asked, wrong):
    result = varedit("--count", "1", "--guidance", wrong)
    assert_one_sentence(result, 2, "guidance")

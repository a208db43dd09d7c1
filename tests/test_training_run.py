"""A run is a folder: what ends it, what it keeps, and what may change before it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training_job import HELD_STEP
from tests.training_toys import DATA, RECIPE, read_recipe, toy_autoencoder
from varedit.errors import OutputError, Stopped, UsageError, VAREditError
from varedit.training.editor import train_editor
from varedit.training.objective import editor_loss
from varedit.training.recipe import EditorTraining
from varedit.training.run import RunFolder

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = EditorTraining(steps=6, batch_size=1, learning_rate=1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    toy_autoencoder(read_recipe(tmp_path), tmp_path)
    return tmp_path


def losses_here(folder: Path, run: str, recipe=None) -> dict[int, float]:
    losses: dict[int, float] = {}
    train_editor(
        recipe or read_recipe(folder),
        folder / "autoencoder",
        DATA,
        folder / run,
        lambda step, steps, metrics: losses.update({step: metrics["loss"]}),
    )
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["step", "save"])
def test_a_run_killed_in_a_step_or_in_a_save_goes_on_exactly(folder, moment):
    environment = os.environ | {
        "VAREDIT_TEST_HOLD": moment,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "tests.training_job", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        before = {}
        for line in job.stdout:
            if line == "held\n":
                os.kill(job.pid, signal.SIGKILL)
                break
            step, loss = line.split()
            before[int(step)] = float(loss)
    assert job.wait() == -signal.SIGKILL
    assert list(before) == list(range(1, (HELD_STEP if moment == "step" else 5) + 1))
    after = losses_here(folder, "run")
    assert list(after) == [4, 5, 6], "only what came after the checkpoint of step 3 is lost"
    assert before | after == losses_here(folder, "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step_and_says_how_to_go_on(folder, number):
    recipe, losses = read_recipe(folder), {}

    def on_step(step, steps, metrics):
        losses[step] = metrics["loss"]
        if step == 4:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=r"stopped at step 5 of 6; the checkpoint in .* Give the same command again"):
        train_editor(recipe, folder / "autoencoder", DATA, folder / "run", on_step)
    assert signal.getsignal(number) is before
    assert "stopped at step 5 of 6" in (folder / "run" / "log.txt").read_text()
    after = losses_here(folder, "run")
    assert list(after) == [6]
    assert losses | after == losses_here(folder, "whole")


def test_a_full_disk_ends_the_run_with_a_sentence_and_a_good_checkpoint(folder, small_disk):
    recipe = read_recipe(folder)
    losses: dict[int, float] = {}

    def on_step(step, steps, metrics):
        losses[step] = metrics["loss"]
        if step == 4:
            fill(small_disk)

    with pytest.raises(
        OutputError, match=r"cannot be written \(No space left on device\); its last checkpoint is still"
    ):
        train_editor(recipe, folder / "autoencoder", DATA, small_disk / "run", on_step)
    assert not list((small_disk / "run").glob("*.tmp"))
    (small_disk / "filling").unlink()
    after = losses_here(small_disk.parent, "small/run", recipe)
    assert list(after) == [4, 5, 6]
    assert losses | after == losses_here(folder, "whole")


@pytest.fixture
def small_disk(folder):
    """A disk of a few megabytes, whatever it takes."""
    disk = folder / "small"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filling").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 14))
        except OSError:
            return


def test_a_torn_checkpoint_never_replaces_the_last_good_one(tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "run", "x = 1")
    run.save_checkpoint({"step": 1})

    def full_disk(state, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(VAREditError, match=r"No space left on device.*last checkpoint is still good"):
        run.save_checkpoint({"step": 2})
    assert run.load_checkpoint() == {"step": 1}
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_a_checkpoint_beyond_the_limit_of_a_file_says_what_the_system_said(tmp_path):
    run = RunFolder(tmp_path / "run", "x = 1")
    script = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from varedit.training.run import RunFolder\n"
        "run = RunFolder(Path(sys.argv[1]), 'x = 1')\n"
        "run.save_checkpoint({'step': 1})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n    run.save_checkpoint({'step': 2, 'weights': torch.zeros(100_000)})\n"
        "except Exception as error:\n    sys.exit(str(error))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", script, str(run.path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert f"the run in {run.path} cannot be written (File too large); its last checkpoint is still good" in done.stderr
    assert run.load_checkpoint() == {"step": 1}


def test_the_folder_keeps_the_recipe_the_log_metrics_curves_and_pictures(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    losses_here(folder, "run")
    run = folder / "run"
    assert (run / "recipe.toml").read_text() == RECIPE
    assert "begins at step 0 of 6" in (run / "log.txt").read_text()
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged] == [3, 6]
    assert {path.name for path in (run / "samples").iterdir()} == {"step-000003.png", "step-000006.png"}
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    curve = [(event.step, round(event.value, 4)) for event in events.Scalars("validation_changed")]
    assert curve == [(line["step"], pytest.approx(line["validation_changed"])) for line in logged]


def test_what_was_logged_after_the_checkpoint_is_not_there_twice(folder):
    losses_here(folder, "run")
    run = RunFolder(folder / "run", RECIPE)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "loss": 1.0}\n{"step": 8, "lo')  # torn by a kill
    run.begin(SETTINGS, 6)
    run.end()
    assert [json.loads(line)["step"] for line in (run.path / "metrics.jsonl").read_text().splitlines()] == [3, 6]


def test_without_tensorboard_a_run_goes_on_and_says_so_once(folder, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    losses_here(folder, "run")
    told = [record.getMessage() for record in caplog.records if "TensorBoard" in record.getMessage()]
    assert told == ["no curves are written for TensorBoard; install it with: pip install 'varedit[train]'"]
    assert not (folder / "run" / "tensorboard").exists()


def extended(text: str, **changes: object) -> str:
    head, editor = text.split("[training.editor]")
    for name, value in changes.items():
        lines = [line for line in editor.splitlines() if not line.startswith(f"{name} =")]
        editor = "\n".join([*lines, f"{name} = {value}", ""])
    return f"{head}[training.editor]{editor}"


def recipe_with(folder: Path, **changes: object):
    return read_recipe(folder, (RECIPE, extended(RECIPE, **changes)))


def test_a_run_goes_on_for_longer_as_if_it_had_been_that_long_from_the_start(folder):
    stable = recipe_with(folder, decay_fraction=0.0, fade_steps=4, steps=3)
    before = losses_here(folder, "pieces", stable)
    longer = recipe_with(folder, decay_fraction=0.4, fade_steps=4, steps=9)
    after = losses_here(folder, "pieces", longer)
    assert list(after) == [4, 5, 6, 7, 8, 9]
    assert before | after == losses_here(folder, "whole", longer)
    assert (folder / "pieces" / "recipe.toml").read_text() == longer.text
    assert (folder / "pieces" / "recipe-001.toml").read_text() == stable.text


def test_a_run_whose_rate_has_begun_to_fall_cannot_be_made_longer(folder):
    losses_here(folder, "run")  # of 6 steps, the last 2.4 of which decay
    with pytest.raises(UsageError, match=r"stands at step 6, and its learning rate began to fall at step 4"):
        losses_here(folder, "run", recipe_with(folder, steps=9))
    assert (folder / "run" / "recipe.toml").read_text() == RECIPE


def test_a_run_cannot_be_made_so_short_that_its_rate_would_have_fallen_already(folder):
    losses_here(folder, "run", recipe_with(folder, decay_fraction=0.0, steps=3))
    with pytest.raises(UsageError, match=r"stands at step 3, .* would have begun to fall at step 1"):
        losses_here(folder, "run", recipe_with(folder, decay_fraction=0.9, steps=4))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seed = 3", "seed = 4"), "training.seed was 3 and is now 4"),
        (("width = 24", "width = 48"), "transformer.width was 24 and is now 48"),
        (("text_dropout = 0.3", ""), "training.editor.text_dropout was 0.3 and is now not there"),
        (("[1, 1], [2, 2], [4, 4]", "[1, 1], [2, 2], [5, 5]"), "schedule.templates.square was"),
    ],
)
def test_a_recipe_that_the_steps_done_depended_on_is_refused_by_its_field(tmp_path, change, words):
    RunFolder(tmp_path / "run", RECIPE).begin(SETTINGS, 0)
    with pytest.raises(UsageError, match=words):
        RunFolder(tmp_path / "run", RECIPE.replace(*change))


def test_a_comment_in_the_recipe_changes_nothing(tmp_path):
    RunFolder(tmp_path / "run", RECIPE).begin(SETTINGS, 0)
    RunFolder(tmp_path / "run", RECIPE + "# a thought\n")


def test_gradients_that_are_no_numbers_end_the_run_before_they_spoil_the_weights(folder, monkeypatch):
    loss_of = editor_loss
    calls = []

    def steep(losses, weights):  # finite itself, with a derivative that is none
        calls.append(1)
        loss = loss_of(losses, weights)
        return loss if len(calls) < 5 else loss + (loss * 0).sqrt()

    monkeypatch.setattr("varedit.training.editor.editor_loss", steep)
    with pytest.raises(VAREditError, match=r"the gradient's norm became nan at step 4\. The last checkpoint"):
        losses_here(folder, "run")
    state = RunFolder(folder / "run", RECIPE).load_checkpoint()
    assert state is not None and state["step"] == 3
    assert all(weight.isfinite().all() for weight in state["module"].values())

"""The command line as a person or a script meets it; the model is a stand-in that makes negatives."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.sentences import assert_one_sentence
from varedit import __version__, errors
from varedit.cli import COMMANDS, cli
from varedit.cli.jobs import Targets, plan
from varedit.cli.terminal import printable
from varedit.images import Picture
from varedit.pipeline import VAREditPipeline
from varedit.provenance import EDITED_BY_MODEL, read_provenance

SCALES = [(1, 1), (2, 3), (4, 5)]


@dataclass
class FakeOutput:
    images: list[Image.Image]
    seeds: list[int]
    change_maps: list[Image.Image]
    schedules: list[list[tuple[int, int]]]
    timings: dict[str, float]
    settings: list[dict[str, Any]]
    notes: list[tuple[str, ...]]


@dataclass
class FakeEvent:
    index: int
    total: int
    picture: Image.Image
    output: FakeOutput | None

    def preview(self) -> Image.Image:
        return self.picture


@dataclass
class NegativeEditor:
    """Stands for a pipeline; remembers what it was asked."""

    calls: list[tuple[Picture, str, dict[str, Any]]] = field(default_factory=list)
    warmed: list[str] = field(default_factory=list)
    failure: BaseException | None = None

    def warm_up(self, picture: Picture, on_scale: Callable[[int, int], None]) -> None:
        self.warmed.append(picture.name)
        on_scale(1, 1)

    def stream(self, picture: Picture, instruction: str, **settings: Any) -> Iterator[FakeEvent]:
        self.calls.append((picture, instruction, settings))
        if self.failure is not None:
            raise self.failure
        negative = ImageOps.invert(Image.fromarray(picture.rgb))
        output = FakeOutput(
            images=[negative],
            seeds=[settings["seed"]],
            change_maps=[Image.new("L", negative.size, 200)],
            schedules=[SCALES],
            timings={"scales": 0.25},
            settings=[{"version": "0", "model": "negative", "instruction": instruction, "seed": settings["seed"]}],
            notes=[("not a word",)],
        )
        for index in range(len(SCALES)):
            yield FakeEvent(index, len(SCALES), negative, output if index + 1 == len(SCALES) else None)


@pytest.fixture
def editor(monkeypatch: pytest.MonkeyPatch) -> NegativeEditor:
    fake = NegativeEditor()
    monkeypatch.setattr("varedit.cli.edit.load_editor", lambda request: fake)
    return fake


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """For calls that have to fail before a model is loaded."""

    def load(request: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("varedit.cli.edit.load_editor", load)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with two small photographs of different sizes."""
    monkeypatch.chdir(tmp_path)
    for name, size in (("cup.png", (7, 5)), ("cat.jpg", (6, 9))):
        ramp = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3)
        Image.fromarray(ramp).save(name)
    return tmp_path


def varedit(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, input=stdin, prog_name="varedit")


def pixels_of(path: str) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image)


# The front door


@pytest.mark.parametrize("arguments", [["--help"], ["edit", "--help"], ["info", "--help"], ["--version"]])
def test_help_answers_without_loading_anything_heavy(arguments):
    code = (
        "import sys; from varedit.cli import main\n"
        f"sys.argv[1:] = {arguments}\n"
        "try: main()\n"
        "finally: print({'torch', 'numpy', 'PIL', 'transformers', 'huggingface_hub', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_python_dash_m_is_the_same_command_line():
    done = subprocess.run([sys.executable, "-m", "varedit", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == varedit("--version").stdout == f"varedit, version {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name):
    result = varedit(name, "--help")
    assert result.exit_code == 0
    assert f"  varedit {name} " in result.stdout
    assert name in varedit("--help").stdout


def test_a_reader_that_goes_away_ends_the_command_quietly():
    with subprocess.Popen([sys.executable, "-m", "varedit"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_an_unknown_command_is_one_sentence():
    assert_one_sentence(varedit("paint"), 2, "'paint'", "varedit --help")


# One edit


def test_an_edit_writes_the_result_and_prints_its_path(editor, folder):
    result = varedit("edit", "cup.png", "make it a negative", "-o", "out/result.png", "--seed", "5")
    assert result.exit_code == 0, result.output
    assert result.stdout == "out/result.png\n"
    assert np.array_equal(pixels_of("out/result.png"), 255 - pixels_of("cup.png"))
    note, first, second = result.stderr.splitlines()
    assert note == "note: not a word"
    assert first.startswith("edited cup.png (7x5) in ")
    assert second == "seed 5, model negative"


def test_options_reach_the_pipeline_unchanged(editor, folder):
    Image.new("L", (7, 5), 255).save("mask.png")
    numbers = ["--guidance", "4.5", "--temperature", "0.25", "--seed", "9"]
    others = ["--greedy", "--no-restore", "--fit", "square", "--mask", "mask.png", "--reuse", "--candidates", "3"]
    assert varedit("edit", "cup.png", "warmer", "-o", "out.png", *numbers, *others).exit_code == 0
    picture, instruction, settings = editor.calls[0]
    mask = settings.pop("mask")
    assert (picture.name, instruction) == ("cup.png", "warmer")
    assert mask.shape == (5, 7) and mask.min() == 1.0
    assert settings == {
        "guidance_scale": 4.5,
        "temperature": 0.25,
        "greedy": True,
        "reuse": True,
        "candidates": 3,
        "seed": 9,
        "restore": False,
        "fit": "square",
    }


def test_what_is_not_said_is_left_to_the_model(editor, folder):
    assert varedit("edit", "cup.png", "warmer", "-o", "out.png").exit_code == 0
    settings = editor.calls[0][2]
    assert settings["guidance_scale"] is None and settings["temperature"] is None and settings["mask"] is None
    assert settings["restore"] is True


def test_two_edits_without_a_seed_draw_different_ones(editor, folder):
    for name in ("a.png", "b.png"):
        varedit("edit", "cup.png", "warmer", "-o", name)
    assert editor.calls[0][2]["seed"] != editor.calls[1][2]["seed"]


def test_the_model_device_and_precision_are_those_of_the_call(folder, monkeypatch):
    requests = []

    def load(request):
        requests.append(request)
        return NegativeEditor()

    monkeypatch.setattr("varedit.cli.edit.load_editor", load)
    monkeypatch.setenv("VAREDIT_MODEL", "from-environment")
    varedit("edit", "cup.png", "warmer", "-o", "a.png", "--device", "cuda:1", "--precision", "bfloat16")
    varedit("edit", "cup.png", "warmer", "-o", "b.png", "-m", "from-option")
    assert [request.model for request in requests] == ["from-environment", "from-option"]
    assert (requests[0].device, requests[0].precision) == ("cuda:1", "bfloat16")


def test_how_the_model_is_loaded_is_told_to_the_pipeline(folder, monkeypatch):
    told: list[dict[str, Any]] = []
    made: list[NegativeEditor] = []
    signature = inspect.signature(VAREditPipeline.from_pretrained)

    def load(*arguments, **options):
        told.append(options)
        signature.bind(*arguments, **options)
        assert set(options) <= set(signature.parameters), "none is taken for an option of the hub's"
        made.append(NegativeEditor())
        return made[-1]

    monkeypatch.setattr(VAREditPipeline, "from_pretrained", load)
    for index, options in enumerate(([], ["--weights", "int8", "--offload", "--compile"])):
        assert varedit("edit", "cup.png", "warmer", "-o", f"{index}.png", *options).exit_code == 0
    plain = {"dtype": "auto", "device": "auto", "weights": "full", "offload_text": False, "compile": False}
    assert told == [plain, plain | {"weights": "int8", "offload_text": True, "compile": True}]
    assert [editor.warmed for editor in made] == [[], ["cup.png"]], "what is compiled is warmed up first"


@pytest.mark.parametrize("instruction", ["macht es wärmer", "配上红帽子", "اجعلها أدفأ", "🎩 on the cat", "-v", "a\nb"])
def test_an_instruction_in_any_language_arrives_as_it_is(editor, folder, instruction):
    result = varedit("edit", "-o", "out.png", "--", "cup.png", instruction)
    assert result.exit_code == 0, result.output
    assert editor.calls[0][1] == instruction


def test_json_is_one_object_that_tells_everything(editor, folder):
    arguments = ["--seed", "3", "--compare", "both.png", "--show-region", "region.png", "--previews", "steps"]
    result = varedit("edit", "cup.png", "wärmer", "-o", "out.png", "--json", *arguments)
    (line,) = result.stdout.splitlines()
    record = json.loads(line)
    expected = {
        "output": "out.png",
        "source": "cup.png",
        "seed": 3,
        "size": [7, 5],
        "schedule": [list(grid) for grid in SCALES],
        "timings_ms": {"scales": 250},
        "notes": ["not a word"],
        "compare": "both.png",
        "show_region": "region.png",
        "previews": "steps",
    }
    assert {key: record[key] for key in expected} == expected
    assert record["settings"]["instruction"] == "wärmer"


def test_a_comparison_shows_the_photograph_left_and_the_result_right(editor, folder):
    varedit("edit", "cup.png", "negative", "-o", "out.png", "--compare", "both.png")
    both, source = pixels_of("both.png"), pixels_of("cup.png")
    assert both.shape == (5, 7 + 2 + 7, 3)
    assert np.array_equal(both[:, :7], source)
    assert (both[:, 7:9] == 255).all()
    assert np.array_equal(both[:, 9:], 255 - source)


def test_the_change_map_is_written(editor, folder):
    varedit("edit", "cup.png", "negative", "-o", "out.png", "--show-region", "region.png")
    assert (pixels_of("region.png") == 200).all()


def test_a_preview_is_written_after_every_scale(editor, folder):
    varedit("edit", "cup.png", "negative", "-o", "out.png", "--previews", "steps")
    assert sorted(path.name for path in Path("steps").iterdir()) == [f"cup-scale-0{k}.png" for k in (1, 2, 3)]


def test_transparency_of_the_photograph_returns(editor, folder):
    photograph = Image.fromarray(pixels_of("cup.png"))
    photograph.putalpha(Image.new("L", (7, 5), 77))
    photograph.save("clear.png")
    varedit("edit", "clear.png", "negative", "-o", "out.png")
    assert (pixels_of("out.png")[:, :, 3] == 77).all()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_the_result_records_how_it_was_made_unless_told_not_to(editor, folder, suffix):
    varedit("edit", "cup.png", "add ❤", "-o", f"with.{suffix}", "--seed", "12")
    varedit("edit", "cup.png", "add ❤", "-o", f"without.{suffix}", "--metadata", "none")
    made = read_provenance(Path(f"with.{suffix}"))
    assert made is not None and (made["instruction"], made["seed"], made["model"]) == ("add ❤", 12, "negative")
    assert read_provenance(Path(f"without.{suffix}")) is None
    assert b"add" not in Path(f"without.{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
def test_the_result_may_name_the_model_and_keep_to_itself_what_was_asked(editor, folder, suffix):
    varedit("edit", "cup.png", "add ❤", "-o", f"out.{suffix}", "--seed", "12", "--metadata", "minimal")
    made = read_provenance(Path(f"out.{suffix}"))
    assert made is not None and made.keys() - {"quality"} == {"version", "model"}
    assert made["model"] == "negative" and EDITED_BY_MODEL.encode() in Path(f"out.{suffix}").read_bytes()


def test_quiet_says_nothing_but_the_result(editor, folder):
    result = varedit("edit", "cup.png", "warmer", "-o", "out.png", "--quiet")
    assert (result.stdout, result.stderr) == ("out.png\n", "")


def test_what_was_lost_in_reading_is_told(editor, folder):
    frames = [Image.new("L", (7, 5), shade) for shade in (10, 200)]
    frames[0].save("two.gif", save_all=True, append_images=frames[1:])
    result = varedit("edit", "two.gif", "warmer", "-o", "out.png")
    assert "note: two.gif: only the first frame is used" in result.stderr


# Pipes and many images


def test_dash_reads_stdin_and_writes_stdout(editor, folder):
    result = varedit("edit", "-", "negative", "-o", "-", stdin=Path("cup.png").read_bytes())
    assert result.exit_code == 0, result.stderr
    Path("piped.png").write_bytes(result.stdout_bytes)
    assert np.array_equal(pixels_of("piped.png"), 255 - pixels_of("cup.png"))


def test_several_images_fill_a_pattern(editor, folder):
    result = varedit("edit", "cup.png", "cat.jpg", "warmer", "-o", "out/{stem}-{seed}.{ext}", "--seed", "4")
    assert result.stdout.splitlines() == ["out/cup-4.png", "out/cat-4.jpg"]
    assert pixels_of("out/cat-4.jpg").shape == (9, 6, 3)
    assert len(editor.calls) == 2


def test_several_images_go_to_a_folder(editor, folder):
    (folder / "results").mkdir()
    assert varedit("edit", "cup.png", "cat.jpg", "warmer", "-o", "results").exit_code == 0
    assert {path.name for path in (folder / "results").iterdir()} == {"cup.png", "cat.jpg"}


def test_a_kind_that_is_read_but_not_written_becomes_png(editor, folder):
    Image.new("L", (3, 4), 90).save("old.gif")
    assert varedit("edit", "old.gif", "warmer", "-o", "out/").stdout == "out/old.png\n"


def test_names_with_braces_or_backslashes_are_only_names(tmp_path):
    source = tmp_path / r"{seed}\1.png"
    source.touch()
    (job,) = plan([str(source)], Targets(output="out/{stem}.{ext}"), seed=1)
    assert job.output == r"out/{seed}\1.png"


# Everything that can be wrong is one sentence, before a model is loaded

BAD_CALLS = {
    "nothing": ([], 2, "--output"),
    "no instruction": (["cup.png", "-o", "o.png"], 2, "an image and an instruction"),
    "instruction forgotten": (["cup.png", "cat.jpg", "-o", "o.png"], 2, "cat.jpg is a file"),
    "no output": (["cup.png", "warmer"], 2, "--output"),
    "unknown option": (["cup.png", "warmer", "-o", "o.png", "--speed", "1"], 2, "--speed"),
    "guidance is no number": (["cup.png", "warmer", "-o", "o.png", "--guidance", "7abc"], 2, "7abc"),
    "seed too small": (["cup.png", "warmer", "-o", "o.png", "--seed", "-1"], 2, "-1"),
    "seed too large": (["cup.png", "warmer", "-o", "o.png", "--seed", str(2**63)], 2, str(2**63)),
    "unknown precision": (["cup.png", "warmer", "-o", "o.png", "--precision", "int3"], 2, "int3"),
    "image missing": (["nowhere.png", "warmer", "-o", "o.png"], 66, "nowhere.png does not exist"),
    "image is a folder": ([".", "warmer", "-o", "o.png"], 66, ". is not a file"),
    "second image missing": (["cup.png", "nowhere.png", "warmer", "-o", "out/"], 66, "nowhere.png"),
    "not an image": (["text.png", "warmer", "-o", "o.png"], 65, "text.png"),
    "empty file": (["empty.png", "warmer", "-o", "o.png"], 65, "empty.png is empty"),
    "unknown suffix": (["cup.png", "warmer", "-o", "o.docx"], 73, "o.docx"),
    "no suffix": (["cup.png", "warmer", "-o", "result"], 73, "result"),
    "output exists": (["cup.png", "warmer", "-o", "cat.jpg"], 73, "--force"),
    "comparison exists": (["cup.png", "warmer", "-o", "o.png", "--compare", "cat.jpg"], 73, "cat.jpg"),
    "folder is a file": (["cup.png", "warmer", "-o", "cat.jpg/o.png"], 73, "cat.jpg"),
    "previews are a file": (["cup.png", "warmer", "-o", "o.png", "--previews", "cat.jpg"], 2, "cat.jpg"),
    "mask missing": (["cup.png", "warmer", "-o", "o.png", "--mask", "nowhere.png"], 66, "nowhere.png"),
    "mask of another size": (["cup.png", "warmer", "-o", "o.png", "--mask", "cat.jpg"], 65, "6x9"),
    "several images, one name": (["cup.png", "cat.jpg", "warmer", "-o", "o.png"], 2, "several images"),
    "same image twice": (["cup.png", "cup.png", "warmer", "-o", "out/"], 2, "two results"),
    "result and comparison": (["cup.png", "warmer", "-o", "o.png", "--compare", "./o.png"], 2, "two results"),
    "unknown word": (["cup.png", "warmer", "-o", "{name}.png"], 2, "{name}"),
    "several to stdout": (["cup.png", "cat.jpg", "warmer", "-o", "-"], 2, "stdout holds one"),
    "stdin twice": (["-", "-", "warmer", "-o", "out/{stem}.png"], 2, "stdin holds one"),
    "stdin empty": (["-", "warmer", "-o", "o.png"], 65, "stdin"),
    "json and picture on stdout": (["cup.png", "warmer", "-o", "-", "--json"], 2, "--json"),
    "change map of a raw result": (
        ["cup.png", "warmer", "-o", "o.png", "--no-restore", "--show-region", "r.png"],
        2,
        "--no-restore",
    ),
    "too wide for the format": (["wide.png", "warmer", "-o", "o.webp"], 73, "WEBP"),
    "comparison too wide": (["broad.png", "warmer", "-o", "o.png", "--compare", "b.webp"], 73, "b.webp"),
    "a NUL in a name": (["cup\0.png", "warmer", "-o", "o.png"], 66, "cup"),
    "name steers the terminal": (["\x1b[31mred.png", "warmer", "-o", "o.png"], 66, " [31mred.png"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_a_bad_call_is_one_sentence_before_a_model_is_loaded(no_model, folder, case):
    Path("text.png").write_text("this is no picture", encoding="utf-8")
    Path("empty.png").touch()
    Image.new("1", (20_000, 2)).save("wide.png")
    Image.new("1", (9_000, 2)).save("broad.png")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    arguments, code, part = BAD_CALLS[case]
    assert_one_sentence(varedit("edit", *arguments), code, part)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_force_replaces_an_existing_file(editor, folder):
    assert varedit("edit", "cup.png", "negative", "-o", "cat.jpg", "--force").exit_code == 0
    assert pixels_of("cat.jpg").shape == (5, 7, 3)


def test_an_edit_that_fails_leaves_the_old_result(editor, folder):
    before = Path("cat.jpg").read_bytes()
    editor.failure = errors.UsageError("guidance_scale must be between 0 and 30, not 31")
    result = varedit("edit", "cup.png", "negative", "-o", "cat.jpg", "--force")
    assert_one_sentence(result, 2, "between 0 and 30")
    assert Path("cat.jpg").read_bytes() == before


# Where errors end


def all_errors(base: type[errors.VAREditError] = errors.VAREditError) -> list[type[errors.VAREditError]]:
    return [base] + [error for sub in base.__subclasses__() for error in all_errors(sub)]


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_an_error_of_the_library_ends_as_its_sentence_and_code(editor, folder, kind):
    needs_two = kind in (errors.ImageError, errors.MissingExtra)
    editor.failure = kind("what was wrong", "what to do") if needs_two else kind("what was wrong")
    result = varedit("edit", "cup.png", "warmer", "-o", "out.png")
    assert_one_sentence(result, kind.exit_code, str(editor.failure))


def test_a_bug_is_one_sentence_with_its_own_code(editor, folder):
    editor.failure = ZeroDivisionError("division\nby zero")
    result = varedit("edit", "cup.png", "warmer", "-o", "out.png")
    assert_one_sentence(result, 70, "ZeroDivisionError: division by zero", "-v")


@pytest.mark.parametrize("arguments, environment", [(["-v"], {}), ([], {"VAREDIT_DEBUG": "1"})])
def test_a_traceback_is_shown_to_those_who_ask(editor, folder, monkeypatch, arguments, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    editor.failure = ZeroDivisionError("division by zero")
    result = varedit("edit", "cup.png", "warmer", "-o", "out.png", *arguments)
    assert result.exit_code == 70
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ZeroDivisionError")


def test_ctrl_c_stops_with_its_own_code(editor, folder):
    editor.failure = KeyboardInterrupt()
    result = varedit("edit", "cup.png", "warmer", "-o", "out.png")
    assert result.exit_code == 130
    assert result.stderr.strip() == "error: stopped."
    assert not Path("out.png").exists()


@given(st.text())
def test_what_is_printed_is_one_line_without_control_characters(text):
    assert all(character.isprintable() for character in printable(text))


# The other commands


def test_convert_hands_the_named_files_to_the_library(folder, monkeypatch):
    asked = {}
    monkeypatch.setattr("varedit.conversion.convert", lambda **options: asked.update(options), raising=False)
    for name in ("a.pth", "b.pth"):
        Path(name).touch()
    Path("t5").mkdir()
    result = varedit("convert", "a.pth", "b.pth", "t5", "--preset", "2b-512", "-o", "model")
    assert (result.exit_code, result.stdout) == (0, "model\n"), result.output
    assert asked.pop("on_progress") is not None
    assert asked == {
        "transformer": Path("a.pth"),
        "autoencoder": Path("b.pth"),
        "text_encoder": Path("t5"),
        "out": Path("model"),
        "preset": "2b-512",
        "use_ema": False,
        "dtype": "keep",
    }


def test_convert_finds_the_published_names_in_a_folder(folder, monkeypatch):
    asked = {}
    monkeypatch.setattr("varedit.conversion.convert", lambda **options: asked.update(options), raising=False)
    for name in ("2B-512.pth", "infinity_vae_d32reg.pth", "8B-512.pth"):
        Path(name).touch()
    assert varedit("convert", ".", "--preset", "2b-512", "-o", "model").exit_code == 0
    assert asked["transformer"] == Path("2B-512.pth") and asked["autoencoder"] == Path("infinity_vae_d32reg.pth")
    assert asked["text_encoder"] is None


@pytest.mark.parametrize(
    "arguments, code, part",
    [
        (["a.pth", "b.pth", "-o", "model"], 2, "--preset"),
        (["a.pth", "--preset", "2b-512", "-o", "model"], 2, "a transformer, an autoencoder"),
        (["a.pth", "b.pth", "--preset", "2b-512", "-o", "model"], 66, "a.pth does not exist"),
        ([".", "--preset", "2b-512", "-o", "model"], 66, "2B-512.pth does not exist"),
        ([".", "--preset", "huge", "-o", "model"], 2, "huge"),
        (["cup.png", "cat.jpg", "--preset", "2b-512", "-o", "."], 73, "exists"),
    ],
)
def test_a_bad_conversion_is_one_sentence(folder, arguments, code, part):
    assert_one_sentence(varedit("convert", *arguments), code, part)


def test_every_command_is_a_click_command_of_its_name():
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None and command.name == name


@pytest.fixture
def model_folder(folder):
    """A model folder with weights of no meaning: 11 + 20 parameters."""
    from safetensors.numpy import save_file

    from varedit.config import AutoencoderConfig, EditorConfig, ScheduleConfig, TransformerConfig

    config = EditorConfig(
        name="toy",
        autoencoder=AutoencoderConfig(latent_channels=6, base_channels=8, norm="pixel", channel_multipliers=(1, 2, 2)),
        transformer=TransformerConfig(
            width=48, depth=3, num_heads=4, ffn_hidden=96, token_bits=6, text_channels=16, pool_heads=4
        ),
        schedule=ScheduleConfig(templates={"wide": [[1, 1], [2, 3], [4, 5]], "square": [[1, 1], [2, 2], [4, 4]]}),
    )
    for part, weights in (("transformer", {"a": (2, 3), "b": (5,)}), ("autoencoder", {"c": (4, 5)})):
        (folder / "toy" / part).mkdir(parents=True)
        arrays = {name: np.zeros(shape, np.float32) for name, shape in weights.items()}
        save_file(arrays, folder / "toy" / part / "model.safetensors")
    (folder / "toy" / "config.json").write_text(config.to_json(), encoding="utf-8")
    return folder / "toy"


def test_info_tells_sizes_schedules_and_memory(model_folder):
    result = varedit("info", "toy", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["parameters"] == {"autoencoder": 20, "transformer": 11, "all": 31}
    wide, square = facts["templates"]
    assert (wide["name"], wide["size"], wide["target_tokens"], wide["source_tokens"]) == ("wide", [20, 16], 27, 20)
    assert wide["scales"] == [[1, 1], [2, 3], [4, 5]]
    assert square["size"] == [16, 16]
    assert wide["memory_bytes"]["float32"] > wide["memory_bytes"]["bfloat16"] > 0


def test_info_for_a_person_is_a_table_with_every_template(model_folder):
    lines = varedit("info", "toy").stdout.splitlines()
    assert lines[0].startswith("toy: ")
    assert [line.split()[:4] for line in lines[-2:]] == [["wide", "20x16", "27", "20"], ["square", "16x16", "21", "16"]]


def test_info_tells_what_options_save(model_folder):
    def memory(*options):
        facts = json.loads(varedit("info", "8b-1024", "--json", *options).stdout)
        return max(template["memory_bytes"]["bfloat16"] for template in facts["templates"])

    plain, offloaded, low = memory(), memory("--offload"), memory("--offload", "--weights", "fp8")
    assert plain > offloaded > low
    assert low < 24e9, "the largest released model fits an accelerator of 24 GB"
    assert memory("--batch", "2") > plain


def test_info_about_no_model_folder_is_one_sentence(folder):
    assert_one_sentence(varedit("info", "nowhere"), 69, "nowhere")


def test_info_about_a_damaged_model_is_one_sentence(model_folder):
    weights = model_folder / "transformer" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:20])
    assert_one_sentence(varedit("info", "toy"), 69, "model.safetensors is damaged")
    (model_folder / "config.json").write_text("{", encoding="utf-8")
    assert_one_sentence(varedit("info", "toy"), 2, "config.json")

"""Many edits: what a job consists of, how it streams, and what is left when it is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.batches import INSTRUCTION, SIZES, done_outputs, journal_lines, photographs, settings_of, times
from tests.toys import picture, toy_pipeline
from varedit.batch import stream
from varedit.batch.edits import Edit, edits_of_file, edits_of_folder, seeded
from varedit.batch.job import Summary, ThisProcess, run_job
from varedit.batch.journal import NAME, Journal, Outcome
from varedit.batch.machines import Worker, divided, outcome_of
from varedit.batch.stream import EditSettings, default_batch_size, stream_edits
from varedit.errors import InputMissing, ModelError, OutputError, UsageError, VAREditError
from varedit.pipeline import VAREditPipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "toy"
    toy_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pipeline(model: Path) -> VAREditPipeline:
    return VAREditPipeline.from_pretrained(model, device="cpu")


def list_of_edits(folder: Path, *lines: object) -> Path:
    path = folder / "edits.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


def job(tmp_path: Path, model: Path, count: int = 6, batch_size: int = 2, **options) -> Summary:
    """A job on a folder of pictures; the same one if it is called again."""
    if not (tmp_path / "photos").exists():
        photographs(tmp_path / "photos", count)
    instruction = options.pop("instruction", INSTRUCTION)
    edits = edits_of_folder(tmp_path / "photos", instruction, tmp_path / "out")
    call = options.pop("call", {})
    return run_job(edits, tmp_path / "out", settings_of(model, **call), ThisProcess(batch_size), **options)


# What a job consists of


def test_a_folder_gives_an_edit_for_each_picture_below_it(tmp_path):
    for name in ("b.jpg", "a.PNG", "deep/er/c.gif", "deep/note.txt", ".hidden.png", ".cache/d.png", "out/old.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    edits = edits_of_folder(tmp_path, " warmer ", tmp_path / "out", mask=tmp_path / "m.png")
    assert [edit.output for edit in edits] == ["a.PNG", "b.jpg", "deep/er/c.gif.png"]
    assert [edit.image for edit in edits] == [tmp_path / name for name in ("a.PNG", "b.jpg", "deep/er/c.gif")]
    assert {(edit.instruction, edit.mask, edit.seed) for edit in edits} == {("warmer", tmp_path / "m.png", None)}


def test_a_list_gives_an_edit_for_each_line(tmp_path):
    path = list_of_edits(
        tmp_path,
        {"image": "photos/a.jpg", "instruction": "warmer"},
        "",
        {"image": "/b.gif", "instruction": "darker", "id": 7, "seed": 5, "mask": "m.png", "guidance": 2},
        {"image": "a.jpg", "instruction": "sepia", "output": "x/y.webp", "temperature": [0.5, 1], "seed": None},
    )
    first, second, third = edits_of_file(path, tmp_path / "out")
    assert first == Edit(id="a.jpg", image=tmp_path / "photos/a.jpg", instruction="warmer", output="a.jpg")
    assert (second.id, second.output, second.image, second.seed) == ("7", "7.png", Path("/b.gif"), 5)
    assert (second.mask, second.guidance) == (tmp_path / "m.png", 2.0)
    assert (third.output, third.temperature, third.seed) == ("x/y.webp", [0.5, 1.0], None)
    assert Edit.from_json(second.to_json()) == second and Edit.from_json(third.to_json()) == third


GOOD = {"image": "a.png", "instruction": "warmer"}
BAD_LINES = {
    "no JSON": ("{", "line 2: it is not JSON"),
    "no object": ([1], "not an object"),
    "no image": ({"instruction": "warmer"}, '"image"'),
    "no instruction": ({"image": "b.png"}, '"instruction"'),
    "unknown key": ({**GOOD, "sede": 1}, "sede"),
    "empty instruction": ({"image": "b.png", "instruction": " "}, "line 2: the instruction is empty"),
    "instruction is no text": ({"image": "b.png", "instruction": 3}, "must be text"),
    "image is no path": ({"image": 3, "instruction": "warmer"}, '"image" must be the path'),
    "seed is no number": ({**GOOD, "output": "c.png", "seed": 1.5}, "1.5"),
    "seed too small": ({**GOOD, "output": "c.png", "seed": -1}, "-1"),
    "guidance is no number": ({**GOOD, "output": "c.png", "guidance": "much"}, "much"),
    "temperature too small": ({**GOOD, "output": "c.png", "temperature": -2}, "temperature"),
    "id is no name": ({**GOOD, "id": ["x"]}, '"id"'),
    "two of one name": (GOOD, "a.png"),
    "result outside": ({**GOOD, "output": "../c.png"}, "below"),
    "result elsewhere": ({**GOOD, "output": "/c.png"}, "below"),
    "result among the parked": ({**GOOD, "output": ".varedit/c.png"}, "below"),
    "result of no kind": ({**GOOD, "output": "c.docx"}, "c.docx"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_told_with_what_is_wrong(tmp_path, case):
    line, part = BAD_LINES[case]
    with pytest.raises(UsageError) as raised:
        edits_of_file(list_of_edits(tmp_path, GOOD, line), tmp_path / "out")
    assert part in str(raised.value) and "edits.jsonl" in str(raised.value)


def test_results_never_replace_photographs(tmp_path):
    photographs(tmp_path / "photos", 2)
    with pytest.raises(UsageError, match="replace a photograph"):
        edits_of_folder(tmp_path / "photos", "warmer", tmp_path / "photos")


@pytest.mark.parametrize("missing", ["pictures", "folder", "list", "empty list"])
def test_a_job_of_nothing_is_told(tmp_path, missing):
    with pytest.raises(InputMissing):
        if missing in ("pictures", "folder"):
            folder = tmp_path if missing == "pictures" else tmp_path / "none"
            edits_of_folder(folder, "warmer", tmp_path / "out")
        else:
            path = list_of_edits(tmp_path, " ") if missing == "empty list" else tmp_path / "none.jsonl"
            edits_of_file(path, tmp_path / "out")


def test_seeds_depend_on_the_job_and_the_name_and_not_on_the_order():
    edits = [Edit(id=name, image=Path(name), instruction="x", output=name) for name in ("a", "b", "c")]
    own = replace(edits[2], seed=11)
    forward, backward = seeded([*edits[:2], own], 5), seeded([own, edits[1], edits[0]], 5)
    assert forward == backward[::-1]
    assert forward[2].seed == 11 and forward[0].seed != forward[1].seed
    assert seeded(edits, 6)[0].seed != forward[0].seed


# Streaming


def test_results_equal_those_of_single_edits(tmp_path, pipeline, model):
    paths = photographs(tmp_path / "photos", 7)
    Image.fromarray(np.tile(np.array([[0, 255]], np.uint8), (10, 6))).save(tmp_path / "mask.png")  # of 12x10, as 00.png
    words = [f"make it {word}" for word in ("warmer", "darker", "white", "black", "a lot darker", "warmer", "black")]
    lines: list[dict[str, Any]] = [
        {"image": str(path), "instruction": text} for path, text in zip(paths, words, strict=True)
    ]
    lines[0]["mask"] = "mask.png"
    lines[1] |= {"guidance": 4, "temperature": 0.3}
    edits = edits_of_file(list_of_edits(tmp_path, *lines), tmp_path / "out")
    summary = run_job(edits, tmp_path / "out", settings_of(model, top_p=0.9), ThisProcess(3), seed=4)
    assert (summary.done, summary.skipped, summary.failed, summary.seed) == (7, 0, 0, 4)
    for edit, words_of_it in zip(seeded(edits, 4), words, strict=True):
        own = {"guidance_scale": edit.guidance, "temperature": edit.temperature}
        alone = pipeline(edit.image, words_of_it, seed=edit.seed, mask=edit.mask, top_p=0.9, **own).images[0]
        with Image.open(tmp_path / "out" / edit.output) as image:
            assert np.array_equal(np.asarray(image), np.asarray(alone)), edit.output


def test_edits_of_one_template_are_drawn_together(tmp_path, pipeline, model, monkeypatch):
    drawn: list[list[int]] = []
    begin = pipeline.begin

    def watched(requests, options):
        drawn.append([request.picture.width for request in requests])
        return begin(requests, options)

    monkeypatch.setattr(pipeline, "begin", watched)
    photographs(tmp_path / "photos", 16)  # four of each size; two sizes are of the square template
    edits = seeded(edits_of_folder(tmp_path / "photos", INSTRUCTION, tmp_path), 1)
    assert len(list(stream_edits(pipeline, edits, settings_of(model), tmp_path, batch_size=4))) == 16
    assert sorted(map(len, drawn)) == [4, 4, 4, 4]
    assert {frozenset(widths) for widths in drawn} == {frozenset({12, 14}), frozenset({20}), frozenset({9})}


def test_no_more_is_read_than_can_be_held(tmp_path, pipeline, model, monkeypatch):
    largest = max(width * height for width, height in SIZES)
    monkeypatch.setattr(stream, "MAX_PIXELS_HELD", 3 * largest)
    photographs(tmp_path / "photos", 30)
    begun = 0

    def counted() -> Iterator[Edit]:
        nonlocal begun
        for edit in seeded(edits_of_folder(tmp_path / "photos", INSTRUCTION, tmp_path), 1):
            begun += 1
            yield edit

    held, ended = [], 0
    for _ in stream_edits(pipeline, counted(), settings_of(model), tmp_path, batch_size=8):
        held.append(begun - ended)
        ended += 1
    smallest = min(width * height for width, height in SIZES)
    assert ended == 30
    assert max(held) <= 3 * largest // smallest + 1 + stream.READERS


def test_what_cannot_be_edited_costs_its_own_edit_only(tmp_path, model):
    photographs(tmp_path / "photos", 5)
    (tmp_path / "photos/01.png").write_bytes((tmp_path / "photos/01.png").read_bytes()[:60])
    picture(680, 4).save(tmp_path / "photos/thin.png")  # read well, and refused by the model, in a batch with others
    lines = [{"image": f"photos/{name}.png", "instruction": INSTRUCTION} for name in ("00", "01", "02", "03", "thin")]
    lines += [{"image": "photos/none.png", "instruction": INSTRUCTION}]
    lines += [{"image": "photos/04.png", "instruction": INSTRUCTION, "mask": "photos/00.png", "id": "unfit"}]
    lines[1] |= {"mask": "photos/00.png"}
    edits = edits_of_file(list_of_edits(tmp_path, *lines), tmp_path / "out")
    told: list[Outcome] = []
    edits = [*edits, replace(edits[0], id="masked", output="masked.png", mask=tmp_path / "photos/01.png")]
    summary = run_job(edits, tmp_path / "out", settings_of(model), ThisProcess(8), on_outcome=told.append)
    failed = {outcome.output: outcome.error for outcome in told if outcome.error is not None}
    assert (summary.done, summary.failed) == (4, 4)
    assert set(failed) == {"01.png", "thin.png", "none.png", "masked.png"}
    assert "photos/01.png" in str(failed["01.png"]) and "680x4" in str(failed["thin.png"])
    assert "does not exist" in str(failed["none.png"]) and "ends early" in str(failed["masked.png"])
    lines_of = {line["output"]: line for line in journal_lines(tmp_path / "out")}
    assert {output for output, line in lines_of.items() if line["state"] == "failed"} == set(failed)
    assert lines_of["thin.png"]["error"] == failed["thin.png"]
    assert not any((tmp_path / "out" / output).exists() for output in failed)


def test_a_format_that_cannot_hold_a_picture_fails_its_edit(tmp_path, model):
    Image.new("1", (17_000, 1100)).save(tmp_path / "wide.png")
    lines = [{"image": "wide.png", "instruction": INSTRUCTION, "output": "wide.webp"}]
    told: list[Outcome] = []
    edits = edits_of_file(list_of_edits(tmp_path, *lines), tmp_path / "out")
    run_job(edits, tmp_path / "out", settings_of(model), ThisProcess(1), on_outcome=told.append)
    assert "WEBP" in str(told[0].error)


def test_a_full_disk_ends_the_job(tmp_path, model, monkeypatch):
    def full(*_, **__):
        raise OutputError("no space left")

    monkeypatch.setattr("varedit.batch.stream.save_image", full)
    with pytest.raises(OutputError, match="no space"):
        job(tmp_path, model)
    monkeypatch.undo()
    assert job(tmp_path, model).done == 6


def test_the_default_batch_is_what_memory_allows(pipeline, monkeypatch):
    assert default_batch_size(pipeline) == stream.MAX_CPU_BATCH
    monkeypatch.setattr(stream, "CPU_BATCH_BYTES", 1)
    assert default_batch_size(pipeline) == 1


# Resuming


def same_picture(one: Path, other: Path) -> bool:
    """Files also tell the batch that their edit was drawn in, which may be another one."""
    return np.array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(other)))


class Killed(BaseException):
    """Stands for SIGKILL: nothing may tidy up after it."""


@pytest.fixture(scope="module")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    job(folder, model, count=4, seed=8)
    return folder / "out"


@pytest.mark.parametrize("step", range(10))
def test_wherever_a_job_is_killed_nothing_is_lost_and_nothing_done_twice(
    tmp_path, model, uninterrupted, monkeypatch, step
):
    steps = 0

    def dying(name):
        act = getattr(Journal, name)

        def step_or_die(self, given):
            nonlocal steps
            if steps == step:
                raise Killed
            steps += 1
            act(self, given)

        return step_or_die

    with monkeypatch.context() as patches:
        for name in ("_append", "_place"):
            patches.setattr(Journal, name, dying(name))
        patches.setattr("shutil.rmtree", lambda *_, **__: None)
        is_killed = False
        try:
            job(tmp_path, model, count=4, seed=8)
        except Killed:
            is_killed = True
    assert is_killed == (step < 9)  # a header, four lines, four results
    listed, before = set(done_outputs(tmp_path / "out")), times(tmp_path / "out")
    assert len(listed) == step // 2
    summary = job(tmp_path, model, seed=None if step else 8)  # which no line told before the first step
    assert (summary.done, summary.skipped) == (4 - len(listed), len(listed))
    assert sorted(done_outputs(tmp_path / "out")) == [f"0{index}.png" for index in range(4)]
    after = times(tmp_path / "out")
    assert {name: when for name, when in after.items() if name in before} == {
        name: when for name, when in before.items() if "/" not in name
    }
    assert set(after) == set(times(uninterrupted))
    for name in after:
        assert same_picture(tmp_path / "out" / name, uninterrupted / name)


def test_a_job_that_is_done_loads_no_model(tmp_path, model):
    job(tmp_path, model)
    before = times(tmp_path / "out")
    photos = tmp_path / "photos"
    edits = edits_of_folder(photos, INSTRUCTION, tmp_path / "out")
    shown: list[tuple[int, int]] = []

    class Nobody:
        def outcomes(self, *_):
            raise AssertionError("there is nothing to do")

    def start(todo, skipped):
        shown.append((todo, skipped))

    summary = run_job(edits, tmp_path / "out", settings_of(model), Nobody(), on_start=start)
    assert (summary.done, summary.skipped, shown) == (0, 6, [(0, 6)])
    assert times(tmp_path / "out") == before


def test_a_line_that_was_being_written_is_made_again(tmp_path, model):
    job(tmp_path, model)
    path = tmp_path / "out" / NAME
    path.write_bytes(path.read_bytes()[:-9])
    last = json.loads(path.read_text(encoding="utf-8").splitlines()[-2])["output"]
    (tmp_path / "out" / sorted(set(times(tmp_path / "out")) - set(done_outputs_before(path)))[0]).unlink()
    assert job(tmp_path, model).done == 1
    assert last in done_outputs(tmp_path / "out") and len(done_outputs(tmp_path / "out")) == 6


def done_outputs_before(journal: Path) -> list[str]:
    """Outputs of the whole lines of a journal whose last line is torn."""
    return [json.loads(line)["output"] for line in journal.read_text(encoding="utf-8").splitlines()[1:-1]]


def test_a_result_that_was_deleted_is_made_again(tmp_path, model):
    job(tmp_path, model, seed=3)
    before = (tmp_path / "out/02.png").read_bytes()
    (tmp_path / "out/02.png").unlink()
    summary = job(tmp_path, model)
    assert (summary.done, summary.skipped, summary.seed) == (1, 5, 3)
    assert (tmp_path / "out/02.png").read_bytes() == before


def test_what_failed_is_tried_again(tmp_path, model):
    paths = photographs(tmp_path / "photos", 3)
    good = paths[1].read_bytes()
    paths[1].write_bytes(good[:50])
    assert job(tmp_path, model).failed == 1
    assert job(tmp_path, model).failed == 1
    paths[1].write_bytes(good)
    assert (job(tmp_path, model).done, len(done_outputs(tmp_path / "out"))) == (1, 3)


OTHERS: dict[str, dict[str, Any]] = {
    "instruction": {"instruction": "make it darker"},
    "seed": {"seed": 2},
    "guidance": {"call": {"guidance_scale": 3.0}},
}


@pytest.mark.parametrize("other", [*OTHERS, "image"])
def test_another_job_for_the_same_results_is_refused_unless_forced(tmp_path, model, other):
    job(tmp_path, model, count=3, seed=1)
    before = times(tmp_path / "out")
    if other == "image":
        picture(30, 20, seed=40).save(tmp_path / "photos/01.png")
    with pytest.raises(OutputError, match=r"0[01]\.png.*--force"):
        job(tmp_path, model, **OTHERS.get(other, {}))
    assert times(tmp_path / "out") == before
    forced = job(tmp_path, model, **OTHERS.get(other, {}), force=True)
    assert (forced.done, forced.skipped) == ((1, 2) if other == "image" else (3, 0))
    again = job(tmp_path, model, **OTHERS.get(other, {}), force=True)
    assert (again.done, again.skipped) == (0, 3)


def test_files_of_others_are_refused_unless_forced(tmp_path, model):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/01.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"01\.png exists.*--force"):
        job(tmp_path, model, count=3)
    assert (tmp_path / "out/01.png").read_bytes() == b"mine"
    assert job(tmp_path, model, force=True).done == 3


def test_a_folder_of_results_belongs_to_one_process_at_a_time(tmp_path):
    with Journal.open(tmp_path / "out"), pytest.raises(OutputError, match="another process"):
        Journal.open(tmp_path / "out")
    with Journal.open(tmp_path / "out"):
        pass
    assert [path.name for path in (tmp_path / "out").iterdir()] == [NAME]


@pytest.mark.parametrize(
    "line, part", [('{"output": "a.png"}', "line 1"), ("no JSON", "line 1"), ('{"job": 99}', "another version")]
)
def test_a_journal_that_is_none_is_told(tmp_path, line, part):
    (tmp_path / NAME).write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(OutputError, match=part):
        Journal.open(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VAREditError, match="file"):
        Journal.open(tmp_path / "file" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# Many machines, without Ray


def block_of(edits: list[Edit]) -> dict[str, Any]:
    return {"edit": np.array([edit.to_json() for edit in edits])}


def rows_of(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_a_worker_makes_its_block_and_holds_one_model(tmp_path, model, monkeypatch):
    photographs(tmp_path / "photos", 3)[1].write_bytes(b"")
    settings = settings_of(model)
    edits = seeded(edits_of_folder(tmp_path / "photos", INSTRUCTION, tmp_path), 1)
    worker = Worker(settings, str(tmp_path), 2)
    outcomes = {outcome.output: outcome for outcome in map(outcome_of, rows_of(worker(block_of(edits))))}
    assert {name: outcome.error is None for name, outcome in outcomes.items()} == {
        "00.png": True,
        "01.png": False,
        "02.png": True,
    }
    assert outcomes["02.png"].settings == settings.fingerprint(edits[2])
    assert all((tmp_path / str(outcomes[name].parked)).is_file() for name in ("00.png", "02.png"))
    monkeypatch.setattr(EditSettings, "load", lambda self: pytest.fail("a second model was loaded"))
    assert len(rows_of(worker(block_of(edits[:1])))) == 1


def test_what_stops_a_worker_stops_the_job_with_its_sentence(tmp_path):
    photographs(tmp_path / "photos", 1)
    edits = seeded(edits_of_folder(tmp_path / "photos", INSTRUCTION, tmp_path), 1)
    (row,) = rows_of(Worker(settings_of(tmp_path / "nowhere"), str(tmp_path), 2)(block_of(edits)))
    with pytest.raises(ModelError, match="nowhere"):
        outcome_of(row)


class Cluster:
    """Stands for Ray: machines with (processors, GPUs)."""

    def __init__(self, *machines: tuple[int, int]) -> None:
        self.machines = machines

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": float(cpus), "GPU": float(gpus)}} for cpus, gpus in self.machines]


@pytest.mark.parametrize(
    "machines, workers, device, expected",
    [
        ([(16, 4), (16, 4)], None, "auto", (8, 4, 1)),
        ([(16, 4), (16, 4)], 3, "cuda", (3, 8, 1)),
        ([(16, 4), (16, 4)], None, "cpu", (2, 16, 0)),
        ([(8, 0), (4, 0)], None, "auto", (2, 4, 0)),
        ([(2, 0)], 2, "auto", (2, 1, 0)),
    ],
)
def test_a_cluster_is_divided_among_workers(machines, workers, device, expected):
    share = divided(Cluster(*machines), workers, device)
    assert (share.workers, share.cpus, share.gpus) == expected


@pytest.mark.parametrize("machines, workers, part", [([(2, 0)], 3, "processors"), ([(64, 2)], 3, "--workers 2")])
def test_more_workers_than_a_cluster_holds_are_refused(machines, workers, part):
    with pytest.raises(UsageError, match=part):
        divided(Cluster(*machines), workers, "auto")

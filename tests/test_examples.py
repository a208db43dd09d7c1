"""Every example runs, with the model inside the package, and does what it says."""

from __future__ import annotations

import ast
import importlib.util
import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from varedit.pipeline import VAREditPipeline
from varedit.provenance import recorded

EXAMPLES = Path(__file__).parents[1] / "examples"
PHOTOGRAPH = EXAMPLES / "chelsea.jpg"
TESTED = {"edit_one.py", "edit_batch.py", "watch_scales.py", "gradio_app.py", "make_pictures.py"}


def example(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def one_model() -> Any:
    """All examples load the same model once."""
    pipeline = VAREditPipeline.from_pretrained()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VAREditPipeline, "from_pretrained", lambda *args, **kwargs: pipeline)
        yield pipeline


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_every_example_is_tested_and_told():
    assert {path.name for path in EXAMPLES.glob("*.py")} == TESTED
    told = (EXAMPLES / "README.md").read_text()
    untold = {path.name for path in EXAMPLES.iterdir() if path.is_file() and f"`{path.name}`" not in told}
    assert untold == {"README.md"}


def test_edit_one_makes_a_grey_picture_that_tells_its_making(tmp_path, capsys):
    result = tmp_path / "result.png"
    example("edit_one").main(str(PHOTOGRAPH), "make it black and white", str(result))
    edited = pixels(result).astype(int)
    assert edited.shape == pixels(PHOTOGRAPH).shape
    assert np.abs(edited - edited.mean(axis=2, keepdims=True)).mean() < 6
    assert recorded(result)["seed"] == 7
    assert capsys.readouterr().out.startswith(f"{result}: seed 7, ")


def test_edit_batch_writes_one_picture_an_instruction(tmp_path):
    example("edit_batch").main(str(PHOTOGRAPH), str(tmp_path / "new"))
    paths = sorted((tmp_path / "new").iterdir())
    assert [path.stem for path in paths] == ["give-it-a-sepia-tone", "invert-the-colours", "make-it-a-lot-warmer"]
    source = pixels(PHOTOGRAPH).astype(int)
    inverted, warmer = pixels(paths[1]).astype(int), pixels(paths[2]).astype(int)
    assert np.abs(inverted - (255 - source)).mean() < np.abs(inverted - source).mean() / 2
    assert (warmer[..., 0] - warmer[..., 2]).mean() > (source[..., 0] - source[..., 2]).mean() + 5


def test_watch_scales_comes_closer_with_every_scale(tmp_path, capsys):
    example("watch_scales").main(str(PHOTOGRAPH), "make it a lot cooler", str(tmp_path))
    paths = sorted(tmp_path.iterdir(), key=lambda path: int(path.stem.split("-")[1]))
    assert len(paths) == len(capsys.readouterr().out.splitlines()) > 4
    pictures = [pixels(path).astype(int) for path in paths]
    distances = [np.abs(picture - pictures[-1]).mean() for picture in pictures]
    assert distances[0] > 1.3 * distances[-2] > 0 and distances[-1] == 0


def test_the_app_streams_previews_and_tells_errors_in_a_line():
    app = example("gradio_app")
    photograph = Image.open(PHOTOGRAPH).convert("RGB")
    events = list(app.edit(photograph, app.EXAMPLES[0], 7.0))
    (before, after), line = events[-1]
    assert before is photograph and after.size == photograph.size and line.startswith(f"scale {len(events)} of")
    assert np.asarray(after).astype(int).std(axis=2).mean() < 6
    assert list(app.edit(None, "warmer", 1)) == [(None, "Give a photograph and an instruction.")]
    assert list(app.edit(photograph, "warmer", -4)) == [
        (None, "a seed must be a whole number from 0 to 2**63 - 1, not -4")
    ]


def test_the_app_is_built_where_gradio_is():
    pytest.importorskip("gradio")
    assert example("gradio_app").app().fns


def test_the_cells_of_the_notebook_run_in_order(monkeypatch):
    notebook = json.loads((EXAMPLES / "edit.ipynb").read_text())
    assert notebook["nbformat"] == 4
    monkeypatch.chdir(EXAMPLES)
    names: dict[str, Any] = {}
    shown = [run_cell("".join(cell["source"]), names) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
    source = pixels(EXAMPLES / "coffee.jpg")
    sizes = [value.size for value in shown if isinstance(value, Image.Image)]
    assert sizes == [(source.shape[1], source.shape[0])] * 4
    masked = np.asarray(names["masked"].images[0])
    outside = np.asarray(names["mask"]) == 0
    assert np.array_equal(masked[outside], source[outside]) and not np.array_equal(masked, source)
    assert shown[-1]["instruction"] == "make it black and white"


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does: the value of a last expression is what it shows."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)  # noqa: S102  # our own notebook
    if last is None:
        return None
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)  # noqa: S307  # as above

"""What an edit from nothing imports: the largest part of its time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import varedit
from tests.toys import picture, toy_editor


def test_an_edit_imports_no_more_than_it_needs_and_searches_none_of_it_for_garbage(tmp_path):
    toy_editor().save(tmp_path / "toy")
    picture(30, 30).save(tmp_path / "photo.png")
    code = (
        "import gc, sys; from varedit.cli import cli, prepare_process; prepare_process();"
        "cli(['edit', 'photo.png', 'warmer', '-m', 'toy', '-o', 'out.png', '--quiet'], standalone_mode=False);"
        "print({'transformers', 'torch._dynamo', 'sympy', 'scipy', 'huggingface_hub', 'rich'} & set(sys.modules));"
        "print(gc.get_stats()[2]['collections'])"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(varedit.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["out.png", "set()", "0"], done.stderr

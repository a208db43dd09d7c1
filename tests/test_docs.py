"""The documentation: its code runs, its commands exist, its links lead somewhere, its site builds without a warning."""

from __future__ import annotations
import __future__

import importlib.util
import inspect
import json
import re
import shlex
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

from varedit.cli import cli
from varedit.pipeline import VAREditPipeline

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("integrations/*/*.md")]
)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = {"python", "sh", "json", "toml", "text", "yaml"}
NEEDS_A_DOWNLOAD = 'from_pretrained("'


def blocks(page: Path, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text(encoding="utf-8")) if found == kind]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def pages_with(kind: str) -> list[Any]:
    return [pytest.param(page, id=named(page)) for page in PAGES if blocks(page, kind)]


@pytest.fixture(scope="module")
def embedded() -> VAREditPipeline:
    return VAREditPipeline.from_pretrained()


@pytest.mark.parametrize("page", pages_with("python"))
def test_the_python_of_a_page_runs_from_top_to_bottom(page, embedded, tmp_path, monkeypatch):
    """In a folder with photographs, after a first edit; what would download a model is only compiled."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "photos").mkdir()
    with Image.open(ROOT / "examples" / "chelsea.jpg") as photograph:
        photograph.resize((90, 60)).save(tmp_path / "photos" / "cat.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(VAREditPipeline, "from_pretrained", lambda *args, **kwargs: embedded)
    names: dict[str, Any] = {"pipeline": embedded, "image": "photos/cat.jpg", "__name__": "docs"}
    for block in blocks(page, "python"):
        # types of a page's signatures need no import
        code = compile(block, named(page), "exec", __future__.annotations.compiler_flag)
        if NEEDS_A_DOWNLOAD not in block:
            exec(code, names)  # noqa: S102  # our own pages


def commands_of(text: str) -> list[list[str]]:
    """The words of every varedit command of a shell block."""
    joined = text.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        for part in line.split("|"):
            words = shlex.split(part.strip(), comments=True)
            if words[:1] == [".venv/bin/varedit"] or words[:1] == ["varedit"]:
                found.append(words[1:])
    return found


@pytest.mark.parametrize("page", pages_with("sh"))
def test_the_commands_of_a_page_and_their_options_exist(page):
    for text in blocks(page, "sh"):
        for words in commands_of(text):
            check_command(cli, words)


def check_command(command: click.Command, words: list[str]) -> None:
    context = click.Context(command)
    while isinstance(command, click.Group) and words:
        below = command.get_command(context, words[0])
        if below is None:
            assert words[0].startswith("-"), f"there is no command {words[0]}"
            break
        command, words = below, words[1:]
        context = click.Context(command)
    known = {name for parameter in command.get_params(context) for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("--") or re.fullmatch(r"-[a-z]", word):
            assert word.split("=")[0] in known | {"--help", "-h"}, f"{command.name} has no option {word}"


def test_a_command_that_does_not_exist_would_be_found():
    check_command(cli, ["edit", "a.png", "warmer", "-o", "b.png", "--seed", "3"])
    with pytest.raises(AssertionError, match="no command"):
        check_command(cli, ["edt", "a.png"])
    with pytest.raises(AssertionError, match="no option --sed"):
        check_command(cli, ["edit", "a.png", "--sed", "3"])
    assert commands_of("cat a | varedit edit - \\\n  x -o - > b  # why\nmake edit") == [
        ["edit", "-", "x", "-o", "-", ">", "b"]
    ]


@pytest.mark.parametrize("page", [pytest.param(page, id=named(page)) for page in PAGES])
def test_blocks_tell_their_kind_and_data_can_be_read(page):
    text = page.read_text(encoding="utf-8")
    kinds = re.findall(r"^```(.*)$", text, re.MULTILINE)[::2]
    assert set(kinds) <= KINDS | {""}
    for block in blocks(page, "toml"):
        tomllib.loads(block)
    for block in blocks(page, "json"):
        for line in block.splitlines() if page.name == "many-edits.md" else [block]:
            json.loads(line)


@pytest.mark.parametrize("page", [pytest.param(page, id=named(page)) for page in PAGES])
def test_links_lead_to_files_and_headings(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path) if path else page
        if "/reference/" in f"/{path}":
            continue  # written when the site is built
        assert file.exists(), f"{named(page)} links to {target}"
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}
            assert heading in slugs, f"{named(page)} links to {target}"


# The site


def make_site() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("make_site", ROOT / "docs" / "make_site.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_has_a_place_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text()
    for page in ROOT.glob("docs/**/*.md"):
        assert str(page.relative_to(ROOT / "docs")) in nav, f"mkdocs.yml does not name {page.name}"


def test_the_reference_tells_every_public_name_every_argument_and_every_command():
    site = make_site()
    python = site.python_reference()
    for argument in inspect.signature(VAREditPipeline.requests).parameters:
        assert argument in python
    for name in (
        "VAREditPipeline.from_pretrained",
        "VAREditPipeline.stream",
        "EditOutput.to_tuple",
        "ScaleEvent.preview",
    ):
        assert f"### {name}\n" in python
    assert " at 0x" not in python and "<function" not in python
    commands = site.command_reference()
    context = click.Context(cli)
    for name in cli.list_commands(context):
        assert f"## varedit {name}\n" in commands
    assert "--candidates" in commands and "## varedit eval judge\n" in commands


def test_pages_bring_what_they_link_to(tmp_path):
    make_site().main(tmp_path / "docs")
    training = (tmp_path / "docs" / "training.md").read_text()
    assert "](repository/configs/mini.toml)" in training
    assert (tmp_path / "docs" / "repository" / "configs" / "mini.toml").read_bytes() == (
        ROOT / "configs" / "mini.toml"
    ).read_bytes()
    for page in (tmp_path / "docs").rglob("*.md"):
        if "repository" not in page.parts:
            for link in re.findall(r"\]\((\.\./[^)#]+)", page.read_text()):
                assert (page.parent / link).resolve().is_relative_to(tmp_path), f"{page}: {link}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("zensical")
    make_site().main(tmp_path / "build" / "docs")
    (tmp_path / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text())
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "build" / "site" / "the-model.html").read_text()
    assert "The model in pictures" in page
    assert not re.search(r'(?:src|href)="https?://(?!zensical)[^"]*\.(?:js|css|woff2?)"', page)

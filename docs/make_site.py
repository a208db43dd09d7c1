"""Gathers the pages of the documentation site in build/docs, where `mkdocs.yml` finds them: `make docs`.

The pages of this folder are taken as they are; the reference is written from the code; files of the repository that
pages link to come along, so that no link of the site leads nowhere.
"""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
PUBLIC = {
    "varedit": ["VAREditPipeline", "EditOutput", "ScaleEvent", "VAREditError"],
    "varedit.reuse": ["ReuseSettings"],
    "varedit.candidates": ["Candidate", "Ranker", "rank_by_guidance"],
    "varedit.images": ["read_image", "load_mask", "Picture"],
    "varedit.output": ["save_image", "encode_image", "check_output_path"],
    "varedit.provenance": ["read_provenance", "recorded"],
    "varedit.replay": ["replay", "loading_of", "Replayed"],
    "varedit.credentials": ["SigningKey", "signed", "read_credentials"],
    "varedit.errors": ["UsageError", "ImageError", "InputMissing", "ModelError", "OutputError", "MissingExtra"],
}
_LINK = re.compile(r"(\]\()(\.\./[^)#]+)")


def main(target: Path) -> None:
    """Write all pages to a folder, which is emptied first."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "docs", target, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (target / "reference").mkdir()
    (target / "reference" / "python.md").write_text(python_reference(), encoding="utf-8")
    (target / "reference" / "commands.md").write_text(command_reference(), encoding="utf-8")
    shutil.copy(ROOT / "CHANGELOG.md", target / "changelog.md")
    for page in target.rglob("*.md"):
        bring_linked_files(page, target)


def bring_linked_files(page: Path, target: Path) -> None:
    """Copy what a page links to outside of docs/ into the folder ``repository``, and turn the links there."""
    original = ROOT / "docs" / page.relative_to(target)

    def turned(link: re.Match[str]) -> str:
        file = (original.parent / link[2]).resolve()
        if not file.is_file() or file.is_relative_to(ROOT / "docs"):
            return link[0]
        copy = target / "repository" / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
        return link[1] + "../" * len(page.relative_to(target).parents[:-1]) + str(copy.relative_to(target))

    page.write_text(_LINK.sub(turned, page.read_text(encoding="utf-8")), encoding="utf-8")


def python_reference() -> str:
    """What `PUBLIC` names, with signatures and docstrings."""
    parts = ["# Python\n\nWhat may be relied on. Everything else may change without notice.\n"]
    for module, names in PUBLIC.items():
        for name in names:
            value = getattr(importlib.import_module(module), name)
            parts.append(f"## {module}.{name}\n\n{described(name, value)}")
            parts += [f"### {name}.{member}\n\n{described(member, method)}" for member, method in public_methods(value)]
    return "\n".join(parts)


def public_methods(value: Any) -> Iterator[tuple[str, Any]]:
    """Methods and properties that a class defines itself and describes."""
    if not inspect.isclass(value):
        return
    for name, member in vars(value).items():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if (not name.startswith("_") or name == "__call__") and inspect.isfunction(function) and function.__doc__:
            yield name, function


def described(name: str, value: Any) -> str:
    """Signature and docstring, each in a block of its own."""
    signature = "" if is_plain_error(value) else str(inspect.signature(value))
    signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", signature)  # annotations are strings
    signature = re.sub(r"<function (?:\w+\.<lambda>|(\w+)) at \w+>", r"\1", signature)
    text = inspect.getdoc(value) or ""
    return f"```text\n{name}{signature}\n```\n\n```text\n{text}\n```\n"


def is_plain_error(value: Any) -> bool:
    """Whether a class is an exception that is made from its message."""
    return inspect.isclass(value) and issubclass(value, Exception) and "__init__" not in vars(value)


def command_reference() -> str:
    """The help of every command."""
    from varedit.cli import cli

    texts = [f"## {name}\n\n```text\n{text}\n```\n" for name, text in helps(cli, None, "varedit")]
    return "# Commands\n\n" + "\n".join(texts)


def helps(command: click.Command, parent: click.Context | None, name: str) -> Iterator[tuple[str, str]]:
    """(name with those of its groups, help) of a command and all below it."""
    context = click.Context(command, parent=parent, info_name=name.split()[-1], max_content_width=100)
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None, f"{below} is listed"
            yield from helps(found, context, f"{name} {below}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

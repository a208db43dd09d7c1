"""The tables `material.toml` and `cutouts.toml` as values: which pictures of which packages are material."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

from varedit.data.licences import is_permissive
from varedit.data.packages import Origin
from varedit.errors import UsageError

Kind = Literal["photograph", "texture", "cutout"]
TABLES = ("material.toml", "cutouts.toml")


@dataclass(frozen=True, kw_only=True)
class PictureGroup:
    """Pictures of one package that lie together and are of one kind; the fields are those of the tables.

    ``nouns`` is what each picture shows, by its name; empty but for cut-outs.
    """

    kind: Kind
    path: str
    names: tuple[str, ...]
    nouns: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    archive: str | None = None
    licence: str | None = None
    copyright: str | None = None


@dataclass(frozen=True, kw_only=True)
class PackageSource:
    """One package and what is taken from it."""

    package: str
    origin: Origin
    groups: tuple[PictureGroup, ...]


def material_sources() -> tuple[PackageSource, ...]:
    """The tables `material.toml` and `cutouts.toml`, as values."""
    folder = resources.files("varedit.data")
    return tuple(
        PackageSource(
            package=source["package"],
            origin=source["origin"],
            groups=tuple(_picture_group(group) for group in source["group"]),
        )
        for table in TABLES
        for source in tomllib.loads((folder / table).read_text("utf-8"))["source"]
    )


def _picture_group(fields: dict[str, Any]) -> PictureGroup:
    """One group of a table; cut-outs are listed by noun there, all others by name."""
    nouns = {name: noun for noun, names in fields.get("nouns", {}).items() for name in names}
    return PictureGroup(**{**fields, "nouns": nouns, "names": tuple(fields.get("names", nouns))})


def choose_sources(
    known: Sequence[PackageSource], names: Sequence[str] | None, *, permissive_only: bool = False
) -> Sequence[PackageSource]:
    """The sources with the given package names, in the table's order; an unknown name is an error.

    With ``permissive_only``, packages whose every group is stated to be under another licence are left out.
    """
    if names is None:
        names = [source.package for source in known]
    if not names:
        raise UsageError("An empty list of packages gives no material; name some, or none to take all.")
    unknown = sorted(set(names) - {source.package for source in known})
    if unknown:
        listed = ", ".join(source.package for source in known)
        raise UsageError(f"No material is known in the package {unknown[0]!r}; there is some in {listed}.")
    chosen = [source for source in known if source.package in names]
    allowed = [source for source in chosen if not permissive_only or _may_be_permissive(source)]
    if not allowed:
        raise UsageError(f"Nothing in {', '.join(names)} is under a permissive licence; leave out --permissive.")
    return allowed


def _may_be_permissive(source: PackageSource) -> bool:
    """Whether a group is stated to be permissive, or only the package's copyright file can tell."""
    return any(group.licence is None or is_permissive(group.licence) for group in source.groups)

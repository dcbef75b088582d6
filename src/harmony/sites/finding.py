"""Finding a site by its name: the project's ``sites.toml``, then the user's, then the profiles that are shipped."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from harmony.errors import ConfigError
from harmony.sites.model import Site, here
from harmony.sites.reading import Tree, build, merged, tables

FILE = "sites.toml"
#: What marks the directory of a project; files above it are not the project's.
_ROOTS = (".git", ".hg", "pyproject.toml")
#: This machine, which needs no file.
HERE = "here"


class Found(NamedTuple):
    """A site that was found: its name, the file that says so, and the site, or why it cannot be used."""

    name: str
    origin: str
    site: Site | None
    error: ConfigError | None = None


class _File(NamedTuple):
    origin: str
    tables: dict[str, Tree]


def site(asked: str | Site) -> Site:
    """Return the site of that name, or the site that is given. Raises `ConfigError` for a name that nobody gives.

    Names are looked up in ``sites.toml`` of the current directory and those above it up to the project's, in
    ``~/.config/harmony/sites.toml`` (or `XDG_CONFIG_HOME`), and among the shipped profiles. ``"here"`` is this machine.
    """
    if isinstance(asked, Site):
        return asked
    if not isinstance(asked, str) or not asked:
        raise ConfigError(f"site={asked!r} must be the name of a site, or a Site")
    levels = _levels()
    known = _names(levels)
    if asked not in known:
        near = difflib.get_close_matches(asked, known, n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
        raise ConfigError(f"there is no site {asked!r}{hint} Known here: {', '.join(known)}")
    return _made(asked, levels)


def everything() -> list[Found]:
    """Return all sites that can be named here, with those that are wrong in some way."""
    levels = _levels()
    found = []
    for name in _names(levels):
        origin = next((level.origin for level in levels if name in level.tables), "")
        try:
            found.append(Found(name, origin, _made(name, levels)))
        except ConfigError as error:
            found.append(Found(name, origin, None, error))
    return found


def _names(levels: list[_File]) -> list[str]:
    return sorted({HERE, *(name for level in levels for name in level.tables)})


def _made(name: str, levels: list[_File]) -> Site:
    if name == HERE and not any(HERE in level.tables for level in levels):
        return here()
    table, origin = _resolved(name, levels, 0, ())
    return build(name, table, origin)


def _resolved(name: str, levels: list[_File], first: int, path: tuple[tuple[str, int], ...]) -> tuple[Tree, str]:
    """Return the whole table of a site. Its base of the same name is the one further out."""
    for index in range(first, len(levels)):
        origin, there = levels[index]
        if name not in there:
            continue
        if (name, index) in path:
            circle = " → ".join(each for each, _ in [*path, (name, index)])
            raise ConfigError(f"{origin}: [{name}] is its own base: {circle}")
        table = there[name]
        base = table.get("base")
        if base is None:
            return table, origin
        if not isinstance(base, str):
            raise ConfigError(f"{origin}: [{name}]: base={base!r} must be the name of a site")
        start = index + 1 if base == name else 0
        below, _ = _resolved(base, levels, start, (*path, (name, index)))
        return merged(below, table), origin
    known = _names(levels)
    asker, index = path[-1]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"{levels[index].origin}: [{asker}]: base={name!r} is no site{hint}")


def _levels() -> list[_File]:
    return [*(_read(path) for path in _own_files()), *_profiles()]


def _read(path: Path) -> _File:
    try:
        owner = path.stat().st_uid
        if owner not in (os.getuid(), 0, os.stat(".").st_uid):  # its set-up lines would run as this user
            raise ConfigError(f"{path} is another user's (number {owner}), so it is not read; copy what you need of it")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text in UTF-8") from error
    return _File(str(path), tables(text, str(path)))


def _own_files() -> Iterator[Path]:
    """The files of the project, the nearest first, and that of the user."""
    for directory in _project():
        if (path := directory / FILE).is_file():
            yield path
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    if (path := Path(config, "harmony", FILE).expanduser()).is_file():
        yield path


def _project() -> list[Path]:
    """The current directory, and those above it as far as they are the same project's."""
    current = Path.cwd()
    passed = [current]
    for directory in [current, *current.parents]:
        if directory != current:
            passed.append(directory)
        if any((directory / name).exists() for name in _ROOTS):
            return passed
    return [current]  # what lies above is not known to be ours


def _profiles() -> list[_File]:
    folder = files("harmony.sites") / "profiles"
    found = []
    for path in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if path.name.endswith(".toml"):
            origin = f"profile {path.name.removesuffix('.toml')}"
            found.append(_File(origin, tables(path.read_text(encoding="utf-8"), origin)))
    return found

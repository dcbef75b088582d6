"""Where the store of a program is: `.harmony` beside it, unless the user says otherwise."""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import NamedTuple

from harmony.errors import StoreError

NAME = ".harmony"
VARIABLE = "HARMONY_STORE"
#: The program of a session at a prompt or in a notebook, which has no file.
INTERACTIVE = "<interactive>"


class Place(NamedTuple):
    """A store's directory, whether it was asked for, and the path of the program that uses it."""

    directory: str
    is_chosen: bool
    program: str

    @property
    def root(self) -> str:
        """The directory that the store is in; paths below it are kept relative, so that a project can be moved."""
        return os.path.dirname(self.directory)


def locate(asked: bool | str | os.PathLike[str]) -> Place | None:
    """Return where a run of this process is to be stored, or None for nowhere.

    `asked` is a directory, False for no store, or True for the default: what `HARMONY_STORE` names ("none" for
    nowhere), else `.harmony` beside the program, else (it is installed, or there is none) in the current directory.
    """
    program = _program()
    if asked is False or (isinstance(asked, str) and asked.lower() == "none"):
        return None
    if asked is not True:
        return _chosen(os.fspath(asked), program, "store")
    named = os.environ.get(VARIABLE, "")
    if named.lower() == "none":
        return None
    if named:
        return _chosen(named, program, VARIABLE)
    directory = os.getcwd()
    if program != INTERACTIVE and not _is_installed(program):
        directory = os.path.dirname(program)
    return Place(os.path.join(directory, NAME), False, _shown(program, directory))


def find(asked: str | None) -> str:
    """Return the store that a reader means: `asked`, `HARMONY_STORE`, else the nearest `.harmony` from here upwards.

    A directory without a database is no store: ``~/.harmony`` is also where jobs keep their scripts. Raises
    `StoreError` where there is none.
    """
    from harmony.store.database import NAME as DATABASE

    named = asked or os.environ.get(VARIABLE, "")
    if named and named.lower() != "none":
        path = os.path.abspath(named)
        if os.path.basename(path) == DATABASE and os.path.isfile(path):
            return os.path.dirname(path)
        if not os.path.isfile(os.path.join(path, DATABASE)):
            there = f"is there, but has no {DATABASE}" if os.path.isdir(path) else "is not there"
            raise StoreError(
                f"{'--store' if asked else VARIABLE}={named}: {path} {there}, so no run was recorded in it; give the "
                f"directory that was the program's store, by default {NAME} beside it"
            )
        return path
    return _nearest(os.getcwd(), DATABASE)


def _nearest(here: str, database: str) -> str:
    directory, passed = here, ""
    while True:
        path = os.path.join(directory, NAME)
        if os.path.isfile(os.path.join(path, database)):
            return path
        if not passed and os.path.isdir(path):
            passed = f" ({path} is there, but has no {database})"
        above = os.path.dirname(directory)
        if above == directory:
            raise StoreError(
                f"there is no {os.path.join(NAME, database)} in {here} or above{passed}; run this beside the program, "
                f"or name its store: --store PATH, or {VARIABLE}=PATH"
            )
        directory = above


def _chosen(path: str, program: str, what: str) -> Place:
    if not path or "\0" in path:
        raise StoreError(f"{what}={path!r} is not a path; give a directory, or 'none'")
    directory = os.path.abspath(path)
    return Place(directory, True, _shown(program, os.path.dirname(directory)))


def _program() -> str:
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return os.path.realpath(path) if path and not sys.flags.interactive else INTERACTIVE


def _shown(program: str, root: str) -> str:
    return program.removeprefix(os.path.join(os.path.realpath(root), ""))


def _is_installed(program: str) -> bool:
    """True for what pip or the system has put there, such as a notebook server or a test runner."""
    places = {*sysconfig.get_paths().values(), "/usr/bin", "/usr/lib", "/usr/local/bin", "/usr/local/lib"}
    return any(program.startswith(os.path.join(os.path.realpath(place), "")) for place in places)

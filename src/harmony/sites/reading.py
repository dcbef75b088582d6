"""Reading ``sites.toml``: tables become sites, and what is misspelt is named with what was probably meant."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import Any

from harmony.errors import ConfigError, shown
from harmony.sites.model import Blocks, Site

Tree = dict[str, Any]

_BLOCK_KEYS = tuple(item.name for item in fields(Blocks))
#: `base` names the site that this one changes.
KEYS = (*(item.name for item in fields(Site) if item.name != "name"), "base")
_TIMES = ("walltime", "blocks.idle", "blocks.patience")


def toml_reader() -> Callable[[str], Tree]:
    """Return the function that reads TOML, which is in the standard library since Python 3.11."""
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib.loads
    import tomli

    reader: Callable[[str], Tree] = tomli.loads
    return reader


def tables(text: str, origin: str) -> dict[str, Tree]:
    """Return the tables of a file by the sites' names. Raises `ConfigError` for what is none, naming `origin`."""
    try:
        found = toml_reader()(text)
    except ValueError as error:
        raise ConfigError(f"{origin} is not TOML: {error}") from error
    for name, table in found.items():
        where = f"{origin}: [{name}]"
        if not isinstance(table, dict):
            raise ConfigError(f"{origin}: {name} = {shown(table)} is in no site; write it under the line [NAME] of one")
        _check_keys(table, KEYS, where)
        if "blocks" in table:
            if not isinstance(table["blocks"], dict):
                raise ConfigError(f"{where}: blocks={shown(table['blocks'])} must be a table, as blocks.max = 4")
            _check_keys(table["blocks"], _BLOCK_KEYS, f"{where}: blocks")
        _check_times(table, where)
    return found


def _check_keys(table: Mapping[str, object], known: Collection[str], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
            raise ConfigError(f"{where}: there is no key {key!r}{hint} The keys are {', '.join(sorted(known))}")


def _check_times(table: Tree, where: str) -> None:
    for name in _TIMES:
        group, dot, key = name.rpartition(".")
        value = table.get(group, {}).get(key) if dot else table.get(name)
        if isinstance(value, int | float):
            raise ConfigError(f"{where}: {name}={value!r} has no unit; write '90s', '30m', '2h' or '1:30:00'")


def merged(base: Tree, table: Tree) -> Tree:
    """Return a site's table with all that it does not say itself taken from its base; tables in it likewise."""
    both = {**base, **{key: value for key, value in table.items() if key != "base"}}
    for key in ("blocks", "options", "attributes"):
        if key in base and key in table and isinstance(base[key], dict) and isinstance(table[key], dict):
            if key == "attributes":
                both[key] = {**_flat(base[key]), **_flat(table[key])}
            else:
                both[key] = {**base[key], **table[key]}
    return both


def build(name: str, table: Tree, origin: str) -> Site:
    """Return the site of a table. Raises `ConfigError` naming `origin`, the key and the value that cannot be."""
    given = {key: value for key, value in table.items() if key not in ("base", "blocks")}
    if isinstance(given.get("attributes"), dict):
        given["attributes"] = _flat(given["attributes"])
    try:
        return Site(name, **given, blocks=Blocks(**table.get("blocks", {})))
    except ConfigError as error:
        raise type(error)(f"{origin}: {error}") from error


def _flat(groups: Tree) -> Tree:
    """``{"slurm": {"constraint": "cpu"}}``, as TOML reads ``slurm.constraint``, in the words of a job."""
    found: Tree = {}
    for name, value in groups.items():
        group = value if isinstance(value, dict) else None
        found.update({name: value} if group is None else {f"{name}.{key}": item for key, item in group.items()})
    return found

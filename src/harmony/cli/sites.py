"""``harmony sites``: which machines are known by name, what they say, and whether they work."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harmony.sites import Site

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_COLUMNS = ("NAME", "SCHEDULER", "NODES", "CORES", "GPUS", "ENGINE", "FROM", "DESCRIPTION")


@click.group("sites")
def sites_command() -> None:
    """Machines by name: where workers run, and how they are started there.

    Sites are in sites.toml of the project, in ~/.config/harmony/sites.toml, and among the profiles that come with
    Harmony; the first of a name counts.
    """


@sites_command.command("list")
@_JSON
@click.pass_context
def list_sites(context: click.Context, as_json: bool) -> None:
    """Show all sites that can be named here."""
    from harmony.sites import everything

    with _told_as_usage():
        found = everything()
    if as_json:
        rows = [
            {
                "name": item.name,
                "origin": item.origin or None,
                "site": None if item.site is None else item.site.as_dict(),
                "error": None if item.error is None else str(item.error),
            }
            for item in found
        ]
        click.echo(json.dumps(rows, indent=2))
    else:
        _show_columns([_COLUMNS, *(_row(item.name, item.origin, item.site) for item in found if item.site)])
    wrong = [item for item in found if item.error]
    for item in wrong:
        click.echo(f"{item.name}: {item.error}", err=True)
    context.exit(1 if wrong else 0)


@sites_command.command()
@click.argument("name")
@click.option("--script", is_flag=True, help="Print the job script of one block instead.")
@_JSON
def show(name: str, script: bool, as_json: bool) -> None:
    """Show what a site says, with all that it takes from its base; or the script of its jobs."""
    with _told_as_usage():
        site = _site(name)
        if script:
            from harmony.pilots.block import sample_script

            click.echo(sample_script(site), nl=False)
            return
    if as_json:
        click.echo(json.dumps(site.as_dict(), indent=2))
    else:
        click.echo("\n".join(_toml(site)))


@sites_command.command()
@click.argument("name")
@click.option("--wait", metavar="TIME", default="10m", show_default=True, help="How long the job may wait to start.")
@_JSON
@click.pass_context
def check(context: click.Context, name: str, wait: str, as_json: bool) -> None:
    """Submit a job of a minute to a site, and say what works.

    The status is 0 when all is well, and 1 when something is not.
    """
    from harmony.pilots.check import Finding
    from harmony.pilots.check import check as checked
    from harmony.sites.model import in_seconds

    found: list[Finding] = []

    def tell(finding: Finding) -> None:
        found.append(finding)
        if not as_json:
            mark = click.style("ok", fg="green") if finding.is_well else click.style("NO", fg="red")
            click.echo(f"{mark}  {finding.what}: {finding.detail}")

    with _told_as_usage():
        all_well = checked(_site(name), in_seconds("--wait", wait), tell)
    if as_json:
        click.echo(json.dumps({"site": name, "all_well": all_well, "findings": [f._asdict() for f in found]}, indent=2))
    context.exit(0 if all_well else 1)


@contextmanager
def _told_as_usage() -> Iterator[None]:
    """Turn errors of ours into those that click shows."""
    from harmony.errors import HarmonyError

    try:
        yield
    except HarmonyError as error:
        raise click.UsageError(str(error)) from error


def _site(name: str) -> Site:
    from harmony.sites import site

    return site(name)


def _row(name: str, origin: str, site: Site) -> tuple[str, ...]:
    cores, gpus = (("" if count is None else str(count)) for count in (site.cores_per_node, site.gpus_per_node))
    return name, site.scheduler, str(site.nodes), cores, gpus, site.engine or "", origin, site.description


def _show_columns(rows: list[tuple[str, ...]]) -> None:
    import sys

    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(row))
        return
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _toml(site: Site) -> list[str]:
    """A site as sites.toml has it."""
    plain: dict[str, Any] = {}
    tables: dict[str, Mapping[str, Any]] = {}
    for key, value in _with_units(site.as_dict()).items():
        if isinstance(value, Mapping):
            tables[key] = value
        elif key != "name":
            plain[key] = value
    lines = [f"[{_key(site.name)}]", *(f"{key} = {_value(value)}" for key, value in plain.items())]
    for key, table in tables.items():
        if table:
            lines += ["", f"[{_key(site.name)}.{key}]", *(f"{_key(k)} = {_value(v)}" for k, v in table.items())]
    return lines


def _with_units(given: Mapping[str, Any]) -> dict[str, Any]:
    """Times as a file must have them."""
    times = {key: f"{given[key]:g}s" for key in ("walltime", "idle", "patience") if key in given}
    blocks = {"blocks": _with_units(given["blocks"])} if "blocks" in given else {}
    return {**given, **times, **blocks}


def _key(text: str) -> str:
    return text if text.replace("-", "").replace("_", "").isalnum() and text.isascii() else json.dumps(text)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool | int | str):
        return json.dumps(value)
    return json.dumps(str(value)) if not isinstance(value, float) else repr(value)

"""Engines: one file or folder for each; none imports another. Here, how they are made from names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harmony import plugins
from harmony.core.engine import Engine
from harmony.errors import ConfigError

if TYPE_CHECKING:
    from harmony.sites import Site

#: What runs tasks on a site that names no engine.
ON_SITES = "parsl"


def make_engines(
    engine: str | Engine | None,
    engines: Mapping[str, str | Engine] | None = None,
    *,
    workers: int | None = None,
    site: str | Site | None = None,
) -> dict[str, Engine]:
    """Return the engines of a workflow by name: `engine`, or all `engines`, or that of `site`, or the local one.

    `workers` and `site` go to engines that are named. Raises `ConfigError` for what makes no sense together, and
    `PluginError` for an unknown engine.
    """
    if engines is not None:
        for name, other in (("engine", engine), ("site", site)):
            if other is not None:
                raise ConfigError(f"engines= names several engines, so {name}={other!r} cannot replace them; give one")
        if not engines:
            raise ConfigError("engines={} names no engine; give at least one, or leave it out")
        return {name: _make(item, workers, None) for name, item in engines.items()}
    machine = _site(site)
    picked = engine or (machine and machine.engine) or (ON_SITES if machine else "local")
    return {picked if isinstance(picked, str) else type(picked).__name__: _make(picked, workers, machine)}


def _site(asked: str | Site | None) -> Site | None:
    if asked is None:
        return None
    from harmony.sites import site

    return site(asked)


def _make(engine: str | Engine, workers: int | None, site: Site | None) -> Engine:
    if not isinstance(engine, str):
        if isinstance(engine, type) or not isinstance(engine, Engine):
            raise ConfigError(f"engine={engine!r} is not an engine; give a name such as 'local', or an Engine object")
        for name, value in (("workers", workers), ("site", site and site.name)):
            if value is not None:
                raise ConfigError(
                    f"{name}={value} goes to an engine that is named; give it to {type(engine).__name__}()"
                )
        return engine
    made = plugins.load(plugins.ENGINES, engine)
    options: dict[str, Any] = {} if site is None else {"site": site, **_options(engine, site)}
    if workers is not None:
        options["workers"] = workers
    try:
        return made(**options)  # type: ignore[no-any-return]
    except TypeError as error:
        if site is None or "argument" not in str(error):
            raise
        raise ConfigError(f"engine {engine!r} cannot be used on site {site.name!r}: {error}") from error


def _options(engine: str, site: Site) -> Mapping[str, Any]:
    return site.options if engine == (site.engine or ON_SITES) else {}

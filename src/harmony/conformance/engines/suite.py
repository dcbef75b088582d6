"""The whole body of tests, as one class."""

from __future__ import annotations

from harmony.conformance.engines.calls import Functions, Pickling
from harmony.conformance.engines.commands import Cancelling, Commands
from harmony.conformance.engines.core import Port
from harmony.conformance.engines.data import Files, Values
from harmony.conformance.engines.faults import Drivers, Services, Workers
from harmony.conformance.engines.ranks import Ranks
from harmony.conformance.engines.resources import Refusals, Sharing, Walltimes
from harmony.conformance.engines.scale import Scale
from harmony.conformance.engines.workflows import Workflows

#: The levels, from what nobody can do without to what only few may need.
LEVELS = ("core", "data", "resources", "ranks", "faults", "scale")


class EngineSuite(
    Port, Functions, Pickling, Commands, Cancelling, Workflows,  # core
    Values, Files,  # data
    Refusals, Sharing, Walltimes,  # resources
    Ranks,
    Workers, Services, Drivers,  # faults
    Scale,
):  # fmt: skip
    """Every promise. A subclass says which ``engine`` it is about, and with which ``options``; see `EngineTests`."""


def level_of(cls: type, test: str) -> str:
    """The level of a test: that of the class which it comes from, whoever has it in another form."""
    for base in reversed(cls.__mro__):
        if test in vars(base):
            return str(getattr(base, "level", ""))
    return ""

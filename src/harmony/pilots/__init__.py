"""Pilots: jobs whose nodes run an engine's workers, as many as there is work for, on a site.

    from harmony.pilots import Fleet

An engine starts a `Fleet` with the command of its workers, says what it has to do (`Fleet.demand`) and whom it hears
of (`Fleet.connected`), and is told of blocks as `Fact`.
"""

from __future__ import annotations

from harmony.pilots.facts import BlockEnded, BlockQueued, BlockRunning, Exhausted, Fact
from harmony.pilots.fleet import Fleet

__all__ = ["BlockEnded", "BlockQueued", "BlockRunning", "Exhausted", "Fact", "Fleet"]

"""One block on each batch system, emulated: its worker runs, its job knows itself, and it is gone at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.jobs import systems
from tests.pilots.rig import BlockEnded, BlockQueued, Harbour

from harmony.conformance.emulators import Emulator, State
from harmony.pilots.block import Files
from harmony.sites import Blocks

#: What these need before they give a job several cores.
ATTRIBUTES = {"sge": {"sge.pe": "smp"}}
#: A job there is not told its own id.
NAMELESS = {"flux", "htcondor"}


@pytest.mark.parametrize("name", systems.EMULATED)
def test_a_block(name: str, emulated_scheduler: Callable[..., Emulator], tmp_path: Path) -> None:
    lab = emulated_scheduler(name)
    harbour = Harbour(tmp_path, name)
    try:
        site = harbour.site(attributes=ATTRIBUTES.get(name, {}), setup=["export A=1"], blocks=Blocks(init=2, max=2))
        told = harbour.fleet(site)
        assert {told.block(), told.block()} == {"block-1", "block-2"}
        assert sorted(harbour.news.hear(2)) == ["block-1", "block-2"]
        (directory,) = harbour.directories()
        for fact in told.of(BlockQueued):
            found = Files(str(directory), fact.block).told_id()
            assert found == (None if name in NAMELESS else fact.native_id)
        told.fleet.close()
        assert {(fact.reason, fact.in_time) for fact in told.of(BlockEnded)} == {("stopped", True)}
        assert {job.state for job in lab.jobs()} == {State.ENDED}
        assert harbour.directories() == []
    finally:
        harbour.close()

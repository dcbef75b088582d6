"""Workflows, gates and news for the tests of engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.rig import PATIENCE, Gate, News

from harmony import Workflow
from harmony.conformance.engines.suite import level_of
from harmony.engines.local import LocalEngine


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A system that takes seconds to start is started anew for each test of faults: those are for the long form."""
    for item in items:
        cls = getattr(item, "cls", None)
        if isinstance(item, pytest.Function) and level_of(cls or object, item.originalname) in getattr(
            cls, "slow_levels", ()
        ):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def wf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workflow]:
    """A workflow on one worker, in the test's folder; what has not ended when the test does is cancelled."""
    monkeypatch.chdir(tmp_path)
    wf = Workflow(engine=LocalEngine(workers=1, cores=4, gpus=1, memory="1GB")).start()
    yield wf
    wf.close()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate that is closed until the test opens it, or ends."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


@pytest.fixture
def news(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[News]:
    """What the tasks of a test tell; it is waited for as long as the module's `PATIENCE` says."""
    news = News(tmp_path / "news", getattr(request.module, "PATIENCE", PATIENCE))
    yield news
    news.close()

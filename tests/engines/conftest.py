"""Gates and news for the tests of engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.rig import Gate, News


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate that is closed until the test opens it, or ends."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


@pytest.fixture
def news(tmp_path: Path) -> Iterator[News]:
    """What the tasks of a test tell."""
    news = News(tmp_path / "news")
    yield news
    news.close()

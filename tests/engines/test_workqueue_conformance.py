"""The Work Queue engine, on Debian's own worker, keeps what every engine promises."""

from __future__ import annotations

import dataclasses
import shutil
from typing import ClassVar

import pytest

from harmony.conformance.engines import EngineSuite
from harmony.sites import here

pytestmark = pytest.mark.skipif(
    shutil.which("work_queue_worker") is None,
    reason="work_queue_worker is not installed: apt install coop-computing-tools",
)


class TestWorkQueue(EngineSuite):
    """Two hands on one worker of this machine, which is said to have two GPUs, and 2 GB."""

    engine = "harmony.engines.workqueue:WorkQueueEngine"
    options: ClassVar = {
        "workers": 2,
        "site": dataclasses.replace(here(2), gpus_per_node=2, memory_per_node=2_000_000_000),
    }

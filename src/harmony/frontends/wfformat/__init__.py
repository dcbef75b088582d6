"""WfFormat 1.5: read and write workflow traces, replay them as real commands, generate the well-known shapes.

WfFormat is the JSON that WfCommons, and the tools around it, exchange: the tasks of a workflow that ran, their
files with sizes, their run times. See `instance` for what one holds, `replay` for how it is run again and
`shapes` for the generator, which is also ``python -m harmony.frontends.wfformat generate SHAPE``.
"""

from __future__ import annotations

from harmony.frontends.wfformat.document import read, write
from harmony.frontends.wfformat.instance import Instance
from harmony.frontends.wfformat.replay import ReplayReport, replay, replay_file
from harmony.frontends.wfformat.shapes import SHAPES, generate

__all__ = ["SHAPES", "Instance", "ReplayReport", "generate", "read", "replay", "replay_file", "write"]

"""Exports: a run of the store in the formats of others.

Each is read from the store as it is at that moment, written under a temporary name and moved into place when it is
whole. A run that still goes on, or was interrupted, is exported as far as it went, and the export says so.
"""

from __future__ import annotations

from harmony.store.exports.rocrate import write_rocrate
from harmony.store.exports.story import remark
from harmony.store.exports.tables import write_csv, write_jsonl
from harmony.store.exports.target import Target
from harmony.store.exports.trace import write_trace
from harmony.store.exports.wfformat import write_wfformat

__all__ = ["Target", "remark", "write_csv", "write_jsonl", "write_rocrate", "write_trace", "write_wfformat"]

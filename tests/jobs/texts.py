"""What the text tests of schedulers share: odd values, orders made of fields, answers of commands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from harmony.jobs.attributes import JobAttributes
from harmony.jobs.executor import Dependencies
from harmony.jobs.resource_spec import ResourceSpecV1
from harmony.jobs.scheduler import Order
from harmony.jobs.shell import Completed
from harmony.jobs.spec import JobSpec
from harmony.jobs.state import JobStatus

ODD = {
    "blank": "a b",
    "blanks": "a  b",
    "quote": "it's",
    "double": 'say "so"',
    "both": 'it\'s "so"',
    "command": "$(touch danger)`touch danger`",
    "variable": "$HOME ${x}",
    "unicode": "naïve 模拟 🎵",
    "hash": "#first",
    "operators": "a;b|c&d>e<f",
    "backslash": "a\\nb\\",
    "percent": "%J %I %j",
    "dash": "-n",
    "triple": "a'''b'''c\"\"\"",
}

_RESOURCES = {"node_count", "process_count", "processes_per_node", "cpu_cores_per_process", "gpu_cores_per_process"}
_RESOURCES |= {"exclusive_node_use", "memory"}
_ATTRIBUTES = {"duration", "queue_name", "account", "reservation_id", "custom_attributes"}
_WAITS = ("after", "after_ok", "after_any")


def order(log: str = "/work/1.out", size: int | None = None, **fields: Any) -> Order:
    """An order for ``/bin/true`` with these fields, wherever in the specification they belong."""
    resources = {key: fields.pop(key) for key in _RESOURCES & set(fields)}
    attributes = {key: fields.pop(key) for key in _ATTRIBUTES & set(fields)}
    after, after_ok, after_any = (tuple(fields.pop(key, ())) for key in _WAITS)
    attributes.setdefault("duration", timedelta(minutes=10))
    spec = JobSpec(
        "/bin/true", resources=ResourceSpecV1(**resources), attributes=JobAttributes(**attributes), **fields
    )  # fmt: skip
    return Order(spec, log, size, Dependencies(after, after_ok, after_any))


def said(out: str = "", err: str = "", code: int = 0) -> Completed:
    """A command that has ended."""
    return Completed(code, out, err)


def brief(status: JobStatus) -> tuple[str, int | None, str | None]:
    """State, exit code and reason."""
    return status.state.name, status.exit_code, status.reason

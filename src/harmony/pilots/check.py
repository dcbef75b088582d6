"""Whether a site works: one short job on it, and what its nodes tell."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import shutil
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import harmony
from harmony.errors import HarmonyError
from harmony.jobs import Job, JobExecutor, JobExecutorConfig, JobState
from harmony.pilots import probe
from harmony.pilots.block import Files, specification, write_script, write_setup
from harmony.sites import Site

#: The walltime of the probe job, in seconds, and how long its end may take to be known here.
_WALLTIME, _LAG = 60.0, 60.0
#: Linux's request for the address of a network interface.
_GET_ADDRESS = 0x8915


class Finding(NamedTuple):
    """One thing that was looked at: whether it is well, and what was seen."""

    what: str
    is_well: bool
    detail: str


class _Stop(Exception):
    """What follows cannot be looked at."""


def check(site: Site, wait: float, tell: Callable[[Finding], None]) -> bool:
    """Submit a job of a minute to the site, tell each finding as it is made, and return whether all is well.

    The job may wait for `wait` seconds in the queue; then it is cancelled. Raises `HarmonyError` if the site's own
    settings are wrong.
    """
    site = dataclasses.replace(site, walltime=_WALLTIME)
    config = JobExecutorConfig(work_directory=site.work_directory)
    all_well = True

    def note(what: str, is_well: bool, detail: str) -> None:
        nonlocal all_well
        all_well = all_well and is_well
        tell(Finding(what, is_well, detail))

    executor = JobExecutor.get_instance(site.scheduler, url=site.url, config=config)
    parent = os.path.join(config.work_directory, "pilots")
    try:
        os.makedirs(parent, exist_ok=True)
        directory = tempfile.mkdtemp(dir=parent, prefix="check-")
    except OSError as error:
        note("work directory", False, f"{parent} cannot be used: {error.strerror}")
        return False
    try:
        with socket.create_server(("", 0), backlog=1024) as listener:
            addresses = list(own_addresses(site.scheduler == "local"))
            job, files = _submit(executor, site, directory, listener.getsockname()[1], addresses, note)
            _follow(job, files, wait, note)
        _judge(site, _reports(directory, site.nodes), addresses, note)
    except _Stop:
        pass
    finally:
        executor.close()
        shutil.rmtree(directory, ignore_errors=True)
    return all_well


Note = Callable[[str, bool, str], None]


def _submit(
    executor: JobExecutor, site: Site, directory: str, port: int, addresses: Sequence[str], note: Note
) -> tuple[Job, Files]:
    files = Files(directory, "probe")
    command = [sys.executable, os.path.abspath(probe.__file__), directory, str(port), *addresses]
    setup = write_setup(site, directory, "probe")
    write_script(site, files, "probe", command, setup)
    job = Job(specification(site, "harmony-check", files, setup))
    try:
        executor.submit(job)
    except HarmonyError as error:
        note("submission", False, str(error))
        raise _Stop from error
    note("submission", True, f"{site.scheduler} has taken a job of {site.nodes} node(s): {job.native_id}")
    return job, files


def _follow(job: Job, files: Files, wait: float, note: Note) -> None:
    begun = time.monotonic()
    try:
        status = job.wait(wait, JobState.ACTIVE)
    except BaseException:
        job.cancel()
        raise
    waited = time.monotonic() - begun
    if status is None:
        why = f": {job.status.message}" if job.status.message else ""
        note("start", False, f"it still waits in the queue after {wait:.0f} s{why}; it is cancelled now")
        job.cancel()
        raise _Stop
    if status.state is not JobState.FAILED or files.printed():
        note("start", True, f"it started within {waited:.1f} s")
    try:
        status = job.wait(_WALLTIME + _LAG)
    except BaseException:
        job.cancel()
        raise
    if status is None or status.state is not JobState.COMPLETED:
        told = "its end is not known after two minutes" if status is None else status.message or status.state.name
        said = files.printed()
        note("workers' program", False, told + (f"; the end of its output:\n{said}" if said else ""))
        if status is None:
            job.cancel()


def _reports(directory: str, expected: int) -> list[dict[str, Any]]:
    """What the nodes have written; it may take a moment to be seen here."""
    deadline = time.monotonic() + 10
    while True:
        paths = glob.glob(os.path.join(glob.escape(directory), "*.json"))
        if len(paths) >= expected or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    found = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            found.append(json.load(file))
    return found


def _judge(site: Site, reports: Sequence[dict[str, Any]], addresses: Sequence[str], note: Note) -> None:
    hosts = ", ".join(sorted({report["host"] for report in reports})) or "none"
    enough = len(reports) == site.nodes
    note("nodes", enough, f"the launcher {site.launcher_name!r} has reached {len(reports)} of {site.nodes}: {hosts}")
    if not reports:
        raise _Stop
    ours = harmony.__version__
    others = {str(report["harmony"]) for report in reports}
    detail = f"Python {_each(reports, 'python')}, Harmony {', '.join(sorted(others))}"
    note("Python", others == {ours}, detail if others == {ours} else f"{detail}; it is {ours} here, and must be there")
    for name, wanted in (("cores", site.cores_per_node), ("gpus", site.gpus_per_node)):
        seen = _each(reports, name)
        least = min(report[name] for report in reports)
        if wanted or name == "cores":
            asked = "" if wanted is None else f" of {wanted} asked for"
            is_well = wanted is None or least >= wanted or site.scheduler == "local"
            note(name, is_well, f"a worker's program sees {seen}{asked}")
    everywhere = [address for address in addresses if all(address in report["reached"] for report in reports)]
    if everywhere:
        note("network", True, f"workers can connect to this machine at {', '.join(everywhere)}")
    else:
        note("network", False, f"no node can connect to this machine at {', '.join(addresses) or 'any address'}")


def _each(reports: Sequence[dict[str, Any]], name: str) -> str:
    return ", ".join(sorted({str(report[name]) for report in reports}))


def own_addresses(loopback: bool) -> Iterator[str]:
    """Yield the names and addresses by which other machines may reach this one."""
    import fcntl

    seen = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probing:
        for _, name in socket.if_nameindex():
            try:
                packed = fcntl.ioctl(probing.fileno(), _GET_ADDRESS, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # it has none
            address = socket.inet_ntoa(packed[20:24])
            if (loopback or not address.startswith("127.")) and address not in seen:
                seen.add(address)
                yield address
    yield socket.gethostname()

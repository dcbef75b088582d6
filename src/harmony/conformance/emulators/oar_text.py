"""How OAR's commands print jobs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harmony.conformance.emulators.dialect import stamp
from harmony.conformance.emulators.model import How, Job, State, Streams

_LETTERS = {"Waiting": "W", "Hold": "H", "Running": "R", "Terminated": "T", "Error": "E", "Launching": "L"}


def data(job: Job, streams: Streams) -> dict[str, Any]:
    """What OAR knows of a job."""
    request, extra = job.request, job.request.extra
    resources = [int(node.strip("nm")) * 100 + core for node in job.nodes for core in range(1, request.cores + 1)]
    ran = job.status is not None
    return {
        "Job_Id": job.number, "array_id": int(array_id(job)), "array_index": int(extra.get("index", "1")),
        "name": request.name or None, "owner": request.user, "job_user": request.user, "state": state(job),
        "assigned_resources": resources, "assigned_network_address": list(job.nodes), "queue": request.queue,
        "command": extra.get("command", ""), "launchingDirectory": request.directory, "jobType": "PASSIVE",
        "properties": extra.get("properties", ""), "reservation": "None",
        "walltime": int(request.limit or 7200), "submissionTime": int(job.submitted),
        "startTime": int(job.started or 0), "stopTime": int(job.ended or 0), "message": _message(job),
        "scheduledStart": None if job.started is None else int(job.started), "resubmit_job_id": 0,
        "events": _events(job), "wanted_resources": f"-l \"{extra.get('wanted', '')}\" ",
        "project": request.account, "cpuset_name": f"{request.user}_{job.id}",
        "types": [each for each in extra.get("types", "").split(",") if each],
        "dependencies": [int(each) for each in extra.get("before", "").split()],
        "exit_code": job.exit_code << 8 | job.signal if ran and job.state is State.ENDED else None,
        "stdout_file": os.path.basename(streams.stdout or ""), "stderr_file": os.path.basename(streams.stderr or ""),
        "initial_request": extra.get("initial", ""),
    }  # fmt: skip


def array_id(job: Job) -> str:
    """The id of the array that a job is one of; its own, if of none."""
    return job.request.extra.get("array", job.id)


def duration(seconds: int) -> str:
    """A time limit, as OAR writes it."""
    return f"{seconds // 3600}:{seconds % 3600 // 60}:{seconds % 60}"


def state(job: Job) -> str:
    """Its state, as OAR calls it."""
    if job.state is State.ENDED:
        return "Terminated" if job.how is How.EXITED else "Error"
    return {State.HELD: "Hold", State.WAITING: "Waiting", State.RUNNING: "Running"}[job.state]


def _message(job: Job) -> str:
    request = job.request
    name = f",N={request.name}" if request.name else ""
    project = f",P={request.account}" if request.account != "default" else ""
    seconds = int(request.limit or 7200)
    return job.note if job.foreign else f"R={request.nodes * request.cores},W={duration(seconds)},J=B{name}{project}"


_EVENTS: Mapping[How, tuple[str, Callable[[Job], str]]] = {
    How.CANCELLED: ("FRAG_JOB_REQUEST", lambda job: f"User {job.request.user} requested to frag the job {job.id}"),
    How.TIMEOUT: ("WALLTIME", lambda job: f"[sarko] Job [{job.id}] reached its walltime, killing it"),
    How.NODE_FAILED: ("PING_CHECKER_NODE_SUSPECTED_END_JOB", lambda job: f"[NodeChangeState] {job.id}: node suspected"),
    How.PREEMPTED: ("BESTEFFORT_KILL", lambda job: f"[oar_meta_sched] kill the besteffort job {job.id}"),
    How.LAUNCH_FAILED: ("WORKING_DIRECTORY", lambda job: f"[bipbip {job.id}] Cannot go into the working directory"),
    How.OUT_OF_MEMORY: ("SWITCH_INTO_ERROR_STATE", lambda job: f"[bipbip {job.id}] job killed"),
}


def _events(job: Job) -> list[dict[str, Any]]:
    if job.how is None or job.how not in _EVENTS:
        return []
    kind, text = _EVENTS[job.how]
    return [{"event_id": job.number, "type": kind, "job_id": job.number, "date": int(job.ended or job.submitted),
             "description": text(job), "to_check": "NO"}]  # fmt: skip


def as_json(data: Mapping[str, Any]) -> str:
    """What ``--json`` prints."""
    return json.dumps(data, indent=3, separators=(",", " : "), ensure_ascii=False) + "\n"


def table(jobs: Sequence[Job]) -> str:
    """What oarstat prints by itself."""
    lines = [
        "Job id     Name           User           Submission Date     S Queue",
        "---------- -------------- -------------- ------------------- - ----------",
    ]
    for job in jobs:
        request, when = job.request, stamp(job.submitted, "%Y-%m-%d %H:%M:%S")
        who = f"{job.id:<10.10} {request.name:<14.14} {request.user:<14.14}"
        lines.append(f"{who} {when:<19} {_LETTERS[state(job)]} {request.queue:<10.10}")
    return "".join(f"{line}\n" for line in lines)


def full(data: Mapping[str, Any]) -> str:
    """What ``oarstat -f`` prints of a job."""
    names = {"job_array_id": "array_id", "job_array_index": "array_index"}
    names.update((name, name) for name in ("name", "project", "owner", "state", "wanted_resources"))
    lines = [f"Job_Id: {data['Job_Id']}"]
    lines += [f"    {shown} = {'' if data[name] is None else data[name]}" for shown, name in names.items()]
    lines += [
        f"    types = {', '.join(data['types'])}",
        f"    dependencies = {' '.join(map(str, data['dependencies']))}",
        f"    assigned_resources = {'+'.join(map(str, data['assigned_resources']))}",
        f"    assigned_hostnames = {'+'.join(data['assigned_network_address'])}",
        f"    queue = {data['queue']}",
        f"    command = {data['command']}",
    ]
    if data["exit_code"] is not None:
        code = data["exit_code"]
        lines.append(f"    exit_code = {code} ({code >> 8},{code & 127},{code & 128})")
    plain = ("launchingDirectory", "stdout_file", "stderr_file", "jobType", "properties", "reservation")
    lines += [f"    {name} = {data[name]}" for name in plain]
    lines.append(f"    walltime = {duration(data['walltime'])}")
    for name in ("submissionTime", "startTime", "stopTime"):
        if data[name]:
            lines.append(f"    {name} = {stamp(data[name], '%Y-%m-%d %H:%M:%S')}")
    lines += [f"    cpuset_name = {data['cpuset_name']}", f"    initial_request = {data['initial_request']}"]
    lines += [f"    message = {data['message']}", "    scheduledStart = no prediction"]
    lines += [f"    resubmit_job_id = {data['resubmit_job_id']}", "    events = "]
    lines += [f"{stamp(e['date'], '%Y-%m-%d %H:%M:%S')}> {e['type']}: {e['description']}" for e in data["events"]]
    return "".join(f"{line}\n" for line in [*lines, ""])

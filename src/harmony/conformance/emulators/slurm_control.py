"""How emulated Slurm is told what to do with jobs: scancel, and scontrol."""

from __future__ import annotations

import re
import signal

from harmony.conformance.emulators import slurm_tables as tables
from harmony.conformance.emulators.engine import Machine
from harmony.conformance.emulators.model import Call, How, Refused, Reply
from harmony.conformance.emulators.options import NONE, ONE, long_options

_OPTIONS = {
    **dict.fromkeys(("batch", "full", "hurry", "interactive", "quiet", "verbose", "version", "ctld"), NONE),
    **dict.fromkeys(("account", "name", "partition", "qos", "reservation", "signal", "state", "user", "nodelist"), ONE),
}
_ALIASES = {
    "A": "account", "b": "batch", "f": "full", "H": "hurry", "i": "interactive", "n": "name", "p": "partition",
    "Q": "quiet", "q": "qos", "R": "reservation", "s": "signal", "t": "state", "u": "user", "v": "verbose",
    "V": "version", "w": "nodelist",
}  # fmt: skip


def scancel(call: Call, machine: Machine) -> Reply:
    """Answer ``scancel``."""
    argv, options = list(call.argv), []
    rest: list[str] = []
    while argv:  # options may stand behind ids
        found, argv = long_options(argv, "A:bfHin:p:Qq:R:s:t:u:vVw:", _OPTIONS, "scancel", _ALIASES)
        options += found
        if argv:
            rest.append(argv.pop(0))
    given = dict(options)
    filters = {"name", "partition", "account", "user", "state", "qos", "reservation", "nodelist"} & set(given)
    if not rest and not filters:
        raise Refused("scancel: error: No job identification provided")
    for job_id in rest:
        if not re.fullmatch(r"\d+(_(\d+|\[[\d,-]+\]|\*))?(\.\w+)?", job_id):
            raise Refused(f"scancel: error: Invalid job id {job_id}")
    chosen = tables.chosen(rest, machine) if rest else [job for job in machine.queue() if not job.foreign]
    wanted = given.get("signal")
    number = _signal(wanted) if wanted else None
    ended = False
    for job in chosen:
        if job.foreign:
            raise Refused(f"scancel: error: Kill job error on job id {job.id}: Access/permission denied")
        if not tables.matches(job, given):
            continue
        ended = ended or job.ended is not None
        if number is None or (number == signal.SIGKILL and "batch" not in given):
            machine.cancel(job, () if number else None)
        else:
            machine.signal(job, number, leader_only="batch" in given)
    if ended and len(chosen) == 1:
        message = f"scancel: error: Kill job error on job id {rest[0]}: Job/step already completing or completed"
        return Reply(err=message + "\n", code=1) if number is not None else Reply()
    return Reply()


def _signal(text: str) -> int:
    name = text.upper().removeprefix("SIG")
    try:
        return int(text) if text.isdigit() else int(signal.Signals[f"SIG{name}"])
    except KeyError:
        raise Refused(f"scancel: error: Unknown job signal: {text}") from None


def scontrol(call: Call, machine: Machine) -> Reply:
    """Answer ``scontrol``."""
    plain = [word for word in call.argv if not word.startswith("-")]
    match plain:
        case ["show", "hostnames" | "hostname", *rest]:
            listed = rest[0] if rest else call.environment.get("SLURM_JOB_NODELIST", "")
            if not listed:
                return Reply(err="scontrol: error: host list is empty\n")
            return Reply("".join(f"{name}\n" for name in tables.expanded(listed)))
        case ["show", "job" | "jobs", *rest]:
            return tables.show_job(rest, machine, one_line=bool({"-o", "--oneliner"} & set(call.argv)))
        case ["hold" | "release" | "requeue" as verb, *ids]:
            for job in tables.chosen([each for text in ids for each in text.split(",")], machine):
                if verb == "requeue":
                    machine.stop(job, How.REQUEUED)
                else:
                    (machine.hold if verb == "hold" else machine.release)(job)
            return Reply()
        case ["ping"]:
            return Reply(f"Slurmctld(primary) at {machine.dialect.server} is UP\n")
    raise Refused(f"scontrol: error: this emulated Slurm does not know: scontrol {' '.join(call.argv)}")

"""One block: the job that starts workers on its nodes, and what is known of it."""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from harmony.errors import ConfigError, shown
from harmony.jobs import Job, JobAttributes, JobExecutor, JobSpec, JobState, JobStatus, Reason, ResourceSpecV1
from harmony.pilots.policy import STEADY, Need, View
from harmony.sites import Site

#: How long the job of a block may take where nothing limits it.
_ENDLESS = timedelta(days=365)
#: Where a job finds its own native id, on systems that tell it; that of a job of this machine is its session's.
_OWN_ID = {
    "slurm": "$SLURM_JOB_ID", "pbs": "$PBS_JOBID", "pbs_classic": "$PBS_JOBID", "nqsv": "${PBS_JOBID#*:}",
    "sge": "$JOB_ID", "lsf": "$LSB_JOBID", "cobalt": "$COBALT_JOBID", "oar": "$OAR_JOB_ID",
    "local": '$(read -r stat </proc/$$/stat && set -- ${stat##*) } && echo "$4")',
}  # fmt: skip
#: A block that was lost is replaced by another one of ours, not put back into the queue behind our back.
_NOT_AGAIN: dict[str, dict[str, object]] = {
    "slurm": {"slurm.no-requeue": None},
    "pbs": {"pbs.r": "n"},
    "pbs_classic": {"pbs_classic.r": "n"},
}
#: PBS sets this to all cores of a node, and every worker would start as many threads.
_FIRST = dict.fromkeys(("pbs", "pbs_classic", "nqsv"), ("unset OMP_NUM_THREADS",))
#: The variable by which what a block runs knows its block.
VARIABLE = "HARMONY_BLOCK"
#: How much of what a job has printed is shown, in bytes.
_TAIL = 2000


class Files:
    """Where the script and the output of a block are, in its fleet's directory."""

    def __init__(self, directory: str, block: str) -> None:
        self.script = os.path.join(directory, f"{block}.sh")
        self.output = os.path.join(directory, f"{block}.out")
        #: Written by the job as it starts: its native id.
        self.native_id = os.path.join(directory, f"{block}.id")

    def printed(self) -> str:
        """The end of what the job has printed."""
        try:
            with open(self.output, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""

    def told_id(self) -> str | None:
        """The native id of the job, if it has started."""
        try:
            with open(self.native_id, encoding="utf-8") as file:
                return file.read().strip() or None
        except OSError:
            return None

    def forbid(self) -> None:
        """Have a job that may yet start, though nobody knows of it, end at once."""
        Path(self.script).unlink(missing_ok=True)


def write_script(site: Site, files: Files, block: str, command: Sequence[str], setup: str | None) -> None:
    """Write what each node of a block runs. Raises `ConfigError` for a command that is none.

    The set-up lines have run already where the launcher passes the environment on from the first node.
    """
    if (
        isinstance(command, str)
        or not command
        or not all(isinstance(word, str) and "\0" not in word for word in command)
    ):
        raise ConfigError(f"the workers' command {shown(command)} must be a list of texts")
    own = _OWN_ID.get(site.scheduler, "")
    lines = ["#!/bin/bash"]
    if own:
        lines.append(f'(echo "{own}" >{shlex.quote(files.native_id)}) 2>/dev/null')
    if setup is not None:
        lines.append(f'if [ "${{{VARIABLE}-}}" != {block} ]; then set -e; . {shlex.quote(setup)}; set +e; fi')
    lines += [f"export {VARIABLE}={block}", f"exec {shlex.join(command)}"]
    Path(files.script).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_setup(site: Site, directory: str, block: str) -> str | None:
    """Write the site's set-up lines for the first node of a block; return the path, None where there are none."""
    lines = [*_FIRST.get(site.scheduler, ()), *site.setup]
    if not lines:
        return None
    path = os.path.join(directory, f"{block}.setup")
    Path(path).write_text("\n".join([*lines, f"export {VARIABLE}={block}"]) + "\n", encoding="utf-8")
    return path


def specification(site: Site, name: str, files: Files, setup: str | None) -> JobSpec:
    """Return the job of a block: the script on each of the site's nodes."""
    seconds = site.block_walltime
    attributes = JobAttributes(
        duration=_ENDLESS if seconds is None else timedelta(seconds=seconds),
        queue_name=site.queue,
        account=site.account,
        reservation_id=site.reservation,
        custom_attributes={**_NOT_AGAIN.get(site.scheduler, {}), **site.attributes},
    )
    whole = site.cores_per_node is None and site.scheduler != "local"
    options = list(site.launcher_options)
    if whole and site.launcher_name == "srun":
        options.insert(0, "--cpu-bind=none")  # or each worker would have one core of its node
    return JobSpec(
        executable="/bin/bash",
        arguments=[files.script],
        name=name,
        stdout_path=files.output,
        stderr_path=files.output,
        resources=ResourceSpecV1(
            node_count=site.nodes,
            processes_per_node=1,
            cpu_cores_per_process=site.cores_per_node,
            gpu_cores_per_process=site.gpus_per_node,
            exclusive_node_use=whole,
            memory=None if site.memory_per_node is None else site.memory_per_node * site.nodes,
        ),
        attributes=attributes,
        pre_launch=setup,
        launcher=site.launcher_name,
        launcher_options=options or None,
    )


def sample_script(site: Site) -> str:
    """Return the script that the batch system would be given for a block of the site, without submitting it."""
    with tempfile.TemporaryDirectory() as directory:
        files = Files(directory, "block-1")
        setup = write_setup(site, directory, "block-1")
        job = Job(specification(site, "harmony-ENGINE", files, setup))
        executor = JobExecutor.get_instance(site.scheduler, url=site.url)
        try:
            script: str = executor.script(job)  # type: ignore[attr-defined]  # all of ours have it
        finally:
            executor.close()
    return script


class Block:
    """What a fleet knows of one of its blocks. Times are of the monotonic clock."""

    def __init__(self, block: str, job: Job, files: Files, now: float) -> None:
        self.id = block
        self.job = job
        self.files = files
        self.submitted = now
        #: Whether the engine knows of it.
        self.is_told = True
        self.started: float | None = None
        self.workers = 0
        #: When the first worker connected.
        self.seen: float | None = None
        self.idle_since: float | None = None
        #: Why we have it end, once we do, and when it is to be asked to (again).
        self.stopping: str | None = None
        self.ask_at = 0.0
        self.asked = 0

    def runs(self, status: JobStatus, now: float) -> None:
        """Its job has started, at the time that the status tells."""
        self.started = now - max(0.0, time.time() - status.time)

    def connected(self, workers: int, now: float) -> None:
        """So many workers of it are there now."""
        self.workers = workers
        if workers and self.seen is None:
            self.seen = now

    def is_steady(self, now: float) -> bool:
        """Whether it has had workers for so long that all seems well."""
        return self.seen is not None and now - self.seen >= STEADY

    def view(self, now: float, need: Need, busy: Mapping[str, int] | None, ends: float | None) -> View:
        """Return it as a decision sees it, having noted whether it has anything to do."""
        works = need.running > 0 and self.workers > 0 and (busy is None or busy.get(self.id, 0) > 0)
        if need.waiting or works:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now
        left = None if ends is None else ends - now
        return View(self.id, self.workers, self.idle_since, self.stopping is not None, left, not works)

    def lateness(self, patience: float) -> float | None:
        """When its workers should have connected; None when they have, or it does not run."""
        if self.started is None or self.seen is not None or self.stopping is not None:
            return None
        return self.started + patience

    def verdict(self) -> tuple[str, bool, str]:
        """Return why it has ended, whether that was due, and a sentence, for a job that is final."""
        status = self.job.status
        reason = status.reason or ("completed" if status.state is JobState.COMPLETED else "exit")
        due = reason == Reason.WALLTIME.value
        if self.stopping == "stopped":
            reason, due = "stopped", True
        said = self.files.printed()
        told = status.message or ("its workers have ended" if status.state is JobState.COMPLETED else "it has ended")
        if self.stopping not in (None, "stopped"):
            told = self.stopping
        where = f"{self.id} (job {self.job.native_id})"
        return reason, due, f"{where}: {told}" + (f"; the end of its output:\n{said}" if said else "")

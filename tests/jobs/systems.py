"""The batch systems that the tests run on, and what each of them lacks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from harmony.jobs import BatchJobExecutor, JobExecutor
from harmony.jobs.batch import BatchSchedulerExecutorConfig
from harmony.jobs.evidence import Patience

#: Evidence comes quickly here, so that there is no need to wait long for what will not come.
IMPATIENT = Patience(confirm=5, signal=10, vanished=2, canceled=1, silent=6)

MINUTE = timedelta(minutes=1)
SGE_PE = {"custom_attributes": {"sge.pe": "smp"}}

#: Name → what `Subject` must know, when the system is emulated; a minute of walltime is a second there.
EMULATED: dict[str, dict[str, Any]] = {
    "slurm": {"bad_queue": "no-such-queue", "short_walltime": MINUTE},
    "pbs": {"bad_queue": "no-such-queue", "short_walltime": MINUTE},
    "pbs_classic": {"bad_queue": "no-such-queue", "short_walltime": MINUTE},
    "sge": {
        "bad_queue": "no-such-queue", "short_walltime": MINUTE, "attributes": SGE_PE,
        "lacks": {"after": "Grid Engine waits for ends only", "after_ok": "Grid Engine waits for ends only",
                  "grace": "Grid Engine sends no signals", "nodes": "its parallel environment fills one host"},
    },
    "lsf": {"bad_queue": "no-such-queue", "short_walltime": MINUTE},
    "cobalt": {
        "bad_queue": "no-such-queue",
        "lacks": {"after": "Cobalt waits for success only", "after_any": "Cobalt waits for success only",
                  "grace": "Cobalt sends no signals", "attach": "its queue does not tell how a job ended",
                  "walltime": "its queue does not tell how a job ended"},
    },
    "htcondor": {
        "short_walltime": MINUTE,
        "lacks": {"nodes": "a job runs on one machine", "refusal": "there are no queues",
                  "grace": "it sends no signals", "after": "only DAGMan has dependencies",
                  "after_ok": "only DAGMan has dependencies",
                  "after_any": "only DAGMan has dependencies"},
    },
    "flux": {"bad_queue": "no-such-queue", "short_walltime": MINUTE},
    "oar": {
        "bad_queue": "no-such-queue", "short_walltime": MINUTE,
        "lacks": {"after": "OAR waits for ends only", "after_ok": "OAR waits for ends only"},
    },
    "nqsv": {
        "bad_queue": "no-such-queue",
        "lacks": {"after": "NQSV's are between requests submitted together", "grace": "it sends no signals",
                  "attach": "its queue does not tell how a job ended",
                  "walltime": "its queue does not tell how a job ended",
                  "after_ok": "NQSV's are between requests submitted together",
                  "after_any": "NQSV's are between requests submitted together"},
    },
}  # fmt: skip


def config(work_directory: Path, **more: Any) -> BatchSchedulerExecutorConfig:
    """Return settings that suit a system that answers at once."""
    settings: dict[str, Any] = {
        "queue_polling_interval": 0.5, "initial_queue_polling_delay": 0.1, "patience": IMPATIENT, **more,
    }  # fmt: skip
    return BatchSchedulerExecutorConfig(work_directory=work_directory, **settings)


def executor(name: str, work_directory: Path, **more: Any) -> BatchJobExecutor:
    """Return an executor for that system, with impatient settings."""
    made = JobExecutor.get_instance(name, config=config(work_directory, **more))
    assert isinstance(made, BatchJobExecutor)
    return made

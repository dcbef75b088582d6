"""Batch jobs, as the PSI/J specification has them: one way to describe and follow a job, on any scheduler.

    import harmony.jobs as psij

    with psij.JobExecutor.get_instance("slurm") as executor:
        job = psij.Job(psij.JobSpec("/bin/date", stdout_path="date.txt"))
        executor.submit(job)
        print(job.wait(), job.stdout_text())

The public names and nothing else; each is imported when it is first used. Only the standard library is needed, and
nothing of Harmony's workflows. No thread and no signal handler exists before an executor is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from harmony import __version__

if TYPE_CHECKING:
    from harmony.errors import InvalidJobException, InvalidStateException, JobError, SubmitException
    from harmony.jobs.attributes import JobAttributes
    from harmony.jobs.batch import BatchJobExecutor, BatchSchedulerExecutorConfig
    from harmony.jobs.evidence import Patience
    from harmony.jobs.executor import Dependencies, JobExecutor, JobExecutorConfig
    from harmony.jobs.iri import spec_from_iri, spec_to_iri, status_from_iri, status_to_iri
    from harmony.jobs.job import Job, JobStatusCallback
    from harmony.jobs.launcher import Launcher
    from harmony.jobs.local import LocalExecutorConfig, LocalJobExecutor
    from harmony.jobs.resource_spec import ResourceSpec, ResourceSpecV1
    from harmony.jobs.scheduler import NoAnswer, Order, Scheduler
    from harmony.jobs.serialize import JSONSerializer, Serializer, spec_from_dict, spec_to_dict
    from harmony.jobs.shell import CommandUnavailable, Completed, Here, Shell
    from harmony.jobs.spec import InvalidTypeException, JobSpec
    from harmony.jobs.staging import URI, StageIn, StageOut, StageOutFlags, StagingMode
    from harmony.jobs.state import JobState, JobStatus, Reason

__all__ = [
    "URI",
    "BatchJobExecutor",
    "BatchSchedulerExecutorConfig",
    "CommandUnavailable",
    "Completed",
    "Dependencies",
    "Here",
    "InvalidJobException",
    "InvalidStateException",
    "InvalidTypeException",
    "JSONSerializer",
    "Job",
    "JobAttributes",
    "JobError",
    "JobExecutor",
    "JobExecutorConfig",
    "JobSpec",
    "JobState",
    "JobStatus",
    "JobStatusCallback",
    "Launcher",
    "LocalExecutorConfig",
    "LocalJobExecutor",
    "NoAnswer",
    "Order",
    "Patience",
    "Reason",
    "ResourceSpec",
    "ResourceSpecV1",
    "Scheduler",
    "Serializer",
    "Shell",
    "StageIn",
    "StageOut",
    "StageOutFlags",
    "StagingMode",
    "SubmitException",
    "__version__",
    "spec_from_dict",
    "spec_from_iri",
    "spec_to_dict",
    "spec_to_iri",
    "status_from_iri",
    "status_to_iri",
]

_HOMES = {
    "harmony.errors": "InvalidJobException InvalidStateException JobError SubmitException",
    "harmony.jobs.attributes": "JobAttributes",
    "harmony.jobs.batch": "BatchJobExecutor BatchSchedulerExecutorConfig",
    "harmony.jobs.evidence": "Patience",
    "harmony.jobs.executor": "Dependencies JobExecutor JobExecutorConfig",
    "harmony.jobs.iri": "spec_from_iri spec_to_iri status_from_iri status_to_iri",
    "harmony.jobs.job": "Job JobStatusCallback",
    "harmony.jobs.launcher": "Launcher",
    "harmony.jobs.local": "LocalExecutorConfig LocalJobExecutor",
    "harmony.jobs.resource_spec": "ResourceSpec ResourceSpecV1",
    "harmony.jobs.scheduler": "NoAnswer Order Scheduler",
    "harmony.jobs.serialize": "JSONSerializer Serializer spec_from_dict spec_to_dict",
    "harmony.jobs.shell": "CommandUnavailable Completed Here Shell",
    "harmony.jobs.spec": "InvalidTypeException JobSpec",
    "harmony.jobs.staging": "URI StageIn StageOut StageOutFlags StagingMode",
    "harmony.jobs.state": "JobState JobStatus Reason",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


if not TYPE_CHECKING:  # a type checker that saw this would believe every misspelt name

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module 'harmony.jobs' has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(home), name)
        return value


def __dir__() -> list[str]:
    return __all__

"""Jobs on this machine: each is one process tree, started directly and ended surely."""

from harmony.jobs.local.config import LocalExecutorConfig
from harmony.jobs.local.executor import LocalJobExecutor

__all__ = ["LocalExecutorConfig", "LocalJobExecutor"]

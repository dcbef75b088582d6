"""The Work Queue engine: the stock workers of cctools (Debian's coop-computing-tools), driven without its library."""

from harmony.engines.workqueue.engine import WorkQueueEngine

__all__ = ["WorkQueueEngine"]

"""The workers of a node, as a program: ``python -m harmony.engines.parsl.pool …``, with the arguments of Parsl's own.

Its helpers and workers import this module again, as ``__mp_main__``, and end with it. They are killed: what a worker
still runs has nobody to go to.
"""

from __future__ import annotations

import os

from harmony.engines.parsl.lean import end_with, end_without_helper, program

if __name__ == "__mp_main__":
    end_with(os.getppid())
if __name__ == "__main__":
    end_without_helper()
if __name__ in ("__main__", "__mp_main__"):
    exec(program("parsl.executors.high_throughput.process_worker_pool"))  # noqa: S102  a script, which knows itself

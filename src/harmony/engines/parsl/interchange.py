"""The interchange of a HighThroughputExecutor, as a program: ``python -m harmony.engines.parsl.interchange DRIVER``.

As Parsl's own, but it ends with its driver, and a Ctrl-C at the terminal is the driver's to handle.
"""

from __future__ import annotations

import signal
import sys

from harmony.engines.parsl.lean import end_with, program

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(int(sys.argv.pop()))
    exec(program("parsl.executors.high_throughput.interchange"))  # noqa: S102  it is a script, and runs as __main__

"""What one node tells of itself, for ``harmony sites check``.

Run on each node of a probe job as ``python probe.py DIRECTORY PORT ADDRESS...``; it writes one JSON file, and imports
nothing of Harmony but to see whether it can.
"""

from __future__ import annotations

import glob
import json
import os
import platform
import socket
import sys

#: What a scheduler or launcher sets to the GPUs that a process may use.
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
#: Seconds for one try to connect to where the check runs.
_CONNECTING = 5.0


def gpus() -> int:
    """How many GPUs this process sees."""
    for name in _VISIBLE:
        value = os.environ.get(name)
        if value is not None:
            return len([item for item in value.split(",") if item.strip() and item != "NoDevFiles"])
    amd = [path for path in glob.glob("/sys/class/kfd/kfd/topology/nodes/*/gpu_id") if _number_in(path)]
    nvidia = glob.glob("/dev/nvidia[0-9]*")
    return len(nvidia) or len(amd)


def _number_in(path: str) -> int:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def harmony_version() -> str | None:
    """The version of Harmony that can be imported here."""
    try:
        import harmony
    except Exception:  # noqa: BLE001  whatever is wrong with it, it cannot be used
        return None
    return harmony.__version__


def reached(addresses: list[str], port: int) -> list[str]:
    """Which of the addresses a worker could connect to."""
    found = []
    for address in addresses:
        try:
            socket.create_connection((address, port), timeout=_CONNECTING).close()
        except OSError:
            continue
        found.append(address)
    return found


def main(directory: str, port: int, addresses: list[str]) -> None:
    """Write the report."""
    told = {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "harmony": harmony_version(),
        "cores": cores(),
        "gpus": gpus(),
        "block": os.environ.get("HARMONY_BLOCK", ""),
        "reached": reached(addresses, port),
    }
    path = os.path.join(directory, f"{told['host']}-{os.getpid()}")
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        json.dump(told, file)
    os.rename(f"{path}.part", f"{path}.json")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])

"""Resources: what one task or one job asks for, in the words of PSI/J's ResourceSpecV1."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from harmony.errors import ResourceError

_UNITS = {
    "": 1, "B": 1,
    "K": 10**3, "KB": 10**3, "M": 10**6, "MB": 10**6, "G": 10**9, "GB": 10**9, "T": 10**12, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_memory(value: int | str | None) -> int | None:
    """Return bytes for ``"4GB"``, ``"512 MiB"``, a number of bytes, or None.

    Decimal units (kB, MB, GB, TB) are powers of 1000, binary ones (KiB, MiB, …) of 1024.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise ResourceError(f"memory={value!r} is not a size; write bytes or a text such as '4GB' or '512MiB'")
    return int(float(match[1]) * unit)


def check_whole(name: str, value: object, least: int) -> None:
    """Raise `ResourceError` when a setting is not a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ResourceError(f"{name}={value!r} must be a whole number, at least {least}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a task or a job needs. The default is one process on one core.

    `process_count` are the ranks in all; with `node_count` and `processes_per_node` given it is
    their product. `memory` is in bytes, for the whole task. `exclusive` asks for nodes of its own.
    Raises `ResourceError` when the numbers contradict each other.
    """

    node_count: int | None = None
    process_count: int | None = None
    processes_per_node: int | None = None
    cpu_cores_per_process: int = 1
    gpu_cores_per_process: int = 0
    memory: int | None = None
    exclusive: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "exclusive" or value is None:
                continue
            least = 0 if field.name == "gpu_cores_per_process" else 1
            check_whole(field.name, value, least)
        if self.node_count and self.processes_per_node:
            product = self.node_count * self.processes_per_node
            if self.process_count not in (None, product):
                raise ResourceError(
                    f"process_count={self.process_count} contradicts node_count={self.node_count} × "
                    f"processes_per_node={self.processes_per_node} = {product}; give two of the three"
                )

    @property
    def ranks(self) -> int:
        """Processes in all, at least 1."""
        if self.process_count is not None:
            return self.process_count
        return (self.node_count or 1) * (self.processes_per_node or 1)

    @property
    def cores(self) -> int:
        """CPU cores in all."""
        return self.ranks * self.cpu_cores_per_process

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return self.ranks * self.gpu_cores_per_process

    @property
    def is_parallel(self) -> bool:
        """True when the task is launched as ranks, be it one, rather than run as a plain process."""
        return self.process_count is not None or self.processes_per_node is not None

    def __str__(self) -> str:
        parts = [f"{self.cores} core{'s' * (self.cores != 1)}"]
        if self.is_parallel:
            parts.append(f"{self.ranks} rank{'s' * (self.ranks != 1)}")
        if self.node_count:
            parts.append(f"{self.node_count} node{'s' * (self.node_count != 1)}")
        if self.gpus:
            parts.append(f"{self.gpus} GPU{'s' * (self.gpus != 1)}")
        if self.memory is not None:
            parts.append(format_bytes(self.memory))
        return ", ".join(parts) + (", exclusive" if self.exclusive else "")


def resources(
    *,
    cores: int = 1,
    gpus: int = 0,
    ranks: int | None = None,
    nodes: int | None = None,
    memory: int | str | None = None,
    exclusive: bool = False,
) -> Resources:
    """Resources in the short words of the decorators; `cores` and `gpus` count per rank."""
    for name, value, least in (("cores", cores, 1), ("gpus", gpus, 0), ("ranks", ranks, 1), ("nodes", nodes, 1)):
        if value is not None:
            check_whole(name, value, least)
    if not isinstance(exclusive, bool):
        raise ResourceError(f"exclusive={exclusive!r} must be True or False")
    return Resources(
        node_count=nodes,
        process_count=ranks,
        cpu_cores_per_process=cores,
        gpu_cores_per_process=gpus,
        memory=parse_memory(memory),
        exclusive=exclusive,
    )


def format_bytes(count: float) -> str:
    """Return a size for people: ``format_bytes(2_500_000) == '2.5 MB'``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"

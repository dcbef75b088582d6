"""What a job asks for: nodes, processes, cores, GPUs, memory."""

from __future__ import annotations

from abc import ABC, abstractmethod

from harmony.errors import InvalidJobException

_COUNTS = ("node_count", "process_count", "processes_per_node", "cpu_cores_per_process", "gpu_cores_per_process")
_FIELDS = (*_COUNTS, "exclusive_node_use", "memory")


class ResourceSpec(ABC):
    """The base of every version of a resource specification."""

    @property
    @abstractmethod
    def version(self) -> int:
        """The version of the specification, as PSI/J numbers them."""

    @staticmethod
    def get_instance(version: int) -> ResourceSpec:
        """Return an empty specification of that version. Raises `ValueError` when there is none."""
        if version != 1:
            raise ValueError(f"version={version!r}: there is only version 1 of ResourceSpec")
        return ResourceSpecV1()


class ResourceSpecV1(ResourceSpec):
    """Nodes and processes of a job; `process_count` = `node_count` × `processes_per_node`.

    Of the three give none (one process), one or two; the others follow and are had as `computed_…`, at any time and
    also after a change. `cpu_cores_per_process` and `gpu_cores_per_process` count for each process. `memory` is in
    bytes, for the whole job. Raises `InvalidJobException` for numbers that contradict each other.
    """

    def __init__(
        self,
        node_count: int | None = None,
        process_count: int | None = None,
        processes_per_node: int | None = None,
        cpu_cores_per_process: int | None = None,
        gpu_cores_per_process: int | None = None,
        exclusive_node_use: bool = False,
        memory: int | None = None,
    ) -> None:
        self.node_count = node_count
        self.process_count = process_count
        self.processes_per_node = processes_per_node
        self.cpu_cores_per_process = cpu_cores_per_process
        self.gpu_cores_per_process = gpu_cores_per_process
        self.exclusive_node_use = exclusive_node_use
        self.memory = memory
        self.check()

    @property
    def version(self) -> int:
        """1."""
        return 1

    def check(self) -> None:
        """Raise `InvalidJobException` when a number is none, or contradicts the others."""
        for name in (*_COUNTS, "memory"):
            value = getattr(self, name)
            least = 0 if name == "gpu_cores_per_process" else 1
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise InvalidJobException(f"{name}={value!r} must be a whole number, at least {least}")
        if not isinstance(self.exclusive_node_use, bool):
            raise InvalidJobException(f"exclusive_node_use={self.exclusive_node_use!r} must be True or False")
        self._counts()

    def _counts(self) -> tuple[int, int, int]:
        """Nodes, processes, processes per node."""
        nodes, processes, per_node = self.node_count, self.process_count, self.processes_per_node
        if processes is None:
            return nodes or 1, (nodes or 1) * (per_node or 1), per_node or 1
        if nodes is None and per_node is None:
            return 1, processes, processes
        if nodes is None:
            assert per_node is not None
            return self._share("processes_per_node", per_node), processes, per_node
        if per_node is None:
            return nodes, processes, self._share("node_count", nodes)
        if processes != nodes * per_node:
            raise InvalidJobException(
                f"process_count={processes} must be node_count={nodes} × processes_per_node={per_node} = "
                f"{nodes * per_node}; give two of the three"
            )
        return nodes, processes, per_node

    def _share(self, name: str, divisor: int) -> int:
        assert self.process_count is not None
        if self.process_count % divisor:
            raise InvalidJobException(f"process_count={self.process_count} must be a multiple of {name}={divisor}")
        return self.process_count // divisor

    @property
    def computed_node_count(self) -> int:
        """Nodes, given or computed."""
        return self._counts()[0]

    @property
    def computed_process_count(self) -> int:
        """Processes in all, given or computed."""
        return self._counts()[1]

    @property
    def computed_processes_per_node(self) -> int:
        """Processes on each node, given or computed."""
        return self._counts()[2]

    @property
    def memory_kb(self) -> int | None:
        """`memory` in KiB, rounded up."""
        return None if self.memory is None else -(-self.memory // 1024)

    @property
    def memory_per_node(self) -> int | None:
        """The bytes that each node must give, rounded up; None when `memory` is not set."""
        return None if self.memory is None else -(-self.memory // self.computed_node_count)

    @property
    def cores_per_node(self) -> int:
        """CPU cores on each node."""
        return self.computed_processes_per_node * (self.cpu_cores_per_process or 1)

    @property
    def gpus_per_node(self) -> int:
        """GPUs on each node."""
        return self.computed_processes_per_node * (self.gpu_cores_per_process or 0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ResourceSpecV1):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in _FIELDS))

    def __repr__(self) -> str:
        given = (f"{name}={value!r}" for name in _FIELDS if (value := getattr(self, name)) not in (None, False))
        return f"ResourceSpecV1({', '.join(given)})"

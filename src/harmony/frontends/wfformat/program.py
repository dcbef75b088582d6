"""The program that stands for a task in a replay: it reads its files, computes, writes its files, and exits.

    python -I -S program.py DIRECTORY RECORD SECONDS PROCESSES COUNT INPUT SIZE … OUTPUT SIZE …

Each input has to have its size (−1: any), so that a task started too early fails. It computes until the process
has used SECONDS of CPU time, its own start-up and reading included; PROCESSES − 1 others compute as long beside
it. What it writes follows from the content of what it read, and so does the checksum that it adds to RECORD,
one line per run: start and end (nanoseconds since the epoch), CPU seconds of all its processes, bytes read,
bytes written, checksum.

It imports nothing but modules built into the interpreter, and leaves by `_exit`: start-up is the cost of a task.
"""

import posix
import sys
import time
import zlib

CHUNK = 1 << 20


def arguments(argv: list[str]) -> list[str]:
    """The arguments, or, for ``@FILE``, those in the file, separated by NUL: a command line has a limit."""
    if len(argv) == 1 and argv[0].startswith("@"):
        with open(argv[0][1:], encoding="utf-8") as stream:
            return stream.read().split("\0")
    return argv


def read(path: str, size: int, checksum: int) -> "tuple[int, int]":
    """Read a file to its end; return how many bytes it has and the checksum continued over them."""
    count = 0
    with open(path, "rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK):
            checksum = zlib.crc32(chunk, checksum)
            count += len(chunk)
    if count != size and size >= 0:
        sys.exit(f"{path} has {count} bytes, not {size}: the task that writes it has not ended")
    return count, checksum


def write(path: str, size: int, checksum: int) -> None:
    """Write a file of `size` bytes that follow from the checksum."""
    block = memoryview((b"%08x\n" % checksum) * (min(size, CHUNK) // 9 + 1))
    with open(path, "wb", buffering=0) as stream:
        while size > 0:
            size -= stream.write(block[: min(size, len(block))])


def compute(seconds: float, processes: int) -> None:
    """Use the CPU until this process has used so many seconds of it, and as many processes beside it as asked."""
    children = []
    for _ in range(processes - 1):
        child = posix.fork()
        if child == 0:
            compute(seconds, 1)
            posix._exit(0)
        children.append(child)
    value = 1
    while time.process_time() < seconds:
        for _ in range(200):
            value = value * 1103515245 + 12345 & 0xFFFFFFFF
    for child in children:
        posix.waitpid(child, 0)


def main(argv: list[str]) -> None:
    """Be the task."""
    start = time.time_ns()
    directory, record, seconds, processes, count, *files = arguments(argv)
    posix.chdir(directory)
    pairs = [(files[index], int(files[index + 1])) for index in range(0, len(files), 2)]
    checksum = zlib.crc32(record.encode("utf-8"))
    bytes_read = 0
    for path, size in pairs[: int(count)]:
        length, checksum = read(path, size, checksum)
        bytes_read += length
    compute(float(seconds), int(processes))
    bytes_written = 0
    for path, size in pairs[int(count) :]:
        write(path, size, zlib.crc32(path.encode("utf-8"), checksum))
        bytes_written += size
    beside = posix.times()
    cpu = time.process_time() + beside.children_user + beside.children_system
    line = f"{start} {time.time_ns()} {cpu:.6f} {bytes_read} {bytes_written} {checksum:08x}\n"
    with open(record, "ab", buffering=0) as stream:
        stream.write(line.encode("ascii"))


if __name__ == "__main__":
    main(sys.argv[1:])
    posix._exit(0)

"""The program behind every emulated command: it sends what was typed to the emulator, and does what comes back.

Only built-in modules: it is started hundreds of times, and importing `socket` or `json` would double its time.
"""

import _socket
import posix
import sys

# What it says to the emulator is a letter, the length of what follows, a newline, and that.


def send(connection: _socket.socket, kind: bytes, fields: "list[bytes]") -> None:
    """Send a message."""
    payload = b"\0".join(fields)
    connection.sendall(b"%s%d\n" % (kind, len(payload)) + payload)


def receive(connection: _socket.socket) -> "tuple[bytes, bytes]":
    """Return the letter and the rest of a message. Raises `OSError` if the emulator ends meanwhile."""
    data = b""
    wanted = -1
    while wanted < 0 or len(data) < wanted:
        piece = connection.recv(1 << 20)
        if not piece:
            raise OSError
        data += piece
        if wanted < 0 and b"\n" in data:
            wanted = data.index(b"\n") + 1 + int(data[1 : data.index(b"\n")])
    return data[:1], data[data.index(b"\n") + 1 :]


def read_all(descriptor: int) -> bytes:
    """Read to the end."""
    pieces: list[bytes] = []
    while True:
        try:
            piece = posix.read(descriptor, 65536)
        except OSError:
            piece = b""
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it."""
    while data:
        data = data[posix.write(descriptor, data) :]


def become(body: bytes) -> None:
    """Go on as another program."""
    count, *fields = body.split(b"\0")
    argv, settings = fields[: int(count)], fields[int(count) :]
    environment: dict[bytes, bytes] = dict(posix.environ)
    for item in settings:
        name, equals, value = item.partition(b"=")
        if equals:
            environment[name] = value
        else:
            environment.pop(name, None)
    posix.execve(argv[0], argv, environment)


def main() -> None:
    """Act as the command named on the command line."""
    path, *words = sys.argv[1:]
    coding = sys.getfilesystemencoding()
    argv = [word.encode(coding, "surrogateescape") for word in words]
    try:
        directory = posix.getcwdb()
    except OSError:
        directory = b"/"
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
        environment = [name + b"=" + value for name, value in posix.environ.items()]
        send(connection, b"C", [directory, b"%d" % len(argv), *argv, *environment])
        kind, body = receive(connection)
        if kind == b"S":
            send(connection, b"I", [read_all(0)])
            kind, body = receive(connection)
    except OSError:
        write_all(2, argv[0] + b": the emulator is not running\n")
        posix._exit(1)
    if kind == b"X":
        become(body)
    code, length, text = body.split(b"\0", 2)
    try:
        write_all(1, text[: int(length)])
        write_all(2, text[int(length) :])
    except OSError:
        posix._exit(1)
    posix._exit(int(code))


if __name__ == "__main__":
    main()

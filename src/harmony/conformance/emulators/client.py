# The program behind every emulated command. It sends what was typed to the emulator, and does what comes back.
# Only built-in modules: it is started hundreds of times, and importing `socket` or `json` would double its time.
import posix
import sys

import _socket


def send(connection, kind, fields):
    payload = b"\0".join(fields)
    connection.sendall(b"%s%d\n" % (kind, len(payload)) + payload)


def read_all(descriptor):
    pieces = []
    while True:
        try:
            piece = posix.read(descriptor, 65536)
        except OSError:
            piece = b""
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def write_all(descriptor, data):
    while data:
        data = data[posix.write(descriptor, data) :]


def receive(connection):
    data = b""
    while b"\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise OSError
        data += piece
    head, _, body = data.partition(b"\n")
    wanted = int(head[1:])
    pieces, got = [body], len(body)
    while got < wanted:
        piece = connection.recv(1 << 20)
        if not piece:
            raise OSError
        pieces.append(piece)
        got += len(piece)
    return head[:1], b"".join(pieces)


def become(body):
    count, *fields = body.split(b"\0")
    argv, settings = fields[: int(count)], fields[int(count) :]
    environment = dict(posix.environ)
    for item in settings:
        name, equals, value = item.partition(b"=")
        environment[name] = value
        if not equals:
            del environment[name]
    posix.execve(argv[0], argv, environment)


def main():
    path, program, *rest = sys.argv[1:]
    coding = sys.getfilesystemencoding()
    argv = [word.encode(coding, "surrogateescape") for word in [program, *rest]]
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


main()

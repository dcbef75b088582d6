"""Stands in for the program vine_worker: forks a process for each task of a stand-in manager."""

from __future__ import annotations

import argparse
import os
import pickle
import select
import signal
import socket
import sys
import traceback
from typing import Any

sys.path.insert(0, os.path.dirname(__file__))
from ndcctools import taskvine


def start(channel: socket.socket, fn: Any, args: Any) -> tuple[int, int]:
    """Fork a process that runs the function; return its id and where its answer can be read."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    os.setpgid(0, 0)
    channel.close()
    try:
        answer = ("value", fn(*args))
    except BaseException:
        answer = ("raised", traceback.format_exc())
    with os.fdopen(writing, "wb") as stream:
        stream.write(pickle.dumps(answer))
    os._exit(0)


def main() -> None:
    """Serve until the manager is gone, or says so."""
    parser = argparse.ArgumentParser()
    for name in ("--password", "--cores", "--gpus", "-t"):
        parser.add_argument(name)
    parser.add_argument("--single-shot", action="store_true")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    given = parser.parse_args()
    channel = socket.create_connection((given.host, given.port))
    taskvine.folder = os.path.dirname(given.password)
    with open(given.password, "rb") as stream:
        taskvine.say(channel, {"password": stream.read(), "cores": int(given.cores)})
    running: dict[int, tuple[int, int]] = {}
    while True:
        watched: list[Any] = [channel, *(pipe for _, pipe in running.values())]
        ready = select.select(watched, [], [])[0]
        for number, (pid, pipe) in list(running.items()):
            if pipe in ready:
                del running[number]
                with os.fdopen(pipe, "rb") as stream:
                    data = stream.read()
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                kind, value = pickle.loads(data) if data else ("status", abs(status))
                taskvine.say(channel, (number, kind, value))
        if channel in ready:
            message = taskvine.hear(channel)
            if message is None or message[0] == "exit":
                break
            if message[0] == "run":
                running[message[1]] = start(channel, *message[2:])
            elif message[1] in running:
                pid, pipe = running.pop(message[1])
                os.close(pipe)
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    for pid, _ in running.values():
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


main()

"""The command line, from a process that has its imports behind it: commands of the docs start at once.

What a command does is the same: each gets a process of its own, forked before anything but imports was
done, with the words, environment, folder and streams of the caller. So does the fork server of its workers,
which would import all of that once more. That the installed command starts from nothing is tested in
test_cli.py.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from importlib import import_module
from multiprocessing import util

_BYTES = 1 << 20
_FORK_SERVER = "from multiprocessing.forkserver import main;"
# Descriptors wait above this number until those are free that the fork server is told.
_SPARE = 100


def _serve(path: str) -> None:
    from voxlake.verbs import VERBS

    # Modules with torch behind them import it inside their functions, so this stays light.
    for module in sorted({verb.module for verb in VERBS}):
        import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen(16)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            line, _ = door.accept()
            with line:
                if os.fork() == 0:
                    door.close()
                    _answer(line)


def _answer(line: socket.socket) -> None:
    """Fork once more: this process waits for the command and tells its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(line, 1, 3)
    size = int.from_bytes(_read(line, 8), "little")
    words, environment, folder = json.loads(_read(line, size))
    command = os.fork()
    if command == 0:
        line.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        _command(words, environment, folder)
    _, status = os.waitpid(command, 0)
    line.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())
    os._exit(0)


def _command(words: list[str], environment: dict[str, str], folder: str) -> None:
    from voxlake.cli import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["voxlake", *words]
    _keep_fork_server_ready()
    main()


def _keep_fork_server_ready() -> None:
    """Fork what may become the fork server now, while this process has no threads."""
    ours, theirs = socket.socketpair()
    waiting = os.fork()
    if waiting == 0:
        ours.close()
        try:
            _become_fork_server(theirs)
        finally:
            os._exit(0)
    theirs.close()
    start = util.spawnv_passfds

    def hand_over(path: str, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
        if not arguments[-1].startswith(_FORK_SERVER):
            return start(path, arguments, descriptors)
        util.spawnv_passfds = start
        with ours:
            socket.send_fds(ours, [b"!"], descriptors)
            data = json.dumps([arguments[-1], list(descriptors), dict(os.environ)]).encode()
            ours.sendall(len(data).to_bytes(8, "little") + data)
        return waiting

    util.spawnv_passfds = hand_over


def _become_fork_server(line: socket.socket) -> None:
    """Wait for the code that a new interpreter would be given, or for the end of the command."""
    _, received, _, _ = socket.recv_fds(line, 1, 8)
    if not received:
        return
    code, descriptors, environment = json.loads(_read(line, int.from_bytes(_read(line, 8), "little")))
    line.close()
    spare = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _SPARE) for each in received]
    for each in received:
        os.close(each)
    for each, descriptor in zip(spare, descriptors, strict=True):
        os.dup2(each, descriptor)
        os.close(each)
    os.environ.clear()
    os.environ.update(environment)
    exec(code, {"__name__": "__main__"})


def _read(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = line.recv(min(size - len(data), _BYTES))
        assert part
        data += part
    return data


if __name__ == "__main__":
    _serve(sys.argv[1])

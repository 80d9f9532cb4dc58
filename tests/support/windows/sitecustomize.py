"""Takes away what Python on Windows does not have: for a subprocess with this folder in PYTHONPATH."""

import importlib.abc
import os
import select
import signal
import socket
import sys
import tempfile

ABSENT_MODULES = {"fcntl", "termios", "tty", "pty", "pwd", "grp", "resource", "syslog", "readline", "crypt"}
# Not sysconf: asyncio of 3.12 asks it where sockets have sendmsg, as these still do.
ABSENT = {
    os: ("fork", "geteuid", "getuid", "getgid", "setsid", "uname", "getpgid", "killpg", "mkfifo"),
    select: ("poll", "epoll", "kqueue", "devpoll"),
    signal: ("SIGHUP", "SIGKILL", "SIGALRM", "SIGPIPE", "SIGWINCH", "SIGUSR1", "SIGCHLD", "pthread_sigmask"),
    socket: ("AF_UNIX",),
}


def _socketpair(*_: object) -> tuple[socket.socket, socket.socket]:
    """As the standard library makes one there: over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _address = server.accept()
    return one, other


def _temporary_file(**options):  # type: ignore[no-untyped-def]
    """Nobody else can open it."""
    file = _NAMED_TEMPORARY_FILE(delete=False, **options)
    os.unlink(file.name)
    return file


class _Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, *_):  # type: ignore[no-untyped-def]
        if fullname in ABSENT_MODULES:
            raise ModuleNotFoundError(f"No module named {fullname!r} (as on Windows)", name=fullname)


_NAMED_TEMPORARY_FILE, tempfile.NamedTemporaryFile = tempfile.NamedTemporaryFile, _temporary_file
for module, names in ABSENT.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
for name in ABSENT_MODULES:
    sys.modules.pop(name, None)
socket.socketpair = _socketpair  # type: ignore[assignment]
sys.meta_path.insert(0, _Refuse())

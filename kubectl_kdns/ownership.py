"""Whose a temporary change to the cluster is, and whether they still need it.

What a kdns changes carries this in an annotation, so that another one can tell a change in use from one that
was left behind (`kill -9`, a machine that went down).
"""

from __future__ import annotations

import getpass
import os
import socket
from typing import Any, Self

from msgspec import Struct

from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.times import format_time


class Ownership(Struct, frozen=True):
    """The kdns that made a change; `started` and `until` (when it is to be gone) are RFC 3339."""

    session: str
    user: str
    host: str
    pid: int
    process_start: str
    started: str
    until: str

    @classmethod
    def of_this_process(cls, session: str, started_ns: int, until_ns: int, **more: Any) -> Self:
        """Ours; `more` are the fields that a subclass has besides."""
        return cls(
            session=session,
            user=_user(),
            host=socket.gethostname(),
            pid=os.getpid(),
            process_start=process_start(os.getpid()),
            started=format_time(started_ns),
            until=format_time(until_ns),
            **more,
        )

    @property
    def owner(self) -> str:
        """USER@HOST."""
        return safe_text(f"{self.user}@{self.host}")

    def in_use(self, now_ns: int) -> str:
        """Who still needs it; "" when their kdns is known to be gone or the time is over."""
        if self.until < format_time(now_ns):
            return ""
        if self.host == socket.gethostname() and process_start(self.pid) != self.process_start:
            return ""
        return f"in use by {self.owner} until {safe_text(self.until)}"


def process_start(pid: int) -> str:
    """When a process of this machine began, in the kernel's ticks, so that a reused pid is told apart; "" if
    it is gone or this system has no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rsplit(b") ", 1)[1].split()[19].decode()
    except (OSError, IndexError):
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return "unknown"

"""Whose a visibility policy is, and taking it away: by the session that made it, or by a later `cleanup`.

The policy says in an annotation whose it is. It is deleted only as the very object that was looked at
(uid and resourceVersion), and while nobody has changed what it says (metadata.generation is still 1).
"""

from __future__ import annotations

import getpass
import os
import socket
from typing import Any

import msgspec
from msgspec import Struct

from kdns_hubble.policy import KIND, MARK, NAME
from kdns_hubble.visibility import CILIUM_POLICIES
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import ConflictError, KdnsError, NotFoundError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.times import NS_PER_S, format_time

ATTEMPTS = 5
MERGE_PATCH = "application/merge-patch+json"
SPARE_NS = 60 * NS_PER_S
"""What a session may take besides its time, before its policy counts as left behind."""


class Session(Struct, frozen=True):
    """Who has made a policy, and for how long. Times are RFC 3339."""

    session: str
    user: str
    host: str
    pid: int
    process_start: str
    started: str
    until: str

    @property
    def owner(self) -> str:
        return safe_text(f"{self.user}@{self.host}")


def new_session(session: str, lasts_ns: int, now_ns: int) -> Session:
    """This process as the maker of a policy that is to last for `lasts_ns`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    pid = os.getpid()
    until = format_time(now_ns + lasts_ns + SPARE_NS)
    return Session(session, user, socket.gethostname(), pid, process_start(pid), format_time(now_ns), until)


def marks(session: Session) -> dict[str, Any]:
    """The part of a policy's metadata that says whose it is."""
    return {
        "labels": {MARK: session.session},
        "annotations": {MARK: msgspec.json.encode(session).decode()},
    }


def session_of(policy: Any) -> Session | None:
    """The session in a policy's annotation; None when it is none of ours or of another version."""
    text = (policy["metadata"].get("annotations") or {}).get(MARK, "")
    try:
        return msgspec.json.decode(text, type=Session)
    except msgspec.DecodeError:
        return None


def in_use(session: Session, now_ns: int) -> str:
    """Who still uses a policy; "" when its kdns is known to be gone or its time is over."""
    here = session.host == socket.gethostname()
    gone = here and process_start(session.pid) != session.process_start
    if gone or session.until < format_time(now_ns):
        return ""
    return f"in use by {session.owner} until {safe_text(session.until)}"


def process_start(pid: int) -> str:
    """When a process of this machine began, in the kernel's ticks; "" if it is gone or there is no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rsplit(b") ", 1)[1].split()[19].decode()
    except (OSError, IndexError):
        return ""


def policies_path(namespace: str) -> str:
    return CILIUM_POLICIES.format(f"/namespaces/{namespace}")


def policy_name(namespace: str) -> str:
    """Our policy as messages call it."""
    return f"{KIND.lower()} {namespace}/{NAME}"


def take_away(cluster: Cluster, namespace: str, session: str) -> str:
    """Deletes one session's policy, and says what was done. Raises KdnsError.

    A policy whose rules somebody else has changed is theirs now: it stays, only our marks go.
    """
    path, where = f"{policies_path(namespace)}/{NAME}", policy_name(namespace)
    for _ in range(ATTEMPTS):
        try:
            found = cluster.get(path)
            metadata, mine = found["metadata"], session_of(found)
            if mine is None or mine.session != session:
                return f"nothing to take away: {where} is not ours"
            if metadata.get("generation", 1) != 1:
                unmarked = {"labels": {MARK: None}, "annotations": {MARK: None}}
                body = {"metadata": {"resourceVersion": metadata["resourceVersion"], **unmarked}}
                cluster.request("PATCH", path, body=body, content_type=MERGE_PATCH)
                return f"{where} was changed by somebody else meanwhile: it stays, and is theirs now"
            only = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
            cluster.request("DELETE", path, body={"preconditions": only})
        except NotFoundError:
            return f"{where} is gone already"
        except ConflictError:
            continue  # its status, or an edit, came in between
        return f"{where} is taken away"
    raise KdnsError(f"{where} changes all the time", cause=f"{ATTEMPTS} attempts met a conflict each")

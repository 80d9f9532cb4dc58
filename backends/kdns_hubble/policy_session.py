"""Whose a visibility policy is, and taking it away: by the session that made it, or by a later `cleanup`.

The policy says in an annotation whose it is. It is deleted only as the very object that was looked at
(uid and resourceVersion), and while nobody has changed what it says (metadata.generation is still 1).
"""

from __future__ import annotations

from typing import Any

import msgspec

from kdns_hubble.policy import KIND, MARK, NAME
from kdns_hubble.visibility import CILIUM_POLICIES
from kubectl_kdns.errors import ConflictError, KdnsError, NotFoundError
from kubectl_kdns.kube import MERGE_PATCH, Cluster
from kubectl_kdns.ownership import Ownership
from kubectl_kdns.times import NS_PER_S

ATTEMPTS = 5
SPARE_NS = 60 * NS_PER_S
"""What a session may take besides its time, before its policy counts as left behind."""


def new_session(session: str, lasts_ns: int, now_ns: int) -> Ownership:
    """This process as the maker of a policy that is to last for `lasts_ns`."""
    return Ownership.of_this_process(session, now_ns, now_ns + lasts_ns + SPARE_NS)


def marks(session: Ownership) -> dict[str, Any]:
    """The part of a policy's metadata that says whose it is."""
    return {
        "labels": {MARK: session.session},
        "annotations": {MARK: msgspec.json.encode(session).decode()},
    }


def session_of(policy: Any) -> Ownership | None:
    """The session in a policy's annotation; None when it is none of ours or of another version."""
    text = (policy["metadata"].get("annotations") or {}).get(MARK, "")
    try:
        return msgspec.json.decode(text, type=Ownership)
    except msgspec.DecodeError:
        return None


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

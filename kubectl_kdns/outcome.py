"""What a request of several lookups came to: which of them decided it, its addresses, and the sentence."""

from __future__ import annotations

from kubectl_kdns.conclusion import TRUNCATED
from kubectl_kdns.legs import FINAL
from kubectl_kdns.model import Attempt, Maybe


def deciding(attempts: list[Attempt]) -> Attempt:
    """The attempt that made the request end as it did: of each type the last one counts, a failure most."""
    if len(attempts) == 1:
        return attempts[0]
    finals = {attempt.type: attempt for attempt in attempts}.values()
    failed = [a for a in finals if a.status != "answered" or a.rcode not in FINAL]
    with_data = [a for a in finals if a.resolved_ips]
    found = [a for a in finals if a.rcode == "NOERROR"]
    return (failed or with_data or found or list(finals))[-1]


def all_addresses(attempts: list[Attempt], last: Attempt) -> Maybe[list[str]]:
    """Of all types, under the name that was found."""
    found = [ip for each in attempts if each.name == last.name for ip in each.resolved_ips or ()]
    return list(dict.fromkeys(found)) or last.resolved_ips


def conclusion_of(attempts: list[Attempt], last: Attempt) -> str:
    """The conclusion of a request of several lookups."""
    if len(attempts) == 1 and TRUNCATED not in str(last.conclusion):
        return str(last.conclusion)
    names = list(dict.fromkeys(attempt.name for attempt in attempts))
    types = {attempt.type for attempt in attempts}
    text = str(last.conclusion)
    if len(types) > 1 and last.code not in ("upstream", "own", "answered"):
        text = f"{last.type}: {text}"
    same = [a for a in attempts if a.name == last.name and a.type == last.type]
    tries, transports = len(same), [hop.transport for a in same for hop in a.hops[:1]]
    if "udp" in transports and transports[-1] == "tcp":
        text += "; asked again over TCP"
    elif f", {TRUNCATED}" in text and transports[-1] == "udp":
        text += "; the application did not ask again over TCP"
    elif tries > 1:
        text += f"; asked {tries} times by the application"
    if len(names) > 1:
        place = names.index(last.name) + 1
        wasted = len(attempts) - sum(a.name == last.name for a in attempts)
        before = "1 lookup before it was" if wasted == 1 else f"{wasted} lookups before it were"
        text += f"; name {place} of a search list, {before} in vain"
    return text

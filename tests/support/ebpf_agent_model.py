"""What an agent does with a Selection, in Python: src/filter.c over the fields of a finished lookup."""

from __future__ import annotations

from kdns_ebpf import wire
from kdns_ebpf.selection import Selection
from kubectl_kdns.dns.tables import rcode_number, type_number
from kubectl_kdns.model import Lookup

_TESTS = {
    wire.NAME_EXACT: str.__eq__,
    wire.NAME_SUFFIX: str.endswith,
    wire.NAME_PREFIX: str.startswith,
    wire.NAME_SUBSTRING: str.__contains__,
}


def agent_keeps(selection: Selection, lookup: Lookup) -> bool:
    """Whether the agent sends it."""
    answered = lookup.status == "answered"
    code = rcode_number(lookup.dns.rcode or "NOERROR") if answered and lookup.dns else None
    if answered and code is not None and code < 16 and not selection.outcomes >> code & 1:
        return False
    if not answered and not selection.outcomes & wire.OUTCOME_NO_ANSWER:
        return False
    if selection.slower_than_ns:
        latency_ns = round((lookup.latency_ms or 0) * 1e6) if answered else -1
        if latency_ns < selection.slower_than_ns:
            return False
    name = lookup.dns.name if lookup.dns else None
    type_ = type_number(lookup.dns.type or "") if lookup.dns else None
    if not name or type_ is None:
        return True  # no readable question
    listed = type_ in selection.types
    if selection.types_mode == wire.TYPES_ONLY and not listed:
        return False
    if selection.types_mode == wire.TYPES_NOT and listed:
        return False
    return not selection.names or any(_TESTS[kind](name, text.decode()) for kind, text in selection.names)

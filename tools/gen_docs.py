"""Writes the pages of docs/ that are made from data, so that they cannot drift from the code.

Usage: python tools/gen_docs.py [--check]. A page is a function in PAGES; --check writes nothing and fails
when a page is not current.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from kubectl_kdns.doctor.examination import Catalogue
from kubectl_kdns.fields import BY_PATH, FIELDS, MESSAGE_FIELDS, Field
from kubectl_kdns.output.fields_view import backends_text, meaning_text
from kubectl_kdns.schema import FIELDS_OF_KIND

ROOT = Path(__file__).resolve().parent.parent

GROUP_TITLES = {
    "": "The sighting",
    "client": "client: who asked",
    "server": "server: who was asked",
    "dns": "dns: what was asked and answered",
    "upstream": "upstream: whom the server asked in turn",
    "error": "error: why it failed",
    "policy": "policy: what a network policy decided",
    "socket": "socket: the kernel's ids",
}
ANSWER_TITLE = "An element of dns.answers: `.dns.answers[0].data`, `.dns.answers[*].data` in custom-columns"
TABLE_BEGINS = "<!-- Made by tools/gen_docs.py from the checks in the code: edit those. -->"
TABLE_ENDS = "<!-- The end of what is made. -->"
CHECKS = Catalogue().checks
MESSAGE = "A query or a response (`--messages`): a lookup without status, latency_ms, tries and late, with"
INTRODUCTION = """\
# The fields of kdns/v1

<!-- Made by tools/gen_docs.py from kubectl_kdns/fields.py and kubectl_kdns/schema.py: edit those. -->

A path is the JSON path in `-o json`. The same path serves `--filter`, `--columns` and `custom-columns`.

- A field that is not there is unknown; an empty list is known to be empty. Nothing is ever a made-up 0 or "".
- Names are lower case, without the trailing dot; the root is ".". Text that came from a network has its
  control characters written as `\\ddd`, in every format.
- A field whose path stands in `inferred` was concluded, not seen.
- *Named later* fields come from the Kubernetes API after the event was read; an address is given to a pod
  only if the pod had it at the event's time.
- ECS is Elastic Common Schema 8, OTel OpenTelemetry's semantic conventions: where a collector should put it.
- New fields and values may come within v1; readers ignore those that they do not know.

## In the table

| column | what it shows |
| --- | --- |
| TIME | `time` in the local zone, with the date if that is not today (`--time` chooses) |
| CLIENT | `namespace/pod`; `node/NAME`, `nodelocal/NAME` for what is no pod or hides one; or the address |
| NAME, TYPE | `dns.name`, `dns.type` |
| STATUS | `dns.rcode` of what was answered; else `status`: `unanswered`, `unwritten`, `denied`, `pending` |
| LATENCY | `latency_ms`; coloured from 100 ms, red from 1 s |
| SERVER | the pod that answered, else the Service, else the address |
| DETAIL | several tries, `late`, the cause of a failure, the answers, `no data`, `truncated` |

`~` behind a value says that it was concluded, not seen: `SERVFAIL~` is an answer that the server's log does
not show, but its error line does. `-` is unknown, in custom-columns `<none>`, in csv nothing; `[]` is an
empty list.
On a terminal columns are cut to fit (`…`); in a pipe and with `-o wide` nothing is cut.

csv prints text as it was seen. A name may begin with `=`, `+`, `-` or `@`: import a file from an untrusted
network as text, or a spreadsheet takes such a name for a formula.
"""


def fields_page() -> str:
    """docs/fields.md."""
    parts = [INTRODUCTION, "## lookup\n\nA query with its response, or without, seen at one vantage point.\n"]
    for group, title in GROUP_TITLES.items():
        parts.append(f"### {title}\n\n{_field_table(field for field in FIELDS if _group(field) == group)}")
    lookup = FIELDS_OF_KIND["lookup"]
    answer = _short_table(field for path, field in lookup.items() if path not in BY_PATH)
    parts.append(f"### {ANSWER_TITLE}\n\n{answer}")
    parts.append(f"## message\n\n{MESSAGE}\n\n{_field_table(MESSAGE_FIELDS)}")
    for kind, fields in FIELDS_OF_KIND.items():
        if kind not in ("lookup", "message"):
            parts.append(f"## {kind}\n\n{_short_table(fields.values())}")
    return "\n".join(parts)


def _group(field: Field) -> str:
    head, dot, _ = field.path.partition(".")
    return head if dot else ""


def _short_table(fields: Iterable[Field]) -> str:
    rows = [(f"`{field.path}`", f"`{field.type}`", meaning_text(field)) for field in fields]
    return _table(("field", "type", "meaning"), rows)


def _field_table(fields: Iterable[Field]) -> str:
    rows = [
        (
            f"`{field.path}`",
            f"`{field.type}`",
            meaning_text(field),
            backends_text(field) + (", named later" if field.directory else ""),
            field.ecs,
            field.otel,
        )
        for field in fields
    ]
    return _table(("field", "type", "meaning", "backends", "ECS", "OTel"), rows)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def doctor_page() -> str:
    """docs/doctor.md: what people wrote, with the table of the checks that there are."""
    text = (ROOT / "docs/doctor.md").read_text(encoding="utf-8")
    head, _, rest = text.partition(TABLE_BEGINS)
    _, _, tail = rest.partition(TABLE_ENDS)
    parts = []
    for topic in dict.fromkeys(check.topic for check in CHECKS):
        rows = [(f"`{c.id}`", c.help, c.worst, c.fix) for c in CHECKS if c.topic == topic]
        parts.append(f"### {topic}\n\n{_table(('check', 'is it so?', 'at worst', 'fix'), rows)}")
    return f"{head}{TABLE_BEGINS}\n{chr(10).join(parts)}{TABLE_ENDS}{tail}"


# Path in the repository -> what makes its text.
PAGES: dict[str, Callable[[], str]] = {
    "docs/fields.md": fields_page,
    "docs/doctor.md": doctor_page,
}


def main(arguments: Sequence[str]) -> int:
    """Writes what is not current, or with --check names it and returns 1."""
    stale = [
        name
        for name, make in PAGES.items()
        if not (ROOT / name).is_file() or (ROOT / name).read_text(encoding="utf-8") != make()
    ]
    if "--check" in arguments:
        if stale:
            print(f"not current: {', '.join(stale)}. Try: python tools/gen_docs.py", file=sys.stderr)
        return bool(stale)
    for name in stale:
        (ROOT / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

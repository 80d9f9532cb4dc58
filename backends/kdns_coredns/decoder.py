"""The lines of one CoreDNS log as records, in its order: lookups with their errors, and notices.

One decoder a log; it has no clock and no threads. Whole blocks of query lines take a short way; a block with
any other line in it is read line by line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import UNSET

from kdns_coredns.facts import Kind, UnreadableError, is_probe
from kdns_coredns.formats import Template
from kdns_coredns.joiner import Joiner
from kdns_coredns.lead import Lead, lead_of
from kdns_coredns.lines import BLOCK_BYTES, LineForm, Row, Vantage, forms_of, read_rows
from kdns_coredns.notes import (
    RELOADED,
    classic_line,
    consolidated,
    is_like_a_query,
    kubelet_message,
    logged_error,
    reload_event,
)
from kdns_coredns.selection import Search, Selection
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.model import Lookup, Maybe, Notice, Record, Server
from kubectl_kdns.times import format_time, parse_time

__all__ = ["LogDecoder", "reload_event"]

COUNTERS = (
    "lines_read",
    "lines_skipped",
    "lines_queries",
    "lines_hidden",
    "lines_errors",
    "lines_other",
    "lines_unreadable",
)
MAX_FORMATS = 16
_EXAMPLE_CHARACTERS = 200
_LEAD_CHARACTERS = 100
_LEVEL = re.compile(r"\[(?:DEBUG|INFO|WARNING|ERROR|FATAL)\] ")


class LogDecoder:
    """`formats` are templates as in the Corefile; those that cannot be read are passed over.

    `timestamps`: every line begins with the kubelet's. `server` and `node` go into every record.
    `formats_now` is asked when CoreDNS has taken a new Corefile; the formats so far are still read.
    """

    def __init__(
        self,
        server: Server | None,
        node: str | None,
        formats: Sequence[str],
        plan_work: Selection | None = None,
        raw: bool = False,
        timestamps: bool = True,
        formats_now: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self._vantage = Vantage(server or UNSET, node or UNSET)
        self._selection = plan_work or Selection()
        self._raw, self._timestamps, self._formats_now = raw, timestamps, formats_now
        self._joiner = Joiner()
        self._counts = dict.fromkeys(COUNTERS, 0)
        self._line = 0
        self._quiet = False
        self._told_unreadable = False
        self._is_json: bool | None = None
        self._formats: tuple[str, ...] = ()
        self._learn(formats)

    def _learn(self, formats: Sequence[str]) -> None:
        self._formats = tuple(dict.fromkeys([*formats, *self._formats]))[:MAX_FORMATS]
        self._forms = list(forms_of(self._formats, self._timestamps))
        templates: list[Template] = list(dict.fromkeys(form.template for form in self._forms))
        self._searches = self._selection.searches(templates)

    @property
    def counters(self) -> Mapping[str, int]:
        """Figures for the summary: read = skipped + queries + hidden + errors + other + unreadable."""
        joiner = self._joiner
        return {**self._counts, "errors_joined": joiner.joined, "errors_alone": joiner.alone}

    def feed(self, block: bytes) -> list[Record]:
        """The records of whole lines that are ready now; a last line without a newline counts as whole."""
        if not block:
            return []
        self._quiet = False
        if not block.endswith(b"\n"):
            block += b"\n"
        if self._is_json is None or not self._is_json:
            head = block if self._is_json is None else block[: block.find(b"\n")]
            self._is_json = b'"msg":' in head
        if self._searches and not self._is_json:
            lines = block.count(b"\n")
            block = _searched(block, self._searches)
            skipped = lines - block.count(b"\n")
            self._counts["lines_read"] += skipped
            self._counts["lines_skipped"] += skipped
        records: list[Record] = []
        for piece in _pieces(block):
            text = piece.decode("utf-8", "surrogateescape")
            if self._is_json:
                text = "".join(f"{classic_line(line)}\n" for line in text.split("\n")[:-1])
            self._read(text, records)
        return records

    def flush(self, idle: bool = False) -> list[Record]:
        """The lookups that waited for an [ERROR] line: all of them at the end; with `idle`, those that have
        waited since the flush before while no line came."""
        quiet, self._quiet = self._quiet, True
        return [*self._joiner.drain()] if quiet or not idle else []

    def _read(self, text: str, records: list[Record]) -> None:
        lines = text.count("\n")
        self._counts["lines_read"] += lines
        form = self._forms[0]
        rows: list[Row] = [] if self._raw else form.fast.findall(text)
        if len(rows) == lines:
            try:
                self._add(form, rows, records)
                return
            except UnreadableError:
                pass  # a stretch was not what it seemed: the strict regexes will tell
        self._read_singly(text.split("\n")[:-1], records)

    def _read_singly(self, lines: Sequence[str], records: list[Record]) -> None:
        """Line by line, but neighbours of one form together."""
        run: list[Row] = []
        raw: list[str] = []
        current = self._forms[0]
        used: Counter[LineForm] = Counter()
        for line in lines:
            form, row = self._match(line, current)
            if run and form is not current:
                self._add(current, run, records, raw)
                run, raw = [], []
            if form is None or row is None:
                self._note(line, records)
                continue
            current = form
            used[form] += 1
            run.append(row)
            raw.append(line)
        if run:
            self._add(current, run, records, raw)
        # What most lines were in is likely the form of the next block.
        self._forms.sort(key=lambda form: -used[form])

    def _match(self, line: str, current: LineForm) -> tuple[LineForm | None, Row | None]:
        has_level = "[INFO] " in line
        for form in (current, *self._forms):
            if form.level == has_level and (match := form.strict.match(line)):
                return form, match.groups()
        return None, None

    def _add(
        self, form: LineForm, rows: Sequence[Row], records: list[Record], raw: Sequence[str] = ()
    ) -> None:
        """Adds the lookups of rows that follow one another."""
        lookups, special = read_rows(form, rows, self._vantage)
        if self._raw:
            for lookup, line in zip(lookups, raw, strict=True):
                lookup.raw = safe_text(line)
        self._counts["lines_queries"] += len(rows)
        first, self._line = self._line, self._line + len(rows)
        done = 0
        for index, kind in special:
            records += lookups[done:index]
            done = index + 1
            if kind == Kind.HELD:
                lookup = lookups[index]
                records += self._joiner.lookup(lookup, _logged_ns(lookup), first + index)
            elif self._selection.shows_probes:
                records.append(lookups[index])
            else:
                self._counts["lines_queries"] -= 1
                self._counts["lines_hidden"] += 1
        records += lookups[done:]
        if not self._joiner.idle:
            records += self._joiner.expire(_logged_ns(lookups[-1]), self._line)

    def _note(self, line: str, records: list[Record]) -> None:
        """A line that is no query."""
        self._line += 1
        level = _LEVEL.search(line)
        lead = lead_of(line[: level.start() if level else _LEAD_CHARACTERS])
        text = line[level.end() :] if level else line
        if error := logged_error(text):
            hidden = is_probe(error.name, error.type)
            self._counts["lines_hidden" if hidden else "lines_errors"] += 1
            if not hidden:
                records += self._joiner.error(error, self._pod(lead), lead.time_ns, self._line)
            return
        records += self._joiner.expire(lead.time_ns, self._line)
        if several := consolidated(text):
            self._counts["lines_errors"] += 1
            self._counts["errors_consolidated"] = self._counts.get("errors_consolidated", 0) + several[0]
            records.append(self._notice("consolidated", several[1], lead))
        elif event := reload_event(line.encode("utf-8", "replace")):
            self._counts["lines_other"] += 1
            records.append(self._notice(event, safe_text(text), lead))
            if event == RELOADED and self._formats_now:
                self._learn(self._formats_now())
        elif self._timestamps and not lead.second and (message := kubelet_message(line)):
            self._counts["lines_other"] += 1
            records.append(self._notice("kubelet", message, lead))
        elif level and level[0] == "[INFO] " and is_like_a_query(text):
            self._counts["lines_unreadable"] += 1
            if not self._told_unreadable:
                self._told_unreadable = True
                example = safe_text(line[:_EXAMPLE_CHARACTERS])
                message = f"a query in no format that the Corefile has: {example}. Try: --log-format FORMAT"
                records.append(self._notice("log_unreadable", message, lead))
        else:
            self._counts["lines_other"] += 1

    def _pod(self, lead: Lead) -> Maybe[str]:
        server = self._vantage.server
        return server.pod if server else lead.pod or UNSET

    def _notice(self, code: str, message: str, lead: Lead) -> Notice:
        pod = self._pod(lead)
        return Notice(
            time=format_time(lead.time_ns) if lead.time_ns is not None else UNSET,
            backend="coredns",
            node=self._vantage.node,
            code=code,
            message=f"{pod}: {message}" if pod else message,
        )


def _searched(block: bytes, searches: Iterable[Search]) -> bytes:
    """The lines in which one of the searches finds something."""
    ends: dict[int, int] = {}
    for search in searches:
        at = end = 0
        while True:
            if isinstance(search, bytes):
                at = block.find(search, end)
            else:
                match = search.search(block, end)
                at = match.start() if match else -1
            if at < 0:
                break
            end = block.index(b"\n", at) + 1
            ends[block.rfind(b"\n", 0, at) + 1] = end
    return b"".join([block[start : ends[start]] for start in sorted(ends)])


def _pieces(block: bytes) -> Iterator[bytes]:
    """Whole lines, some BLOCK_BYTES at a time."""
    start = 0
    while start < len(block):
        end = block.rfind(b"\n", start, start + BLOCK_BYTES) + 1 or block.index(b"\n", start) + 1
        yield block[start:end]
        start = end


def _logged_ns(lookup: Lookup) -> int | None:
    """When its line was written: nanoseconds since the epoch."""
    if not lookup.time:
        return None
    return parse_time(lookup.time) + round((lookup.latency_ms or 0) * 1e6)

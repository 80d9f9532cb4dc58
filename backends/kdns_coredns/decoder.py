"""The lines of one CoreDNS log as records, in its order: lookups with their errors, and notices.

One decoder a log; it has no clock and no threads. Whole blocks of query lines take a short way; a block with
any other line in it is read line by line.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import UNSET

from kdns_coredns.facts import Kind, UnreadableError, is_probe
from kdns_coredns.formats import Template
from kdns_coredns.joiner import Joiner
from kdns_coredns.lead import Lead, lead_of, time_ns
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
from kubectl_kdns.times import format_time

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
        count = text.count("\n")
        self._counts["lines_read"] += count
        form = self._forms[0]
        rows: list[Row] = [] if self._raw else form.fast.findall(text)
        if len(rows) == count:
            try:
                lookups, special = read_rows(form, rows, self._vantage)
            except UnreadableError:
                pass  # a stretch was not what it seemed: the strict regexes will tell
            else:
                self._counts["lines_queries"] += count
                self._add(lookups, special, records)
                self._line += count
                self._expire(lookups[-1], records)
                return
        self._read_mixed(text, records)

    def _read_mixed(self, text: str, records: list[Record]) -> None:
        """Lines of several forms, and lines that are no queries: each form's together, then all in order."""
        lines: list[str | Lookup] = [*text.split("\n")[:-1]]
        kinds: dict[int, int] = {}
        last: Lookup | None = None
        try:
            sorted_out = self._sort_out(text)
            read = {form: read_rows(form, rows, self._vantage) for form, (_, rows) in sorted_out.items()}
        except UnreadableError:
            sorted_out = self._sort_out(text, strict=True)
            read = {form: read_rows(form, rows, self._vantage) for form, (_, rows) in sorted_out.items()}
        for form, (lookups, special) in read.items():
            places = sorted_out[form][0]
            for place, lookup in zip(places, lookups, strict=True):
                if self._raw:
                    lookup.raw = safe_text(str(lines[place]))
                lines[place] = lookup
            kinds.update((places[index], kind) for index, kind in special)
            self._counts["lines_queries"] += len(places)
        learnt = len(self._formats)
        for place, line in enumerate(lines):
            if isinstance(line, Lookup):
                last = line
                if place in kinds:
                    self._add([line], [(0, kinds[place])], records)
                else:
                    records.append(line)
            elif len(self._formats) > learnt and self._sort_out(f"{line}\n", strict=True):
                self._counts["lines_read"] -= 1
                self._read(f"{line}\n", records)  # CoreDNS took a new Corefile just before it
                continue
            else:
                self._note(line, records)
            self._line += 1
        if last:
            self._expire(last, records)
        # What most lines were in is likely the form of the next block.
        self._forms.sort(key=lambda form: -len(sorted_out[form][0]) if form in sorted_out else 0)

    def _sort_out(self, text: str, *, strict: bool = False) -> dict[LineForm, tuple[list[int], list[Row]]]:
        """The query lines by form: their places in the text, and what the form's regex found in them."""
        found: dict[LineForm, tuple[list[int], list[Row]]] = {}
        place = position = 0

        def add(form: LineForm, match: re.Match[str]) -> None:
            places, rows = found.setdefault(form, ([], []))
            places.append(place)
            rows.append(match.groups())

        first = self._forms[0]
        ends = itertools.chain((match for match in first.fast.finditer(text) if not strict), [None])
        for match in ends:
            start = match.start() if match else len(text)
            for line in text[position:start].split("\n")[:-1]:
                # What cannot be a query is seen at once: the regexes would try it at every place.
                level = "[INFO] " in line
                if level or " - [" in line:
                    for form in self._forms:
                        if form.level == level and (one := form.strict.match(line)):
                            add(form, one)
                            break
                place += 1
            if match:
                add(first, match)
                place += 1
                position = match.end() + 1
        return found

    def _add(self, lookups: list[Lookup], special: Sequence[tuple[int, int]], records: list[Record]) -> None:
        """Adds lookups that follow one another; `special` are those that are not plain."""
        done = 0
        for index, kind in special:
            records += lookups[done:index]
            done = index + 1
            lookup = lookups[index]
            if kind == Kind.HELD:
                records += self._joiner.lookup(lookup, _logged_ns(lookup), self._line + index)
            elif self._selection.shows_probes:
                records.append(lookup)
            else:
                self._counts["lines_queries"] -= 1
                self._counts["lines_hidden"] += 1
        records += lookups[done:]

    def _expire(self, last: Lookup, records: list[Record]) -> None:
        """Lets go of what has waited long enough, when `last` is the newest lookup."""
        if not self._joiner.idle:
            records += self._joiner.expire(_logged_ns(last), self._line)

    def _note(self, line: str, records: list[Record]) -> None:
        """A line that is no query."""
        level = _LEVEL.search(line)
        lead = lead_of(line[: level.start() if level else _LEAD_CHARACTERS])
        text = line[level.end() :] if level else line
        counts = self._counts
        if error := logged_error(text):
            if is_probe(error.name, error.type):
                counts["lines_hidden"] += 1
            else:
                counts["lines_errors"] += 1
                records += self._joiner.error(error, self._pod(lead), lead.time_ns, self._line)
            return
        records += self._joiner.expire(lead.time_ns, self._line)
        if several := consolidated(text):
            counts["lines_errors"] += 1
            counts["errors_consolidated"] = counts.get("errors_consolidated", 0) + several[0]
            records.append(self._notice("consolidated", several[1], lead))
        elif event := reload_event(line.encode("utf-8", "replace")):
            counts["lines_other"] += 1
            records.append(self._notice(event, safe_text(text), lead))
            if event == RELOADED and self._formats_now:
                self._learn(self._formats_now())
        elif self._timestamps and not lead.second and (message := kubelet_message(line)):
            counts["lines_other"] += 1
            records.append(self._notice("kubelet", message, lead))
        elif level and level[0] == "[INFO] " and is_like_a_query(text):
            counts["lines_unreadable"] += 1
            if not self._told_unreadable:
                self._told_unreadable = True
                example = safe_text(line[:_EXAMPLE_CHARACTERS])
                message = f"a query in no format that the Corefile has: {example}. Try: --log-format FORMAT"
                records.append(self._notice("log_unreadable", message, lead))
        else:
            counts["lines_other"] += 1

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
    return time_ns(lookup.time[:19], int(lookup.time[20:29])) + round((lookup.latency_ms or 0) * 1e6)

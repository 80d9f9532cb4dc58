"""Turns a format of CoreDNS's log plugin into regexes that read the lines it writes.

A template falls into what differs from line to line (client, port, id, duration) and stretches that repeat
(`A IN cart.shop. udp 33 false 512" NOERROR qr,aa,rd 103`). A line is split coarsely by one regex that runs
over whole blocks; what a stretch says is worked out once and remembered (facts.py). The template's rules are
those of coredns `plugin/pkg/replacer/replacer.go`: an unknown `{x}` is literal, `{/a/b}` is metadata.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property, lru_cache

from msgspec import Struct

from kdns_coredns.corefile import COMBINED, COMMON

# CoreDNS 1.2 and older: no level, and the time of the query inside the line (kubernetes/kubernetes#72826).
LEGACY = COMMON.replace(" - ", " - [{when}] ", 1)

# All within bounds, because a hostile file must not make the regexes try for minutes.
_ADDRESS = r"[0-9A-Fa-f.]{1,40}|\[[^\]\n]{0,80}\]|[0-9A-Fa-f:.]{1,40}(?:%[\w.-]{1,32})?"
VOLATILE = {
    "{remote}": f"({_ADDRESS})",
    "{port}": "([0-9]{1,5})",
    "{>id}": "([0-9]{1,5})",
    "{when}": r"([^\]\n]{0,40})",  # newer versions leave it as it is, which fits too
    "{duration}": r"([0-9]{1,6}\.?[0-9]{0,16})s",  # a sum of floats: above 1 s more than nanoseconds
}
_NAME = r'(?=\S)[^\s"\\]*(?:\\[^\n][^\s"\\]*)*'
_STABLE = {
    "{type}": "[A-Za-z0-9-]+",
    "{class}": "[A-Za-z0-9]+",
    "{name}": _NAME,
    "{proto}": "[a-z]+",
    "{size}": "[0-9]{1,9}",
    "{>do}": "true|false",
    "{>bufsize}": "[0-9]{1,9}",
    "{rcode}": "[A-Z0-9]+|-",
    "{>rflags}": "[a-z,]*|-",
    "{rsize}": "[0-9]{1,9}|-",
    "{>opcode}": "[0-9]{1,5}",
    "{local}": _ADDRESS,
}
_METADATA = "[^\n]{0,256}?"
_ANYTHING = "(.{0,2048})"
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")


class Stretch(Struct, frozen=True):
    """A run of placeholders and the text between them that repeats from line to line."""

    nodes: tuple[str, ...]

    def pattern(self, *, capture: bool) -> str:
        """A regex that matches only what CoreDNS can write here; `capture` has a group a placeholder."""
        return "".join(
            _group(node, capture and node not in self.nodes[:at]) if is_placeholder(node) else re.escape(node)
            for at, node in enumerate(self.nodes)
        )


class Template(Struct, frozen=True, dict=True):
    """One log format. `problem` says why its lines cannot be read, "" when they can."""

    text: str

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Literals and placeholders in turn, as CoreDNS sees them."""
        nodes: list[str] = []
        for part in _split(self.text):
            if nodes and not is_placeholder(part) and not is_placeholder(nodes[-1]):
                nodes[-1] += part
            else:
                nodes.append(part)
        return tuple(nodes)

    @cached_property
    def segments(self) -> tuple[str | Stretch, ...]:
        """The nodes, with what repeats gathered into stretches."""
        segments: list[str | Stretch] = []
        run: list[str] = []
        for node in (*self.nodes, ""):
            if node and node not in VOLATILE:
                run.append(node)
                continue
            stable = [index for index, item in enumerate(run) if is_placeholder(item)]
            if stable:
                first, last = stable[0], stable[-1] + 1
                segments += [*run[:first], Stretch(tuple(run[first:last])), *run[last:]]
            else:
                segments += run
            run = []
            segments += [node] if node else []
        return tuple(segments)

    @cached_property
    def problem(self) -> str:
        missing = [name for name in ("{name}", "{type}") if name not in self.nodes]
        if missing:
            return f"the format has no {' and no '.join(missing)}"
        return "the format has several lines" if "\n" in self.text else ""

    @cached_property
    def ambiguous(self) -> bool:
        """Whether two placeholders touch, so that where one value ends can only be guessed."""
        pairs = zip(self.nodes, self.nodes[1:], strict=False)
        return any(is_placeholder(one) and is_placeholder(two) for one, two in pairs)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """What the groups of `pattern` hold: placeholders, and "" for a stretch."""
        return tuple(
            "" if isinstance(part, Stretch) else part
            for part in self.segments
            if isinstance(part, Stretch) or part in VOLATILE
        )

    def pattern(self, *, strict: bool) -> str:
        """The regex of a line's body. One that is not strict lets a stretch be anything: three times as fast,
        and right where `facts` then knows what the stretches say."""
        parts: list[str] = []
        for part in self.segments:
            if isinstance(part, Stretch):
                parts.append(f"({part.pattern(capture=False)})" if strict else _ANYTHING)
            else:
                parts.append(VOLATILE.get(part) or re.escape(part))
        return "".join(parts)

    @cached_property
    def stretches(self) -> tuple[re.Pattern[str], tuple[str, ...]]:
        """The regex of all stretches, joined by newlines, and the placeholder of each group."""
        stretches = [part for part in self.segments if isinstance(part, Stretch)]
        names = [
            name
            for stretch in stretches
            for name in dict.fromkeys(node for node in stretch.nodes if is_placeholder(node))
        ]
        pattern = "\n".join(stretch.pattern(capture=True) for stretch in stretches)
        return re.compile(pattern, re.ASCII), tuple(names)

    def around(self, placeholder: str) -> tuple[str, str, str]:
        """The text before the first such placeholder, the text after it, and the node after that."""
        index = self.nodes.index(placeholder)
        near = ["", *self.nodes, "", ""][index : index + 4]
        before, after = ("" if is_placeholder(node) else node for node in (near[0], near[2]))
        return before, after, near[3] if after else ""


@lru_cache(maxsize=64)
def template_of(text: str) -> Template:
    """The template of a format as written in a Corefile; what it remembers is shared by all who read it."""
    return Template(text.replace("{common}", COMMON).replace("{combined}", COMBINED))


def is_placeholder(node: str) -> bool:
    """Whether CoreDNS puts a value in the place of this node."""
    return node in _STABLE or node in VOLATILE or (node.startswith("{/") and node.endswith("}"))


def _split(text: str) -> Iterator[str]:
    position = 0
    for match in _PLACEHOLDER.finditer(text):
        if not is_placeholder(match[0]):
            continue
        if match.start() > position:
            yield text[position : match.start()]
        yield match[0]
        position = match.end()
    if position < len(text):
        yield text[position:]


def _group(node: str, capture: bool) -> str:
    return f"({'' if capture else '?:'}{_STABLE.get(node, _METADATA)})"

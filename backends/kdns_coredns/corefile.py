"""Parses a Corefile as CoreDNS does: server blocks, their plugins in order, snippets and imports.

The rules, oddities too, are those of coredns/caddy `caddyfile/{lexer,parse,dispenser}.go`: inside quotes
only `\\"` is an escape, a brace counts wherever it stands on a line, a `#` ends any bare word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

from msgspec import Struct

from kubectl_kdns.errors import BackendError

COMMON = (
    '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}"'
    " {rcode} {>rflags} {rsize} {duration}"
)
COMBINED = COMMON + ' "{>opcode}"'
ALL = "all"
DEFAULT_PORTS = {"dns": 53, "tls": 853, "quic": 853, "grpc": 443, "https": 443}
MAX_DEPTH = 32
MAX_IMPORTS = 256
MAX_TOKENS = 100_000

Resolve = Callable[[str], Mapping[str, str] | None]
"""An import pattern as written to the files that it names (file name to text); None: nobody knows."""

# A comment; a quoted text, closed at the latest by the end of the file; or a bare word, which a # cuts short:
# what follows the next blank is read again, as in CoreDNS.
_TOKEN = re.compile(r'#[^\n]*|"((?:\\.|[^"\\])*)\\?(?:"|\Z)|([^\s#"\ufeff][^\s#]*)(?:#\S*)?', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ENV = re.compile(r"\{\$([^}]+)\}|\{%(.+?)%\}")


class CorefileError(BackendError):
    """A Corefile that CoreDNS would refuse; `line` counts from 1."""

    def __init__(self, what: str, line: int, file: str = "") -> None:
        super().__init__(f"{file or 'Corefile'}:{line}: {what}")
        self.line = line


class Directive(Struct, frozen=True):
    """One line of a block: a plugin in a server block, or a property of a plugin."""

    name: str
    args: tuple[str, ...]
    body: tuple[Directive, ...]
    line: int
    file: str = ""


class Zone(Struct, frozen=True):
    """One address of a server block; `name` is lower case without the trailing dot, "." for all."""

    name: str
    port: int
    scheme: str = "dns"


class LogRule(Struct, frozen=True):
    """What one `log` directive says (coredns `plugin/log/setup.go`): of the rules of a server block the
    first whose names fit decides. `template` is as written, "" when there is none."""

    names: tuple[str, ...]
    template: str
    classes: tuple[str, ...]
    line: int

    @property
    def format(self) -> str:
        """The template without its shorthands."""
        template = self.template or COMMON
        return template.replace("{common}", COMMON).replace("{combined}", COMBINED)

    @property
    def is_common(self) -> bool:
        return self.format == COMMON


class ServerBlock(Struct, frozen=True, dict=True):
    """`line` is that of its first address, `open_line` that of its `{` (0 when it has none)."""

    zones: tuple[Zone, ...]
    plugins: tuple[Directive, ...]
    line: int
    open_line: int
    file: str = ""

    def named(self, plugin: str) -> Iterator[Directive]:
        return (directive for directive in self.plugins if directive.name == plugin)

    @cached_property
    def log_rules(self) -> tuple[LogRule, ...]:
        return tuple(_log_rule(directive) for directive in self.named("log"))


class Corefile(Struct, frozen=True):
    """`missing` are the imports whose files nobody knew: what they hold is not in the blocks."""

    blocks: tuple[ServerBlock, ...]
    missing: tuple[str, ...] = ()


def parse_corefile(
    text: str, *, resolve: Resolve | None = None, env: Mapping[str, str] | None = None
) -> Corefile:
    """The server blocks of a Corefile. Raises CorefileError.

    `env` is the environment of CoreDNS's container; a reference to what is not in it stays as it is.
    """
    return _Parser(text, resolve or (lambda _pattern: None), env or {}).corefile()


def _log_rule(directive: Directive) -> LogRule:
    args, template = directive.args, ""
    if len(args) > 1 and "{" in args[-1]:
        args, template = args[:-1], args[-1]
    classes = tuple(
        dict.fromkeys(name for entry in directive.body if entry.name == "class" for name in entry.args)
    )
    names = tuple(_zone_name(arg) for arg in args) or (".",)
    return LogRule(names, template, (ALL,) if ALL in classes else classes or (ALL,), directive.line)


class _Token(Struct, frozen=True):
    text: str
    line: int
    file: str

    @property
    def end_line(self) -> int:
        return self.line + self.text.count("\n")


def _tokens(text: str, file: str) -> list[_Token]:
    tokens: list[_Token] = []
    line, position = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        quoted, word = match.groups()
        if word or match[0] == '""' or quoted:
            tokens.append(_Token(word or _ESCAPED.sub(_unescape, quoted), line, file))
    return tokens


def _unescape(match: re.Match[str]) -> str:
    return '"' if match[1] == '"' else match[0]


class _Parser:
    def __init__(self, text: str, resolve: Resolve, env: Mapping[str, str]) -> None:
        self._tokens = _tokens(text, "")
        self._resolve, self._env = resolve, env
        self._at = 0
        self._imports = 0
        self._snippets: dict[str, list[_Token]] = {}
        self._missing: dict[str, None] = {}

    def corefile(self) -> Corefile:
        blocks = []
        while self._at < len(self._tokens):
            block = self._block()
            if block:
                blocks.append(block)
        return Corefile(tuple(blocks), tuple(self._missing))

    def _block(self) -> ServerBlock | None:
        """One server block; None when it is a snippet, or has no address."""
        start = self._at
        keys = self._addresses()
        if start >= len(self._tokens):
            return None  # imports that hold nothing
        first, opening = self._tokens[start], self._peek()
        opened = opening is not None and opening.text == "{"
        if len(keys) == 1 and keys[0].startswith("(") and keys[0].endswith(")"):
            self._define(keys[0][1:-1], first)
            return None
        if opened:
            self._at += 1
        plugins = self._body(opening if opened else None, 0)
        if not keys:
            return None
        zones = tuple(map(_zone, keys))
        return ServerBlock(zones, plugins, first.line, opening.line if opening and opened else 0, first.file)

    def _addresses(self) -> list[str]:
        keys: list[str] = []
        begun = more = False
        while (token := self._peek()) is not None:
            if begun and not more and self._starts_line():
                return keys
            if token.text == "import" and self._starts_line():
                self._import()
                begun = False
                continue
            if token.text == "{":
                if more:
                    raise CorefileError("after the comma goes another address", token.line, token.file)
                return keys
            begun = True
            self._at += 1
            if text := self._expand(token.text):
                more = text.endswith(",")
                keys.append(text[:-1] if more else text)
        if more:
            raise CorefileError("the file ends after a comma", self._last_line())
        return keys

    def _body(self, opening: _Token | None, depth: int) -> tuple[Directive, ...]:
        """The lines up to the brace that closes `opening`; without one, to the end of the file.

        `depth` is 0 for the plugins of a server block.
        """
        if opening and depth > MAX_DEPTH:
            raise CorefileError(f"more than {MAX_DEPTH} nested blocks", opening.line, opening.file)
        lines: list[Directive] = []
        while (token := self._peek()) is not None:
            if token.text == "}":
                self._at += 1
                return tuple(lines)
            if token.text == "import" and (depth == 0 or self._starts_line()):
                self._import()
            else:
                lines.append(self._directive(depth))
        # A server block whose brace is missing at the very end passes, if another brace stands there.
        if opening and (depth or self._tokens[-1].text != "}"):
            raise CorefileError("the block that begins here is not closed", opening.line, opening.file)
        return tuple(lines)

    def _directive(self, depth: int) -> Directive:
        first = self._tokens[self._at]
        if first.text == "{":
            raise CorefileError("a block without a name", first.line, first.file)
        self._at += 1
        args: list[str] = []
        body: tuple[Directive, ...] = ()
        while (token := self._peek()) is not None:
            if token.text == "{":
                self._at += 1
                body += self._body(token, depth + 1)
            elif self._starts_line() or (token.text == "}" and depth):
                break
            elif token.text == "}":
                raise CorefileError("a } that closes nothing", token.line, token.file)
            else:
                args.append(self._expand(token.text))
                self._at += 1
        return Directive(self._expand(first.text), tuple(args), body, first.line, first.file)

    def _define(self, name: str, first: _Token) -> None:
        opening = self._peek()
        if opening is None or opening.text != "{":
            raise CorefileError(f"the snippet ({name}) has no block", first.line, first.file)
        if name in self._snippets:
            raise CorefileError(f"there are two snippets ({name})", first.line, first.file)
        start = self._at = self._at + 1
        depth = 1
        while depth:
            token = self._peek()
            if token is None:
                raise CorefileError("the snippet that begins here is not closed", opening.line, opening.file)
            depth += (token.text == "{") - (token.text == "}")
            self._at += 1
        self._snippets[name] = self._tokens[start : self._at - 1]

    def _import(self) -> None:
        """Puts what is imported in the place of the line."""
        word = self._tokens[self._at]
        end = self._at + 1
        while end < len(self._tokens) and self._same_line(end):
            end += 1
        if end == self._at + 1:
            raise CorefileError("import of nothing", word.line, word.file)
        pattern = self._expand(self._tokens[self._at + 1].text)
        imported = self._snippets.get(pattern)
        if imported is None:
            files = self._resolve(pattern)
            if files is None:
                self._missing[pattern] = None
            imported = [token for file, text in (files or {}).items() for token in _tokens(text, file)]
        self._imports += 1
        if self._imports > MAX_IMPORTS or len(self._tokens) + len(imported) > MAX_TOKENS:
            raise CorefileError(f"import {pattern} goes on without end", word.line, word.file)
        self._tokens[self._at : end] = imported

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _starts_line(self) -> bool:
        return self._at == 0 or not self._same_line(self._at)

    def _same_line(self, index: int) -> bool:
        before, token = self._tokens[index - 1], self._tokens[index]
        return before.file == token.file and before.end_line == token.line

    def _last_line(self) -> int:
        return self._tokens[-1].line if self._tokens else 1

    def _expand(self, text: str) -> str:
        return _ENV.sub(lambda match: self._env.get(match[1] or match[2], match[0]), text)


def _zone_name(text: str) -> str:
    return text.lower().removesuffix(".") or "."


def _zone(key: str) -> Zone:
    """`dns://example.org:1053` and the like; what is no port stays in the name."""
    scheme, separator, rest = key.partition("://")
    if not separator or scheme not in (*DEFAULT_PORTS, "unix"):
        scheme, rest = "dns", key
    name, colon, port = rest.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal() and len(port) <= 5):
        name, port = rest, ""
    return Zone(_zone_name(name), int(port) if port else DEFAULT_PORTS.get(scheme, 0), scheme)

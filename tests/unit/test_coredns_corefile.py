"""Corefiles as CoreDNS reads them: its grammar, its oddities, its errors. Checked against caddyfile.Parse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_coredns.corefile import (
    Corefile,
    CorefileError,
    Directive,
    LogRule,
    ServerBlock,
    Zone,
    parse_corefile,
)
from kubectl_kdns.errors import BackendError

KUBEADM = """\
.:53 {
    errors
    health {
       lameduck 5s
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
    }
    forward . /etc/resolv.conf
    reload
}
"""


def only_block(text: str) -> ServerBlock:
    [block] = parse_corefile(text).blocks
    return block


def plugins(text: str, **more: object) -> list[tuple[str, ...]]:
    """Name and arguments of every plugin of the one server block."""
    [block] = parse_corefile(text, **more).blocks  # type: ignore[arg-type]
    return [(plugin.name, *plugin.args) for plugin in block.plugins]


def test_whole_file() -> None:
    assert parse_corefile(KUBEADM) == Corefile(
        (
            ServerBlock(
                zones=(Zone(".", 53),),
                plugins=(
                    Directive("errors", (), (), 2),
                    Directive("health", (), (Directive("lameduck", ("5s",), (), 4),), 3),
                    Directive(
                        "kubernetes",
                        ("cluster.local", "in-addr.arpa", "ip6.arpa"),
                        (
                            Directive("pods", ("insecure",), (), 7),
                            Directive("fallthrough", ("in-addr.arpa", "ip6.arpa"), (), 8),
                        ),
                        6,
                    ),
                    Directive("forward", (".", "/etc/resolv.conf"), (), 10),
                    Directive("reload", (), (), 11),
                ),
                line=1,
                open_line=1,
            ),
        )
    )


@pytest.mark.parametrize(
    ("keys", "zones"),
    [
        (".", [Zone(".", 53)]),
        ("Example.ORG.:1053", [Zone("example.org", 1053)]),
        ("dns://. tls://example.org", [Zone(".", 53), Zone("example.org", 853, "tls")]),
        ("https://.:8443, grpc://.", [Zone(".", 8443, "https"), Zone(".", 443, "grpc")]),
        ("quic://a unix:///run/dns", [Zone("a", 853, "quic"), Zone("/run/dns", 0, "unix")]),
        ("a,\n  b,\nc", [Zone("a", 53), Zone("b", 53), Zone("c", 53)]),
        ("10.0.0.0/8", [Zone("10.0.0.0/8", 53)]),
        ("ftp://x", [Zone("ftp://x", 53)]),
        ("x:dns", [Zone("x:dns", 53)]),
    ],
)
def test_addresses(keys: str, zones: list[Zone]) -> None:
    assert list(only_block(f"{keys} {{\n log\n}}").zones) == zones


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('log . "a \\"b\\" c"', ("log", ".", 'a "b" c')),
        ('log "a\\\\b\\n"', ("log", "a\\\\b\\n")),
        ('log "one\ntwo" three', ("log", "one\ntwo", "three")),
        ('a"b c"d', ('a"b', 'c"d')),
        ('"a""b"', ("a", "b")),
        ("log x#y z", ("log", "x", "z")),
        ("log # all of it", ("log",)),
        ('log ""', ("log", "")),
    ],
)
def test_words(line: str, words: tuple[str, ...]) -> None:
    assert plugins(f". {{\n{line}\n}}") == [words]


def test_without_braces_the_file_is_one_server_block() -> None:
    block = only_block("example.org\nlog\nerrors\n")
    assert (block.zones, block.open_line, [p.name for p in block.plugins]) == (
        (Zone("example.org", 53),),
        0,
        ["log", "errors"],
    )


def test_brace_on_a_line_of_its_own() -> None:
    assert only_block("a\n{\n log\n}").open_line == 2


def test_windows_line_ends_and_byte_order_mark() -> None:
    assert plugins("\ufeff. {\r\n  log\r\n  errors\r\n}\r\n") == [("log",), ("errors",)]


def test_environment() -> None:
    text = ".:{$PORT} {\n forward . {%UPSTREAM%} {$UNKNOWN}\n}"
    [block] = parse_corefile(text, env={"PORT": "5353", "UPSTREAM": "1.1.1.1"}).blocks
    assert (block.zones, block.plugins[0].args) == ((Zone(".", 5353),), (".", "1.1.1.1", "{$UNKNOWN}"))


def test_snippets() -> None:
    text = "(base) {\n  errors\n  log {\n    class error\n  }\n}\n.:53 {\n  import base\n  whoami\n}\n"
    block = only_block(text)
    assert [(p.name, p.line) for p in block.plugins] == [("errors", 2), ("log", 3), ("whoami", 9)]
    assert block.log_rules == (LogRule((".",), "", ("error",), 3),)


def test_imported_files() -> None:
    files = {"custom/*.override": {"/c/a.override": "log\n", "/c/b.override": "errors\n"}, "none/*": {}}
    text = ".:53 {\n import custom/*.override\n import none/*\n import lost/*.server\n whoami\n}\n"
    corefile = parse_corefile(text, resolve=files.get)
    assert [(p.name, p.file, p.line) for p in corefile.blocks[0].plugins] == [
        ("log", "/c/a.override", 1),
        ("errors", "/c/b.override", 1),
        ("whoami", "", 5),
    ]
    assert corefile.missing == ("lost/*.server",)


def test_imported_server_blocks() -> None:
    servers = {"*.server": {"/c/x.server": "x.org {\n log\n}\n"}}
    corefile = parse_corefile("import *.server\n. {\n whoami\n}\n", resolve=servers.get)
    assert [(b.zones[0].name, b.file, b.open_line) for b in corefile.blocks] == [
        ("x.org", "/c/x.server", 1),
        (".", "", 2),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (". {\n log\n", "Corefile:1: the block that begins here is not closed"),
        (". {\n health {\n", "Corefile:2: the block that begins here is not closed"),
        (". {\n log }\n}\n", "Corefile:2: a } that closes nothing"),
        ("a, {\n}", "Corefile:1: after the comma goes another address"),
        ("a,\nb,\n", "Corefile:2: the file ends after a comma"),
        (". {\n import\n}", "Corefile:2: import of nothing"),
        (". {\n {\n }\n}", "Corefile:2: a block without a name"),
        ("(s) {\n log", "Corefile:1: the snippet that begins here is not closed"),
        ("(s)\nlog", "Corefile:1: the snippet (s) has no block"),
        ("(s) {\n}\n(s) {\n}\n", "Corefile:3: there are two snippets (s)"),
        ("a " + "{\nb " * 40, "Corefile:34: more than 32 nested blocks"),
    ],
)
def test_errors_say_where(text: str, message: str) -> None:
    with pytest.raises(CorefileError) as caught:
        parse_corefile(text)
    assert (str(caught.value), caught.value.line) == (message, int(message.split(":")[1]))
    assert isinstance(caught.value, BackendError)


def test_an_import_of_itself_ends() -> None:
    endless = {"x": {"/x": "import x\nimport x\n"}}
    with pytest.raises(CorefileError, match="import x goes on without end"):
        parse_corefile(". {\n import x\n}", resolve=endless.get)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("log", LogRule((".",), "", ("all",), 2)),
        ("log Example.org.", LogRule(("example.org",), "", ("all",), 2)),
        # The trap: a lone argument is never a format.
        ("log {combined}", LogRule(("{combined}",), "", ("all",), 2)),
        ("log . {combined}", LogRule((".",), "{combined}", ("all",), 2)),
        ('log a b "{name} {type}"', LogRule(("a", "b"), "{name} {type}", ("all",), 2)),
        ("log a b", LogRule(("a", "b"), "", ("all",), 2)),
        ("log {\n  class denial error\n}", LogRule((".",), "", ("denial", "error"), 2)),
        ("log {\n  class error\n  class all\n}", LogRule((".",), "", ("all",), 2)),
    ],
)
def test_log_rules(line: str, rule: LogRule) -> None:
    assert only_block(f". {{\n{line}\n}}").log_rules == (rule,)


def test_shorthands_of_formats() -> None:
    assert LogRule((".",), "", ("all",), 1).is_common
    assert LogRule((".",), "{common}", ("all",), 1).is_common
    assert not LogRule((".",), "{combined}", ("all",), 1).is_common
    assert LogRule((".",), "{combined} {/x}", ("all",), 1).format.endswith('{duration} "{>opcode}" {/x}')


WORDS = st.sampled_from(
    [*'.{}"#\\\n\r é\0', "log", "import", "(s)", "s", "a,", "{$X}", "class"],
)


def first_bad_line(text: str) -> int:
    """The line of the CorefileError; 1 when it is a good Corefile. Nothing else may happen."""
    try:
        corefile = parse_corefile(text, resolve={"s": {"/s": text}}.get)
    except CorefileError as error:
        return error.line
    assert all(rule.names and rule.classes for block in corefile.blocks for rule in block.log_rules)
    return 1


@given(st.lists(WORDS, max_size=40).map("".join) | st.lists(WORDS, max_size=40).map(" ".join) | st.text())
def test_fuzz(text: str) -> None:
    assert 1 <= first_bad_line(text) <= text.count("\n") + 1


@given(st.integers(0, len(KUBEADM)), st.integers(0, len(KUBEADM)), st.sampled_from(["", *'{}"\n#']))
def test_fuzz_of_a_real_file(start: int, end: int, inserted: str) -> None:
    text = KUBEADM[:start] + inserted + KUBEADM[end:]
    assert 1 <= first_bad_line(text) <= text.count("\n") + 1

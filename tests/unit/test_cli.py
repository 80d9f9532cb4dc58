"""The command line: finding the command, wording mistakes, exit statuses, and what must not be imported."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from kubectl_kdns.__main__ import write_alike
from kubectl_kdns.backend import load_plugin
from kubectl_kdns.cli import app, groups
from kubectl_kdns.cli.app import COMMANDS, main, split_command
from kubectl_kdns.cli.options import comma_list, duration_ns, moment_ns
from kubectl_kdns.errors import UsageError
from kubectl_kdns.filter.flags import FilterFlags
from kubectl_kdns.kube.flags import IGNORED_FLAGS, ConnectionFlags
from kubectl_kdns.session import StreamRequest

HEAVY = ("kubernetes", "pydantic", "grpc", "tabulate", "rich", "requests", "dnslib", "re2", "websocket")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["trace", "--failed"], ("trace", ["--failed"])),
        (["-n", "shop", "trace", "x"], ("trace", ["x", "-n", "shop"])),
        (["--context", "trace", "fields"], ("fields", ["--context", "trace"])),
        (["--insecure-skip-tls-verify", "trace"], ("trace", ["--insecure-skip-tls-verify"])),
        (["--context=a", "coredns-logs"], ("coredns-logs", ["--context=a"])),
    ],
)
def test_flags_may_stand_before_the_command(argv: list[str], expected: tuple[str, list[str]]) -> None:
    assert split_command(argv) == expected


@pytest.mark.parametrize("argv", [["tracee"], ["--context", "x"], ["\x1b[31m"]])
def test_no_command_is_wrong_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "\x1b" not in err
    assert "kubectl kdns --help" in err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["trace", "--rcod", "x"], "--rcod"),
        (["trace", "--limit", "many"], "many"),
        (["trace", "--limit", "0"], "--limit 0"),
        (["trace", "--for", "soon"], "--for soon"),
        (["trace", "--since", "yesterday"], "--since yesterday"),
        (["trace", "--timeout", "0s"], "--timeout 0s"),
        (["trace", "--no-follow"], "would show nothing"),
        (["trace", "-f", "--no-follow", "--last", "3"], "--follow and --no-follow"),
        (["trace", "-A", "-n", "x"], "-A and -n"),
        (["trace", "-o", "tabel"], 'did you mean "table"'),
        (["trace", "--summary", "jsn"], "--summary jsn"),
        (["trace", "--backend", "hubbel"], "there is no backend 'hubbel'"),
        (["trace", "--from", "x", "--backend", "coredns"], "choose one"),
        (["trace", "-F", "dns.rcod == 'x'"], "did you mean dns.rcode?"),
        (["trace", "--port", "0"], "--port 0"),
        (["coredns-logs", "--enable"], "--for"),
        (["coredns-logs", "--yes"], "--enable"),
        (["coredns-logs", "--enable", "--for", "1m", "--class", "eror"], "--class eror"),
        (["coredns-logs", "-p", "-f"], "--previous"),
        (["record"], "needs a file"),
        (["schema", "--nope"], "--nope"),
        (["fields", "-o", "yaml"], "table or json"),
        (["backends", "corends"], 'did you mean "coredns"'),
    ],
)
def test_wrong_usage_is_said_before_anything_is_opened(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert out == ""


def test_flags_of_kubectl_are_all_there() -> None:
    ours = {name for item in groups.ConnectionOptions.FLAGS.values() for name in item.names}
    theirs = {"--" + name.rstrip("_").replace("_", "-") for name in ConnectionFlags.__struct_fields__}
    theirs |= {f"--{name}" for name in IGNORED_FLAGS}
    assert theirs <= ours | {"--v"}


def test_selection_flags_are_those_of_the_filter() -> None:
    assert set(FilterFlags.__struct_fields__) <= set(groups.SelectionOptions.FLAGS)


def test_every_command_is_in_plugin_yaml_and_has_a_page() -> None:
    commands = load_plugin()["commands"]
    assert set(commands) == {*COMMANDS, "options"}
    pages = Path(groups.__file__).parent / "pages"
    assert {path.stem for path in pages.glob("*.txt")} == {*commands, "main"}


def test_durations_and_moments_name_their_flag() -> None:
    assert duration_ns("--for", "") is None
    assert duration_ns("--for", "1.5s") == 1_500_000_000
    assert moment_ns("--since", "10s", 100 * 10**9) == 90 * 10**9
    assert moment_ns("--since", "1970-01-01T00:00:01Z", 0) == 10**9
    with pytest.raises(UsageError, match="--since soon"):
        moment_ns("--since", "soon", 0)
    assert comma_list(["a,b", " c ", ""]) == ("a", "b", "c")


def run_python(code: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *argv],
        capture_output=True,
        text=True,
        env={**os.environ, "KUBECONFIG": "/nonexistent"},
    )


def test_what_is_not_for_a_terminal_is_utf8_whatever_the_code_page() -> None:
    command = [sys.executable, "-m", "kubectl_kdns", "demo"]
    env = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, capture_output=True, env=env, check=True)
    assert "µs" in done.stdout.decode()
    assert "µs" in done.stderr.decode()  # the summary


@pytest.mark.parametrize(
    ("system", "error", "expected"),
    [
        ("posix", BrokenPipeError(errno.EPIPE, "Broken pipe"), True),
        ("posix", OSError(errno.EINVAL, "Invalid argument"), False),
        ("nt", BrokenPipeError(errno.EPIPE, "Broken pipe"), True),
        ("nt", OSError(errno.EINVAL, "Invalid argument"), True),  # seen: `kubectl kdns demo | head -2`
        ("nt", OSError(errno.EINVAL, "Invalid argument", "a?b"), False),
        ("nt", ValueError("x"), False),
    ],
)
def test_whether_somebody_reads(
    monkeypatch: pytest.MonkeyPatch, system: str, error: Exception, *, expected: bool
) -> None:
    monkeypatch.setattr(app, "os", SimpleNamespace(name=system))
    assert app.nobody_reads(error) is expected


class Screen(io.BytesIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1  # of which Windows is asked whether it is a console


def test_a_terminal_gets_what_it_can_show() -> None:
    screen = Screen()
    stream = io.TextIOWrapper(screen, encoding="cp1252")
    write_alike(stream)
    print("603µs → x", file=stream, flush=True)
    assert screen.getvalue().split() == [b"603\xb5s", b"?", b"x"]


def test_help_imports_nothing_but_the_page() -> None:
    code = (
        "import sys; before = set(sys.modules); import kubectl_kdns.__main__ as m\n"
        "sys.argv = ['kubectl-kdns', '--help']\n"
        "try: m.main()\nexcept SystemExit: pass\n"
        "print('\\n'.join(sorted(set(sys.modules) - before)), file=sys.stderr)"
    )
    loaded = set(run_python(code).stderr.split())
    # Python up to 3.13 has io when it starts.
    assert {name for name in loaded if not name.startswith("kubectl_kdns")} <= {"__future__", "io"}


@pytest.mark.parametrize("argv", [["trace", "--failed"], ["coredns-logs", "--rcode", "SERVFAIL"]])
def test_light_paths_import_nothing_heavy(argv: list[str]) -> None:
    """Up to the moment when the cluster is asked for (there is none here: a ConfigError ends it)."""
    code = (
        "import sys; from kubectl_kdns.cli.app import main\n"
        "status = main(sys.argv[1:])\n"
        "print(status, *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = run_python(code, *argv)
    status, *loaded = done.stdout.split()
    assert status == "3", done.stderr
    assert set(loaded) & set(HEAVY) == set()


@pytest.mark.parametrize("command", ["", *sorted({*COMMANDS, "options"})])
def test_help_of_every_command(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kubectl_kdns", *([command] if command else []), "--help"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "kubectl kdns" in done.stdout or command == "options"
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_until_ends_a_live_run() -> None:
    request = StreamRequest(ConnectionFlags(), FilterFlags(), now_ns=10 * 10**9)
    assert request.runs_for_s() is None
    ahead = replace(request, until_ns=15 * 10**9)
    assert (ahead.runs_for_s(), ahead.scope().follow) == (5.0, True)
    assert replace(ahead, for_ns=2 * 10**9).runs_for_s() == 2.0
    past = replace(request, until_ns=5 * 10**9)
    assert (past.runs_for_s(), past.scope().follow) == (None, False)
    assert replace(ahead, inputs=("a.pcap",)).runs_for_s() is None

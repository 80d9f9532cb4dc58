"""`kubectl kdns <TAB>`: what is offered, from pages, lists and a cluster, in kubectl's form; and the shim."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from kubectl_kdns.cli import completion
from kubectl_kdns.errors import UsageError
from support.api_server import ApiServer, Reply

CONFIGS: dict[int, Path] = {}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer() as server:
        CONFIGS[id(server)] = server.kubeconfig(tmp_path / "config")
        for name in ("shop", "shipping"):
            server.put({"kind": "Namespace", "metadata": {"name": name}})
        for name in ("cart-1", "cart-2", "web-1"):
            server.put({"kind": "Pod", "metadata": {"name": name, "namespace": "shop"}})
        server.put({"kind": "Pod", "metadata": {"name": "cart-9", "namespace": "default"}})
        yield server


def ask(server: ApiServer | None, *words: str) -> tuple[list[str], str]:
    """The candidates without their meanings, and the directive."""
    environment = {"HOME": "/nonexistent", "PATH": os.environ["PATH"]}
    if server:
        environment["KUBECONFIG"] = str(CONFIGS[id(server)])
    command = [sys.executable, "-m", "kubectl_kdns", "__complete", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=20, check=True)
    assert done.stderr == ""
    *lines, directive = done.stdout.splitlines()
    return [line.partition("\t")[0] for line in lines], directive


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["expl"], ["explain"]),
        (["co"], ["coredns-logs", "config", "completion"]),
        (["nothing"], []),
        (["trace", "--journ"], ["--journeys"]),
        (["trace", "--kubeconf"], ["--kubeconfig"]),
        (["trace", "--backend", ""], ["auto", "hubble", "coredns", "ebpf"]),
        (["trace", "--backend", "ebpf,co"], ["ebpf,coredns"]),
        (["trace", "--rcode=SERV"], ["--rcode=SERVFAIL"]),
        (["trace", "-o", "j"], ["json"]),
        (["trace", "--limit", ""], []),
    ],
)
def test_without_a_cluster(words: list[str], wanted: list[str]) -> None:
    assert ask(None, *words) == (wanted, ":4")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["trace", "-n", "sh"], ["shipping", "shop"]),
        (["trace", "-n", "shop", "cart"], ["cart-1", "cart-2"]),
        (["trace", "--namespace=shop", "--pod", "w"], ["web-1"]),
        (["explain", "x.test", "-n", "shop", "--in", "cart-2"], ["cart-2"]),
        (["trace", "cart"], ["cart-9"]),
        (["trace", "dep"], ["deploy/"]),
    ],
)
def test_names_of_the_cluster(server: ApiServer, words: list[str], wanted: list[str]) -> None:
    # The cluster has 0.3 s, which a busy machine may need for itself: then nothing is offered, rightly.
    answers = (ask(server, *words) for _ in range(10))
    found, directive = next((each for each in answers if each[0]), ([], ""))
    assert (sorted(found), directive) == (wanted, ":4")


def test_files_are_the_shells_business() -> None:
    assert ask(None, "trace", "--from", "cap") == ([], ":0")


def test_a_cluster_that_does_not_answer_costs_a_moment(server: ApiServer) -> None:
    server.script("^GET .*/namespaces", Reply(200, b"{}", after=threading.Event()), forever=True)
    assert ask(server, "trace", "-n", "sh") == ([], ":4")


def test_a_cluster_that_refuses_says_nothing(server: ApiServer) -> None:
    server.script("^GET ", Reply(403, b'{"kind":"Status","message":"no"}'), forever=True)
    assert ask(server, "trace", "-n", "sh") == ([], ":4")


def test_every_command_and_flag_of_the_pages_is_offered() -> None:
    from kubectl_kdns.cli.app import COMMANDS
    from kubectl_kdns.cli.complete import commands, flags_of

    assert {name for name, _ in commands()} >= set(COMMANDS)
    for name in ("trace", "explain", "upstreams", "record"):
        module = __import__(f"kubectl_kdns.cli.{COMMANDS[name]}", fromlist=["GROUPS"])
        wanted = {
            option
            for group in module.GROUPS
            for item in group.FLAGS.values()
            for option in item.names
            if option.startswith("--")
        }
        # What kubectl takes and kdns only accepts stands in one sentence of the page.
        silent = {"cache-dir", "disable-compression", "kuberc", "log-flush-frequency", "match-server-version"}
        silent |= {"profile", "profile-output", "vmodule", "warnings-as-errors"}
        assert flags_of(name).keys() >= wanted - {f"--{each}" for each in silent}


@pytest.mark.parametrize("arguments", ["['__complete', 'trace', '--ba']", "['--help']", "['--version']"])
def test_light_paths_import_nothing_heavy(arguments: str) -> None:
    code = (
        f"import sys; sys.argv[1:] = {arguments}\n"
        "from kubectl_kdns.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'typer', 'yaml', 'ssl', 'kubernetes', 'grpc', 'msgspec', 'dnslib', 'google', 're2'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_the_shim_for_kubectl(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    command = [sys.executable, "-m", "kubectl_kdns", "completion", "install", "--dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shim = folder / "kubectl_complete-kdns"
    assert done.stdout == f"wrote {shim}\n"
    (folder / "kubectl-kdns").write_text(f'#!/bin/sh\nexec {sys.executable} -m kubectl_kdns "$@"\n')
    (folder / "kubectl-kdns").chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    found = subprocess.run(
        [shim, "trace", "--backend", "h"], capture_output=True, text=True, env={"PATH": path}
    )
    assert found.stdout == "hubble\n:4\n"


def test_kubectl_for_windows_asks_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "sys", SimpleNamespace(platform="win32"))
    with pytest.raises(UsageError, match="kubectl for Windows does not complete plugins"):
        completion.run(completion.CompletionOptions(what="install"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_each_shell_has_its_words(shell: str) -> None:
    command = [sys.executable, "-m", "kubectl_kdns", "completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "kubectl-kdns __complete" in done.stdout


def test_bash_completes_by_it(tmp_path: Path) -> None:
    (tmp_path / "kubectl-kdns").write_text(f'#!/bin/sh\nexec {sys.executable} -m kubectl_kdns "$@"\n')
    (tmp_path / "kubectl-kdns").chmod(0o755)
    script = (
        f"PATH={tmp_path}:$PATH\n"
        'eval "$(kubectl-kdns completion bash)"\n'
        "COMP_WORDS=(kubectl-kdns trace --rcode NX)\nCOMP_CWORD=3\n_kubectl_kdns\necho ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "NXDOMAIN\n"


def test_what_is_no_shell_is_said() -> None:
    command = [sys.executable, "-m", "kubectl_kdns", "completion", "bsah"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "bash" in done.stderr) == (2, True)

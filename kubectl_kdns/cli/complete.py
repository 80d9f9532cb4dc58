"""What may stand at the cursor: commands and flags from the help pages, values from lists, names from the cluster.

kubectl calls `kubectl_complete-kdns WORD...` (its last word is the one to complete) and reads a candidate a line,
a tab and its meaning behind it, and at the end `:` and a directive of cobra's. Never an error, and the cluster
has DEADLINE_S to answer.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence

from kubectl_kdns.cli.help import PAGES
from kubectl_kdns.dns.names import safe_text

DEADLINE_S = 0.3
FILES, NO_FILES = 0, 4
"""ShellCompDirectiveDefault and ShellCompDirectiveNoFileComp of cobra."""
RCODES = ("NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED", "FORMERR", "NOTIMP")
TYPES = ("A", "AAAA", "CNAME", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "SVCB", "TXT")
VALUES: dict[str, tuple[str, ...]] = {
    "--backend": ("auto", "hubble", "coredns", "ebpf"),
    "--rcode": RCODES,
    "--type": TYPES,
    "--class": ("success", "denial", "error"),
    "--hop": ("client", "nodelocal", "coredns"),
    "--side": ("client", "server", "proxy"),
    "--status": ("answered", "unanswered", "unwritten", "denied", "pending"),
    "--output": ("table", "wide", "json", "yaml", "csv", "custom-columns=", "custom-columns-file="),
    "--color": ("auto", "always", "never"),
    "--time": ("local", "utc", "relative", "none"),
    "--summary": ("text", "json", "none"),
    "--dry-run": ("client", "server"),
}
FILE_FLAGS = ("--from", "--corefile", "--kubeconfig", "--cacert", "--certificate-authority")
SHORT = {"-n": "--namespace", "-o": "--output", "-l": "--selector", "-F": "--filter", "-c": "--container"}
LISTS = ("--backend", "--rcode", "--type", "--class", "--hop", "--side", "--status")
"""Flags that take several, with commas between them."""
_FLAG = re.compile(r"^ {2,6}(?:-\w, )?(--[a-z-]+)(?: (\S+(?: \S+)*))?(?: {2,}(.*))?$")
_COMMAND = re.compile(r"^  ([a-z-]+) {2,}(\S.*)$")
_WITH_PODS = ("trace", "coredns-logs", "record", "explain")

Candidate = tuple[str, str]


def main(words: Sequence[str]) -> int:
    """Prints the candidates for the last of `words`."""
    candidates, directive = complete(list(words) or [""])
    for text, meaning in candidates:
        print(f"{text}\t{meaning}" if meaning else text)
    print(f":{directive}")
    return 0


def complete(words: list[str]) -> tuple[list[Candidate], int]:
    """Those that begin as the last word does, and the directive."""
    *before, current = words
    command = next((word for word in before if not word.startswith("-")), "")
    if not command:
        return _matching(commands(), current), NO_FILES
    flags = flags_of(command)
    previous = SHORT.get(before[-1], before[-1]) if before else ""
    if current.startswith("--") and "=" in current:
        flag, _, value = current.partition("=")
        found, directive = values_of(flag, value, before)
        return [(f"{flag}={text}", meaning) for text, meaning in found], directive
    if current.startswith("-"):
        return _matching([(name, meaning) for name, (_, meaning) in flags.items()], current), NO_FILES
    if previous in flags and flags[previous][0]:
        return values_of(previous, current, before)
    if command in _WITH_PODS:
        return _matching(targets(before, current), current), FILES if command == "record" else NO_FILES
    return [], NO_FILES


def commands() -> list[Candidate]:
    return [(match[1], match[2]) for line in _page("main") if (match := _COMMAND.match(line))]


def flags_of(command: str) -> dict[str, tuple[str, str]]:
    """What each takes ("": nothing), and its meaning."""
    lines = [*_page(command), *_page("options")]
    return {match[1]: (match[2] or "", match[3] or "") for line in lines if (match := _FLAG.match(line))}


def values_of(flag: str, current: str, before: Sequence[str]) -> tuple[list[Candidate], int]:
    """Of one flag; a list goes on behind its last comma."""
    if flag in FILE_FLAGS:
        return [], FILES
    done = ""
    if flag in LISTS and "," in current:
        done, _, current = current.rpartition(",")
        done += ","
    known = VALUES.get(flag)
    found = [(value, "") for value in known] if known else _from_cluster(flag, before)
    return [(done + text, meaning) for text, meaning in _matching(found, current)], NO_FILES


def targets(before: Sequence[str], current: str) -> list[Candidate]:
    """Pods, and KIND/NAME once a kind is there."""
    if "/" not in current:
        kinds = [(f"{kind}/", "") for kind in ("deploy", "sts", "ds", "job", "svc", "node")]
        return [*_from_cluster("--pod", before), *kinds]
    kind = current.partition("/")[0]
    return [(f"{kind}/{name}", meaning) for name, meaning in _from_cluster(kind, before)]


_PATHS = {
    "--namespace": "/api/v1/namespaces",
    "--agent-namespace": "/api/v1/namespaces",
    "--node": "/api/v1/nodes",
    "--agent-node": "/api/v1/nodes",
    "node": "/api/v1/nodes",
    "--pod": "/api/v1{}/pods",
    "--in": "/api/v1{}/pods",
    "svc": "/api/v1{}/services",
    "deploy": "/apis/apps/v1{}/deployments",
    "sts": "/apis/apps/v1{}/statefulsets",
    "ds": "/apis/apps/v1{}/daemonsets",
    "job": "/apis/batch/v1{}/jobs",
}


def _from_cluster(what: str, before: Sequence[str]) -> list[Candidate]:
    """Names; none when the cluster is slow, or is not there."""
    if what in ("--context", "--cluster", "--user"):
        return _in_time(lambda: _of_kubeconfig(what, before))
    path = _PATHS.get(what)
    return _in_time(lambda: _listed(path, before)) if path else []


def _listed(path: str, before: Sequence[str]) -> list[Candidate]:
    from kubectl_kdns.kube import connect
    from kubectl_kdns.kube.flags import ConnectionFlags

    flags = ConnectionFlags(
        context=_given(before, "--context"),
        kubeconfig=_given(before, "--kubeconfig"),
        cluster=_given(before, "--cluster"),
        user=_given(before, "--user"),
    )
    cluster = connect(flags)
    namespace = _given(before, "--namespace") or cluster.namespace
    place = f"/namespaces/{namespace}"
    body = cluster.get(path.format(place), limit="200")
    return [(safe_text(item["metadata"]["name"]), "") for item in body.get("items") or ()]


def _of_kubeconfig(what: str, before: Sequence[str]) -> list[Candidate]:
    import yaml

    files = _given(before, "--kubeconfig") or os.environ.get("KUBECONFIG") or "~/.kube/config"
    found: list[Candidate] = []
    for name in files.split(os.pathsep):
        with open(os.path.expanduser(name), encoding="utf-8") as file:
            content = yaml.safe_load(file) or {}
        found += [
            (safe_text(entry["name"]), "") for entry in content.get(f"{what.removeprefix('--')}s") or ()
        ]
    return found


def _given(before: Sequence[str], flag: str) -> str:
    """The value that a flag already has."""
    names = [flag, *(short for short, long in SHORT.items() if long == flag)]
    for i, word in enumerate(before):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else before[i + 1] if i + 1 < len(before) else ""
    return ""


def _in_time(ask: Callable[[], list[Candidate]]) -> list[Candidate]:
    """Its answer, if that comes in time and is none of an error: nobody reads errors at a prompt."""
    found: list[Candidate] = []

    def run() -> None:
        try:
            found.extend(ask())
        except Exception:  # noqa: BLE001 - whatever it is, there is nothing to offer
            found.clear()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    return list(found)


def _matching(candidates: Iterable[Candidate], current: str) -> list[Candidate]:
    return [(text, meaning) for text, meaning in candidates if text.startswith(current)]


def _page(name: str) -> list[str]:
    try:
        with open(os.path.join(PAGES, os.path.basename(name) + ".txt"), encoding="utf-8") as page:
            return page.read().splitlines()
    except OSError:
        return []

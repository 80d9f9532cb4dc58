"""Boots Debian's kernels in qemu and runs the agent's counting test in each (`make kernels`).

A release's linux-image package gives the kernel, agent/test/boot.c is its first process, and what is tested
is the agent in git. What it sent comes back over the serial line and is read as kdns reads it. Needs
qemu-system-x86, qemu-system-arm, dpkg-deb and Debian's mirror; kernels stay in ~/.cache/kdns-kernels. With
apparmor_parser and go there, the agent runs once as in a pod: confined by containerd's AppArmor profile. By
hand, not in CI. All is emulated, which takes 15 to 30 s a boot: a nested /dev/kvm may be there and not work.

    tools/kernels.py [--release NAME]... [--architecture amd64|arm64]...
"""

from __future__ import annotations

import argparse
import lzma
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from build_agent import AGENT, TARGETS, WARNINGS, zig

from kdns_ebpf import wire
from kdns_ebpf.agent_stream import AgentStream
from kdns_ebpf.manifest import capabilities_on
from kubectl_kdns.model import Client

CACHE = Path.home() / ".cache/kdns-kernels"
MIRROR = "http://deb.debian.org/debian"
RELEASES = ("bullseye", "bookworm", "trixie", "sid")
BOOT_S = 600
POD, CONTAINER = "11111111-2222-3333-4444-555555555555", "0123456789abcdef" * 4
# What boot.c asks: transport, status and tries, of IPv4 and IPv6 together.
LOOKUPS = {("udp", "answered", 1): 200, ("tcp", "answered", 1): 200, ("udp", "unanswered", 2): 10}
QEMU = {
    "amd64": ("qemu-system-x86_64", "-cpu", "max"),
    "arm64": ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57"),
}
CONSOLE = {"amd64": "ttyS0", "arm64": "ttyAMA0"}
SETUPS = {
    "v2": "cgroup v2",
    "fallback": "packet socket",
    "confined": "as in a pod",
    "v1": "cgroup v1",
    "hybrid": "v1 and v2",
}
CONTAINERD = "github.com/containerd/containerd@v1.7.28"
PROFILE = "kdns-runtime-default"
FEATURES = "/etc/apparmor.d/abi/3.0"
"""What a kernel of AppArmor 3 has: newer ones take such a policy as well."""
CAPABILITIES = {
    "DAC_READ_SEARCH": 2,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "SYS_RESOURCE": 24,
    "PERFMON": 38,
    "BPF": 39,
}
"""Their numbers (linux/capability.h)."""


class Run(NamedTuple):
    """A set-up of cgroups on one kernel: what was wrong is in `problems`."""

    setup: str
    stream: AgentStream
    problems: list[str]


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", action="append", help=f"Debian's: {', '.join(RELEASES)}")
    parser.add_argument("--architecture", action="append", choices=sorted(TARGETS))
    chosen = parser.parse_args()
    failed = False
    policy = runtime_policy()
    print(" | ".join(("| Linux", "architecture", *SETUPS.values())), "|")
    print("|---" * (2 + len(SETUPS)) + "|", flush=True)
    for architecture in chosen.architecture or sorted(TARGETS):
        for release in chosen.release or RELEASES:
            kernel = kernel_of(release, architecture)
            runs = boot(kernel, architecture, policy)
            release_seen = runs[0].stream.hello
            name = release_seen.release if release_seen else kernel.name
            found = {run.setup: "; ".join(run.problems) or "all" for run in runs}
            cells = " | ".join(found.get(setup, "not tried") for setup in SETUPS)
            print(f"| {name} | {architecture} | {cells} |", flush=True)
            failed = failed or any(run.problems for run in runs)
    return failed


def kernel_of(release: str, architecture: str) -> Path:
    """The release's newest kernel, from its package."""
    kept = CACHE / architecture / release
    kept.mkdir(parents=True, exist_ok=True)
    if found := list(kept.glob("vmlinuz-*")):
        return found[0]
    packages = lzma.decompress(fetch(f"dists/{release}/main/binary-{architecture}/Packages.xz")).decode()
    image = field(packages, f"linux-image-{architecture}", "Depends")
    version = re.search(rf"linux-image-(\d\S*-{architecture})\b", image)
    if not version:
        raise SystemExit(f"Debian's index says no kernel of {release}")
    # Since 2026 the image is in a package of its own, which linux-image only depends on.
    names = [f"linux-{part}-{version[1]}" for part in ("binary", "image")]
    name = next(name for name in names if f"\nPackage: {name}\n" in packages)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "image.deb")
        package.write_bytes(fetch(field(packages, name, "Filename")))
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        (vmlinuz,) = Path(folder).glob("**/vmlinuz*")
        kernel = kept / f"vmlinuz-{version[1]}"
        kernel.write_bytes(vmlinuz.read_bytes())
    return kernel


def fetch(path: str) -> bytes:
    with urllib.request.urlopen(f"{MIRROR}/{path}", timeout=60) as answer:
        content: bytes = answer.read()
    return content


def field(packages: str, package: str, name: str) -> str:
    stanza = re.search(rf"^Package: {re.escape(package)}\n(?:.+\n)*", packages, re.MULTILINE)
    found = stanza and re.search(rf"^{name}: (.+)$", stanza[0], re.MULTILINE)
    if not found:
        raise SystemExit(f"Debian's index says no {name} of {package}")
    return found[1]


def runtime_policy() -> bytes:
    """containerd's profile for who asks for none, as a kernel takes it; nothing where that cannot be made."""
    if not (shutil.which("apparmor_parser") and shutil.which("go")):
        print("not tried as in a pod: that needs apparmor_parser and go", file=sys.stderr)
        return b""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(Path(__file__).with_name("runtime_profile.go"), Path(folder, "main.go"))
        for command in (("go", "mod", "init", "profile"), ("go", "get", CONTAINERD)):
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
        text = subprocess.run(["go", "run", ".", PROFILE], cwd=folder, check=True, capture_output=True).stdout
        Path(folder, "profile").write_bytes(text)
        features = ("--kernel-features", FEATURES, "--policy-features", FEATURES)
        compiler = ("apparmor_parser", "--skip-kernel-load", "--skip-cache", *features, "--stdout", "profile")
        return subprocess.run(compiler, cwd=folder, check=True, capture_output=True).stdout


def boot(kernel: Path, architecture: str, policy: bytes) -> list[Run]:
    # A pod's, on such a node.
    capabilities = bytes(CAPABILITIES[name] for name in capabilities_on(kernel.name.removeprefix("vmlinuz-")))
    with tempfile.TemporaryDirectory() as folder:
        initrd = Path(folder, "initrd")
        initrd.write_bytes(files(architecture, folder, {"profile": policy, "capabilities": capabilities}))
        line = f"console={CONSOLE[architecture]} quiet panic=-1 rdinit=/init"
        command = [*QEMU[architecture], "-m", "512", "-smp", "2", "-nographic", "-no-reboot", "-nodefaults"]
        command += ["-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initrd), "-append", line]
        try:
            output = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=BOOT_S)
        except subprocess.TimeoutExpired as late:
            raise SystemExit(f"{kernel} was not done after {BOOT_S} s:\n{tail(late.stdout)}") from None
    text = output.stdout.decode("utf-8", "replace").replace("\r", "")
    if "KDNS-END" not in text:
        raise SystemExit(f"{kernel} did not come to the end:\n{tail(output.stdout)}{tail(output.stderr)}")
    return [
        judge(setup, body, capabilities)
        for setup, body in re.findall(r"KDNS-RUN (\S+)\n(.*?)KDNS-DONE", text, re.S)
    ]


def tail(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", "replace")[-3000:]


def files(architecture: str, folder: str, more: dict[str, bytes]) -> bytes:
    """An archive (cpio, newc) of the first process, the agent, a configuration and more."""
    init = Path(folder, "init")
    flags = ("-std=gnu11", "-D_GNU_SOURCE", "-O1", "-static", "-s", *WARNINGS)
    zig("-target", TARGETS[architecture], *flags, "test/boot.c", "-o", str(init))
    agent = (AGENT / "bin" / f"kdns-agent-{architecture}").read_bytes()
    content = {"init": init.read_bytes(), "kdns-agent": agent, "config": wire.config(bytes(16)), **more}
    out = b""
    for name, data in (*content.items(), ("TRAILER!!!", b"")):
        numbers = [0, 0o100755, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name.encode() + b"\0"
        out += head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
    return out


def judge(setup: str, body: str, capabilities: bytes) -> Run:
    """What a set-up's lines say, against what boot.c did."""
    stream = AgentStream(setup)
    lines = [line for line in body.split("\n") if line]
    sent = [line for line in lines if re.fullmatch(r"(?:[0-9a-f]{2})+", line)]
    effective = sum(1 << number for number in capabilities)
    confinement = [f"KDNS-CONFINED {PROFILE} (enforce)", f"KDNS-CapEff:\t{effective:016x}"]
    expected = Counter(confinement if setup == "confined" else ())
    words = differences(expected, Counter(line for line in lines if line not in sent))
    records = stream.feed(bytes.fromhex("".join(sent)))
    lookups = [record for record in records if record.kind == "lookup"]
    # A packet socket knows no sides: it sees each packet once.
    sides = ("client", "server") if setup != "fallback" else (None,)
    seen = Counter((one.side or None, one.transport, one.status, one.tries) for one in lookups)
    wanted = Counter({(side, *lookup): count for side in sides for lookup, count in LOOKUPS.items()})
    problems = differences(wanted, seen)
    if setup != "fallback":
        owner = (POD, CONTAINER) if setup != "v1" else (None, None)
        owners = Counter(owner_of(one.client) for one in lookups if one.side == "client" and one.client)
        problems += differences(Counter({("client", *owner): sum(LOOKUPS.values())}), owners)
    if stream.stats is None or not adds_up(stream.stats):
        problems.append(f"the figures do not add up: {stream.stats}")
    return Run(setup, stream, words + problems)


def owner_of(client: Client) -> tuple[str | None, str | None, str | None]:
    name = client.process.name if client.process else None
    return name or None, client.pod_uid or None, client.container_id or None


def differences(wanted: Counter[Any], seen: Counter[Any]) -> list[str]:
    wrong = sorted((what for what in wanted | seen if wanted[what] != seen[what]), key=str)
    return [f"{what}: {seen[what]} of {wanted[what]}" for what in wrong]


def adds_up(stats: wire.Stats) -> bool:
    return stats.seen == stats.sent + stats.filtered + stats.lost + stats.over_rate + stats.pending


if __name__ == "__main__":
    start = time.monotonic()
    status = main()
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    sys.exit(status)

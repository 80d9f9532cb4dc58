"""`kubectl kdns version`: the versions of kdns, its schema, Python and the cluster; backends and agents."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any

from kubectl_kdns import __version__
from kubectl_kdns.backend import AgentOwner, AgentProgram, backend_infos, load_backend
from kubectl_kdns.cli.groups import ConnectionOptions
from kubectl_kdns.cli.options import Options, command, flag
from kubectl_kdns.cli.stream import connection_flags
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import KdnsError, UsageError, did_you_mean
from kubectl_kdns.model import API_VERSION

DESCRIPTION = (
    "The cluster is asked for its version; when it cannot be reached that is said, and is no failure."
)
EXAMPLES = """
kubectl kdns version
kubectl kdns version --client -o json
"""


class VersionOptions(Options):
    """How to print."""

    client: bool = flag("--client", help="Do not ask the cluster", default=False)
    output: str = flag(
        "-o", "--output", metavar="FORMAT", help="text (default), json or yaml", default="text"
    )


GROUPS: list[type[Options]] = [VersionOptions, ConnectionOptions]
FORMATS = ("text", "json", "yaml")


def run(options: VersionOptions, connection: ConnectionOptions) -> None:
    """Prints them."""
    if options.output not in FORMATS:
        near = did_you_mean(options.output, FORMATS)
        raise UsageError(f"-o {options.output}: {', '.join(FORMATS)}", hint=near)
    versions: dict[str, Any] = {
        "kdns": __version__,
        "schema": API_VERSION,
        "python": platform.python_version(),
    }
    if not options.client:
        from kubectl_kdns.kube import connect

        try:
            found = connect(connection_flags(connection)).get("/version")
            versions["cluster"] = safe_text(str(found["gitVersion"]))
        except KdnsError as error:
            print(f"notice: the cluster's version is unknown: {error}", file=sys.stderr)
    infos = backend_infos().values()
    versions["backends"] = [info.name for info in infos]
    programs = [program for info in infos for program in _programs(info.name)]
    versions["agents"] = {
        program.architecture: {"sha256": program.sha256, "bytes": program.size_bytes} for program in programs
    }
    sys.stdout.write(WRITERS[options.output](versions))


def _programs(name: str) -> Sequence[AgentProgram]:
    backend = load_backend(name)
    return backend.programs() if isinstance(backend, AgentOwner) else ()


def _text(versions: dict[str, Any]) -> str:
    lines = [f"{name + ':':<10}{value}" for name, value in versions.items() if isinstance(value, str)]
    lines.append(f"{'backends:':<10}{', '.join(versions['backends'])}")
    lines += [
        f"{'agent:':<10}{architecture}, {agent['bytes']:,} bytes, sha256 {agent['sha256'][:12]}"
        for architecture, agent in versions["agents"].items()
    ]
    return "\n".join(lines) + "\n"


def _json(versions: dict[str, Any]) -> str:
    import json

    return json.dumps(versions) + "\n"


def _yaml(versions: dict[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(versions, sort_keys=False)
    return text


WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {"text": _text, "json": _json, "yaml": _yaml}
COMMAND = command(GROUPS, run)

"""`kubectl kdns version`: the versions of kdns, its schema, Python and the cluster."""

from __future__ import annotations

import platform
import sys

from kubectl_kdns import __version__
from kubectl_kdns.cli.groups import ConnectionOptions
from kubectl_kdns.cli.options import Options, command, flag
from kubectl_kdns.cli.stream import connection_flags
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import KdnsError, UsageError
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
    output: str = flag("-o", "--output", metavar="FORMAT", help="text (default) or json", default="text")


GROUPS: list[type[Options]] = [VersionOptions, ConnectionOptions]


def run(options: VersionOptions, connection: ConnectionOptions) -> None:
    """Prints them."""
    if options.output not in ("text", "json"):
        raise UsageError(f"-o {options.output}: text or json")
    versions = {"kdns": __version__, "schema": API_VERSION, "python": platform.python_version()}
    if not options.client:
        from kubectl_kdns.kube import connect

        try:
            found = connect(connection_flags(connection)).get("/version")
            versions["cluster"] = safe_text(str(found["gitVersion"]))
        except KdnsError as error:
            print(f"notice: the cluster's version is unknown: {error}", file=sys.stderr)
    if options.output == "json":
        import json

        print(json.dumps(versions))
    else:
        print("\n".join(f"{name + ':':<9}{version}" for name, version in versions.items()))


COMMAND = command(GROUPS, run)

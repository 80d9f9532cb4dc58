"""The groups of flags that commands share: connection, selection, stream, output."""

from __future__ import annotations

from kubectl_kdns.cli.options import Options, flag

# Aliases and scripts carry flags that have no meaning here (kube.flags.IGNORED_FLAGS says why).
_IGNORED = "Accepted, because kubectl has it; without effect"


class ConnectionOptions(Options):
    """kubectl's flags for reaching a cluster, with kubectl's names and meaning (`kubectl options`)."""

    kubeconfig: str = flag("--kubeconfig", metavar="FILE", help="Path to the kubeconfig file", default="")
    context: str = flag("--context", metavar="NAME", help="The kubeconfig context to use", default="")
    cluster: str = flag("--cluster", metavar="NAME", help="The kubeconfig cluster to use", default="")
    user: str = flag("--user", metavar="NAME", help="The kubeconfig user to use", default="")
    server: str = flag("-s", "--server", metavar="URL", help="Address of the API server", default="")
    token: str = flag("--token", metavar="TOKEN", help="Bearer token for the API server", default="")
    certificate_authority: str = flag(
        "--certificate-authority", metavar="FILE", help="CA certificate of the API server", default=""
    )
    client_certificate: str = flag(
        "--client-certificate", metavar="FILE", help="Client certificate for TLS", default=""
    )
    client_key: str = flag("--client-key", metavar="FILE", help="Client key for TLS", default="")
    insecure_skip_tls_verify: bool = flag(
        "--insecure-skip-tls-verify", help="Do not check the server's certificate (insecure)", default=False
    )
    tls_server_name: str = flag(
        "--tls-server-name", metavar="NAME", help="Name to expect in the server's certificate", default=""
    )
    as_: str = flag("--as", metavar="USER", help="User to impersonate", default="")
    as_group: tuple[str, ...] = flag(
        "--as-group", metavar="GROUP", help="Group to impersonate (repeatable)", default=()
    )
    as_uid: str = flag("--as-uid", metavar="UID", help="UID to impersonate", default="")
    as_user_extra: tuple[str, ...] = flag(
        "--as-user-extra", metavar="KEY=VALUE", help="User extra to impersonate (repeatable)", default=()
    )
    username: str = flag("--username", metavar="NAME", help="User name for basic authentication", default="")
    password: str = flag(
        "--password", metavar="PASSWORD", help="Password for basic authentication", default=""
    )
    request_timeout: str = flag(
        "--request-timeout",
        metavar="DURATION",
        help="Give up on one request after this time (0: when the server says nothing for 75 s; streams have no limit)",
        default="0",
    )
    v: int = flag(
        "-v",
        "--v",
        metavar="LEVEL",
        help="6 to 9: log requests to the API server, as kubectl does",
        default=0,
    )
    cache_dir: str = flag("--cache-dir", metavar="DIR", help=_IGNORED, default="", hidden=True)
    disable_compression: bool = flag("--disable-compression", help=_IGNORED, default=False, hidden=True)
    kuberc: str = flag("--kuberc", metavar="FILE", help=_IGNORED, default="", hidden=True)
    log_flush_frequency: str = flag(
        "--log-flush-frequency", metavar="DURATION", help=_IGNORED, default="", hidden=True
    )
    match_server_version: bool = flag("--match-server-version", help=_IGNORED, default=False, hidden=True)
    profile: str = flag("--profile", metavar="NAME", help=_IGNORED, default="", hidden=True)
    profile_output: str = flag("--profile-output", metavar="FILE", help=_IGNORED, default="", hidden=True)
    vmodule: str = flag("--vmodule", metavar="PATTERNS", help=_IGNORED, default="", hidden=True)
    warnings_as_errors: bool = flag("--warnings-as-errors", help=_IGNORED, default=False, hidden=True)


class SelectionOptions(Options):
    """Which lookups to show. All of them become one expression; `--explain-filter` prints it."""

    targets: tuple[str, ...] = flag(
        metavar="[POD | KIND/NAME]...",
        help="Clients to show: part of a pod's name (regex), or deploy/cart, sts/db, ds/agent, job/x, svc/cart, node/n1",
        default=(),
    )
    namespace: tuple[str, ...] = flag(
        "-n",
        "--namespace",
        metavar="NS",
        help="Clients in this namespace (repeatable); default: all namespaces",
        default=(),
    )
    all_namespaces: bool = flag(
        "-A", "--all-namespaces", help="Clients in all namespaces (the default)", default=False
    )
    selector: str = flag(
        "-l",
        "--selector",
        metavar="SELECTOR",
        help="Clients whose pods match this label selector",
        default="",
    )
    pod: tuple[str, ...] = flag(
        "--pod", metavar="GLOB", help="Clients whose pod name matches (repeatable)", default=()
    )
    container: tuple[str, ...] = flag(
        "-c",
        "--container",
        metavar="NAME",
        help="Clients in this container (packets only; repeatable)",
        default=(),
    )
    node: tuple[str, ...] = flag(
        "--node", metavar="NAME", help="Clients on this node (repeatable)", default=()
    )
    to: tuple[str, ...] = flag(
        "--to",
        metavar="SERVER",
        help="Asked this server: an IP, pod/NAME, svc/NAME, or a kind (coredns, nodelocal, external) (repeatable)",
        default=(),
    )
    name: tuple[str, ...] = flag(
        "--name",
        metavar="GLOB",
        help="Asked for this name: a glob, or ~REGEX; !GLOB excludes (repeatable)",
        default=(),
    )
    type: tuple[str, ...] = flag(
        "--type", metavar="TYPES", help="Asked for these types: A,AAAA; !AAAA excludes", default=()
    )
    rcode: tuple[str, ...] = flag(
        "--rcode",
        metavar="RCODES",
        help="Answered with these codes: SERVFAIL,REFUSED; !NXDOMAIN excludes (and keeps unanswered ones)",
        default=(),
    )
    response_class: tuple[str, ...] = flag(
        "--class",
        metavar="CLASSES",
        help="Answered in these of CoreDNS's classes: success, denial (NXDOMAIN, NODATA), error",
        default=(),
    )
    slower_than: str = flag(
        "--slower-than", metavar="DURATION", help="Answered later than this after the query", default=""
    )
    unanswered: bool = flag("--unanswered", help="Never answered", default=False)
    failed: bool = flag(
        "--failed", help="Status other than answered, or rcode other than NOERROR", default=False
    )
    hop: tuple[str, ...] = flag(
        "--hop", metavar="HOPS", help="Who asked: client, nodelocal, coredns", default=()
    )
    side: tuple[str, ...] = flag(
        "--side", metavar="SIDES", help="Where it was seen: client, server, proxy", default=()
    )
    status: tuple[str, ...] = flag(
        "--status", metavar="STATUSES", help="answered, unanswered, unwritten, denied, pending", default=()
    )
    filter: tuple[str, ...] = flag(
        "-F",
        "--filter",
        metavar="EXPR",
        help="An expression in CEL's syntax over the fields (`kubectl kdns fields`); repeatable, all must hold",
        default=(),
    )
    explain_filter: bool = flag(
        "--explain-filter",
        help="Print the expression and what each backend does of it, and end",
        default=False,
    )


class StreamOptions(Options):
    """How long, and from when."""

    limit: int | None = flag("--limit", metavar="N", help="End after N lookups")
    for_: str = flag("--for", metavar="DURATION", help="End after this time", default="")
    since: str = flag(
        "--since", metavar="TIME", help="Begin this long ago (10m), or at this time (RFC 3339)", default=""
    )
    until: str = flag("--until", metavar="TIME", help="End with this time", default="")
    timeout: str = flag(
        "--timeout",
        metavar="DURATION",
        help="A query without a response is unanswered after this time",
        default="5s",
    )
    messages: bool = flag(
        "--messages",
        help="Show each query and response too, beside the lookup they make (packets and Hubble)",
        default=False,
    )
    all_sightings: bool = flag(
        "--all-sightings",
        help="Show a lookup once for each place that saw it, not only nearest to who asked",
        default=False,
    )
    raw: bool = flag("--raw", help="Add the line or message as it came", default=False)


class InputOptions(Options):
    """Recorded data instead of a cluster."""

    from_: tuple[str, ...] = flag(
        "--from",
        metavar="FILE",
        help="Read a recorded file instead of a cluster (- is stdin; .gz too; repeatable): CoreDNS log, Hubble's JSON, kdns JSON lines, pcap, pcapng",
        default=(),
    )
    corefile: str = flag(
        "--corefile",
        metavar="FILE",
        help="Learn the log format of a recorded CoreDNS log from this Corefile",
        default="",
    )
    log_format: str = flag(
        "--log-format",
        metavar="FORMAT",
        help="The log format of a recorded CoreDNS log, as in its Corefile",
        default="",
    )
    port: tuple[str, ...] = flag(
        "--port", metavar="PORT", help="Ports that carry DNS (packets; repeatable, default 53)", default=()
    )


class OutputOptions(Options):
    """What is printed, and how."""

    output: str = flag(
        "-o",
        "--output",
        metavar="FORMAT",
        help="table, wide, json, yaml, csv, custom-columns=SPEC or custom-columns-file=FILE",
        default="table",
    )
    columns: str = flag(
        "--columns", metavar="FIELDS", help="Columns of table and csv: dns.name,latency_ms,...", default=""
    )
    no_headers: bool = flag("--no-headers", help="No header line", default=False)
    color: str = flag(
        "--color", metavar="WHEN", help="auto, always or never (NO_COLOR is respected)", default="auto"
    )
    time: str = flag(
        "--time", metavar="FORM", help="local, utc, relative (to the first event) or none", default="local"
    )
    insights: bool = flag(
        "--insights",
        help="Add the patterns that were found as records (json, yaml); with rows they always stand at the end",
        default=False,
    )
    summary: str = flag("--summary", metavar="FORM", help="At the end: text, json or none", default="text")

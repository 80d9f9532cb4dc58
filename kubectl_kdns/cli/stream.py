"""What the streaming commands share: their flags as one request, checked before anything is opened."""

from __future__ import annotations

import sys
import time
from typing import Any

from msgspec import Struct

from kubectl_kdns.cli.app import Exit
from kubectl_kdns.cli.backend_groups import CorednsOptions, EbpfOptions, HubbleOptions
from kubectl_kdns.cli.groups import (
    ConnectionOptions,
    InputOptions,
    OutputOptions,
    SelectionOptions,
    StreamOptions,
)
from kubectl_kdns.cli.options import Options, comma_list, duration_ns, moment_ns
from kubectl_kdns.errors import UsageError
from kubectl_kdns.filter.flags import FilterFlags
from kubectl_kdns.kube.flags import ConnectionFlags
from kubectl_kdns.printer import PrinterOptions
from kubectl_kdns.session import StreamRequest, run_stream


class Bounds(Struct, frozen=True):
    """Which part of time, as the commands decide it: nanoseconds since the epoch."""

    history: bool
    follow: bool
    since_ns: int | None = None
    tail: int | None = None
    last: int | None = None
    previous: bool = False


def connection_flags(options: ConnectionOptions) -> ConnectionFlags:
    """The flags of kubectl as the cluster access takes them."""
    names = ConnectionFlags.__struct_fields__
    return ConnectionFlags(**{name: getattr(options, name) for name in names})


def filter_flags(selection: SelectionOptions) -> FilterFlags:
    """The selection flags as the filter takes them."""
    if selection.all_namespaces and selection.namespace:
        raise UsageError("-A and -n together: choose all namespaces or some", hint="leave out one of them")
    return FilterFlags(**{name: getattr(selection, name) for name in FilterFlags.__struct_fields__})


def backend_options(inputs: InputOptions, *own: Options) -> dict[str, Any]:
    """The backends' own flags by their long name; files that say what a log looks like are read here.

    Times are nanoseconds, with _ns behind the name.
    """
    options: dict[str, Any] = {name: getattr(group, name) for group in own for name in group.FLAGS}
    for name in ("hubble_timeout", "hubble_request_timeout", "agent_lifetime"):
        if name in options:
            flag = "--" + name.replace("_", "-")
            options[f"{name}_ns"] = duration_ns(flag, options.pop(name))
    if inputs.corefile and inputs.log_format:
        raise UsageError("--corefile and --log-format together: each says the format of the log")
    if inputs.corefile:
        from kubectl_kdns.errors import InputError

        try:
            with open(inputs.corefile, encoding="utf-8", errors="replace") as file:
                options["corefile"] = file.read()
        except OSError as error:
            raise InputError(f"--corefile {inputs.corefile}: {error.strerror}") from None
    if inputs.log_format:
        options["log_format"] = inputs.log_format
    if inputs.port:
        ports = comma_list(inputs.port)
        bad = [port for port in ports if not (port.isdigit() and 0 < int(port) < 65536)]
        if bad:
            raise UsageError(f"--port {bad[0]}: not a port (1 to 65535)")
        options["ports"] = tuple(int(port) for port in ports)
    return options


def make_request(
    selection: SelectionOptions,
    stream: StreamOptions,
    inputs: InputOptions,
    coredns: CorednsOptions,
    hubble: HubbleOptions,
    output: OutputOptions,
    connection: ConnectionOptions,
    *,
    bounds: Bounds,
    backends: tuple[str, ...] = (),
    ebpf: EbpfOptions | None = None,
) -> StreamRequest:
    """One request of all the flags; UsageError for what does not fit together."""
    now_ns = time.time_ns()
    if stream.limit is not None and stream.limit < 1:
        raise UsageError(f"--limit {stream.limit}: at least 1")
    timeout = duration_ns("--timeout", stream.timeout)
    if not timeout:
        raise UsageError(f"--timeout {stream.timeout}: more than 0 is needed")
    options = backend_options(inputs, coredns, hubble, *([ebpf] if ebpf else []))
    for_ns = duration_ns("--for", stream.for_)
    return StreamRequest(
        connection=connection_flags(connection),
        filters=filter_flags(selection),
        explain_filter=selection.explain_filter,
        backends=backends,
        local=ebpf is not None and ebpf.local,
        inputs=inputs.from_,
        options=options | {"for_ns": for_ns},
        history=bounds.history,
        follow=bounds.follow,
        since_ns=bounds.since_ns,
        until_ns=moment_ns("--until", stream.until, now_ns),
        tail=bounds.tail,
        last=bounds.last,
        previous=bounds.previous,
        for_ns=for_ns,
        limit=stream.limit,
        timeout_ns=timeout,
        messages=stream.messages,
        raw=stream.raw,
        all_sightings=stream.all_sightings,
        output=printer_options(output),
        now_ns=now_ns,
    )


def printer_options(output: OutputOptions) -> PrinterOptions:
    """The output flags as the printer takes them."""
    return PrinterOptions(
        output=output.output,
        columns=output.columns,
        headers=not output.no_headers,
        color=output.color,
        time=output.time,
        summary=output.summary,
        insights=output.insights,
    )


def run_request(request: StreamRequest) -> None:
    """Runs it on this terminal; a status other than 0 becomes the program's."""
    status = run_stream(request, sys.stdout, sys.stderr)
    if status:
        raise Exit(status)

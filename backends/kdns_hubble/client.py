"""Hubble's API (observer.Observer) over gRPC: one channel, its calls, and errors that say what to try.

The calls for the stream of flows are as measured (facts): read by the caller's own thread, undecoded.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

# gRPC writes failed handshakes to standard error by itself, and its own resolver does not see what this
# system's does: VPNs on macOS, nsswitch. Both are read when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_DNS_RESOLVER", "native")

import grpc
from google.protobuf.message import DecodeError, Message
from grpc.experimental import ChannelOptions

from kdns_hubble import hubble_pb2 as pb
from kdns_hubble.address import Address
from kdns_hubble.credentials import Credentials
from kdns_hubble.failures import HubbleError, Peer, call_error, no_connection, proxies_of
from kdns_hubble.handshake import Greeting, greet
from kdns_hubble.options import HubbleOptions
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.times import NS_PER_S

_OBSERVER = "/observer.Observer/"
_HEALTH = "/grpc.health.v1.Health/Check"
_NO_WAY_IN = ("UNAVAILABLE", "UNAUTHENTICATED", "PERMISSION_DENIED", "CANCELLED")
"""Any other answer comes from a server that is there; many a server knows no health check."""
_NS_PER_MS = 1_000_000
_MAX_MESSAGE_BYTES = 64 << 20
_KEEPALIVE_MS = 310_000
"""grpc-go takes a third ping within 5 minutes of another for an attack, unless it has sent something since,
and relays leave it at that: with 20 s, a quiet stream ended after 102 s (GOAWAY, too_many_pings)."""

M = TypeVar("M", bound=Message)


class FlowsCall:
    """A stream of flows. Iterating yields GetFlowsResponse messages as bytes, and raises HubbleError (or what
    `explain` says) when it breaks; after `cancel`, or `close` of the client, it just ends."""

    def __init__(self, call: Any, error_of: Callable[[Any], KdnsError | None]) -> None:
        self._call = call
        self._error_of = error_of
        self._is_cancelled = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._call
        except grpc.RpcError as error:
            ours = self._error_of(error)
            if ours and not self._is_cancelled:
                raise ours from error

    def cancel(self) -> None:
        """From any thread, more than once."""
        self._is_cancelled = True
        self._call.cancel()

    def headers(self) -> dict[str, str]:
        """What the server said ahead (`hubble-relay-version`, from 1.18 on). Only after the first message:
        before it, this would wait, and keep `cancel` waiting."""
        return {key: value for key, value in self._call.initial_metadata() if isinstance(value, str)}


class HubbleClient:
    """A channel to a relay, or to one agent. All methods may be called from any thread.

    `credentials` None is plain text. `server_name` is the name that the certificate must have ("" the
    address's host). `called` is what errors call the server. `explain` is asked first when a connection does
    not come about or breaks: whoever forwards the port may know better.
    """

    def __init__(
        self,
        address: Address,
        credentials: Credentials | None,
        server_name: str,
        options: HubbleOptions,
        *,
        called: str = "",
        explain: Callable[[], KdnsError | None] = lambda: None,
    ) -> None:
        self._credentials = credentials
        self._options = options
        self._explain = explain
        self._peer = Peer(
            called=called or f"the Hubble server {address}",
            address=address,
            tls=credentials is not None,
            server_name=server_name,
            trusts=credentials.trusts if credentials else "",
            shows_certificate=bool(credentials and credentials.certificate_pem),
            has_password=bool(options.username),
            dial_timeout_ns=options.dial_timeout_ns,
            request_timeout_ns=options.request_timeout_ns,
        )
        self._metadata = _basic_auth(options)
        self._is_closed = False
        self._channel = _channel(address, credentials, server_name, options)

    def connect(self) -> None:
        """Until a server has answered. Raises HubbleError as soon as it is known to fail, after the dial
        time-out at the latest. A stream may be started before: it waits for nothing."""
        try:
            # Not ServerStatus: a relay asks all its agents for that, and waits for the slowest.
            self._unary(_HEALTH, self._options.dial_timeout_ns)
        except HubbleError as error:
            if error.code == "DEADLINE_EXCEEDED":
                raise self._explain() or no_connection(self._peer, proxies_of(os.environ)) from error
            if error.code in _NO_WAY_IN:
                raise

    def status(self) -> pb.ServerStatusResponse:
        """Of the server; a relay adds up what its agents say."""
        return self._decode(pb.ServerStatusResponse, self._unary(f"{_OBSERVER}ServerStatus"))

    def nodes(self) -> pb.GetNodesResponse | None:
        """The agents that a relay knows; None from an agent, which does not have this call."""
        try:
            return self._decode(pb.GetNodesResponse, self._unary(f"{_OBSERVER}GetNodes"))
        except HubbleError as error:
            if error.code == "UNIMPLEMENTED":
                return None
            raise

    def namespaces(self) -> pb.GetNamespacesResponse:
        """Those of which there were flows lately."""
        return self._decode(pb.GetNamespacesResponse, self._unary(f"{_OBSERVER}GetNamespaces"))

    def flows(self, request: pb.GetFlowsRequest, *, bounded: bool = False) -> FlowsCall:
        """Starts the stream; a failure shows when it is iterated. A `bounded` one is an answer, and fails
        when it has not ended after the time for a request."""
        start: Callable[..., Any] = self._channel.unary_stream(f"{_OBSERVER}GetFlows")
        timeout_s = self._options.request_timeout_ns / NS_PER_S if bounded else None
        try:
            call = start(request.SerializeToString(), timeout=timeout_s, metadata=self._metadata)
        except ValueError:  # what gRPC raises for a closed channel
            raise self._closed() from None
        return FlowsCall(call, self._error_of)

    def close(self) -> None:
        """Ends all calls. From any thread, more than once."""
        self._is_closed = True
        self._channel.close()

    def _unary(self, method: str, timeout_ns: int = 0) -> bytes:
        """One call without arguments."""
        call: Callable[..., bytes] = self._channel.unary_unary(method)
        timeout_s = (timeout_ns or self._options.request_timeout_ns) / NS_PER_S
        try:
            answer = call(b"", timeout=timeout_s, metadata=self._metadata)
        except ValueError:
            raise self._closed() from None
        except grpc.RpcError as error:
            raise self._error_of(error) or self._closed() from error
        return answer

    def _decode(self, of: type[M], answer: bytes) -> M:
        try:
            return of.FromString(answer)
        except DecodeError as error:
            raise HubbleError(
                f"{self._peer.called} answered, but not as Hubble does", code="INTERNAL"
            ) from error

    def _closed(self) -> HubbleError:
        return HubbleError(f"the connection to {self._peer.called} has been closed", code="CANCELLED")

    def _error_of(self, error: Any) -> KdnsError | None:
        """None when it is only that we closed the channel."""
        if self._is_closed:
            return None
        code, details = error.code().name, error.details() or ""
        if code == "UNAVAILABLE" and (explained := self._explain()):
            return explained
        return call_error(code, details, self._peer, proxies_of(os.environ), self._greet)

    def _greet(self) -> Greeting:
        ca_pem = self._credentials.ca_pem if self._credentials else b""
        return greet(self._peer.address, self._peer.server_name, ca_pem)


def _channel(
    address: Address, credentials: Credentials | None, server_name: str, options: HubbleOptions
) -> grpc.Channel:
    settings: list[tuple[str, Any]] = [
        # Proxies of the environment are for the web; a relay is in the cluster, or at hand.
        ("grpc.enable_http_proxy", 0),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        # Channels with the same options would share one connection, and one of them ends it for all.
        ("grpc.use_local_subchannel_pool", 1),
        # The time for one attempt to connect: without it 20 s.
        ("grpc.min_reconnect_backoff_ms", max(1, options.dial_timeout_ns // _NS_PER_MS)),
        (ChannelOptions.SingleThreadedUnaryStream, 1),
        ("grpc.primary_user_agent", "kubectl-kdns"),
    ]
    if credentials is None:
        return grpc.insecure_channel(address.target, settings)
    if server_name:
        settings.append(("grpc.ssl_target_name_override", server_name))
        settings.append(("grpc.default_authority", server_name))
    secure = grpc.ssl_channel_credentials(
        credentials.ca_pem or None, credentials.key_pem or None, credentials.certificate_pem or None
    )
    return grpc.secure_channel(address.target, secure, settings)


def _basic_auth(options: HubbleOptions) -> tuple[tuple[str, str], ...]:
    if not options.username:
        return ()
    login = base64.b64encode(f"{options.username}:{options.password}".encode()).decode()
    return (("authorization", f"Basic {login}"),)

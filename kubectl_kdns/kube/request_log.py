"""The request log of `-v 6` to `-v 9`, as kubectl writes it to standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from kubectl_kdns.dns.names import safe_text

_SECRET = {"authorization", "proxy-authorization", "cookie", "set-cookie"}
_BODY_LIMITS = {8: 1024, 9: 10240}

Headers = Iterable[tuple[str, str]]


class RequestLog:
    """6: method, URL, status, time; 7: headers sent; 8: headers that came and some of the body; 9: more.

    Secrets are never written. `write` gets whole lines.
    """

    def __init__(
        self, level: int, write: Callable[[str], object], now_s: Callable[[], float] = time.time
    ) -> None:
        self._level, self._write, self._now_s = level, write, now_s

    def exchange(
        self,
        method: str,
        url: str,
        sent: Headers,
        outcome: str,
        received: Headers,
        elapsed_s: float,
    ) -> None:
        """One request and its answer; `outcome` is the status line or the failure."""
        if self._level < 6:
            return
        lines = [f"{method} {url} {outcome} in {elapsed_s * 1000:.0f} milliseconds"]
        if self._level >= 7:
            lines += ["Request Headers:", *_header_lines(sent)]
        if self._level >= 8:
            lines += ["Response Headers:", *_header_lines(received)]
        self._emit(lines)

    def body(self, body: bytes) -> None:
        """The body of an answer that was read whole."""
        if self._level >= 8:
            limit = _BODY_LIMITS[min(self._level, 9)]
            more = f" [truncated {len(body) - limit} bytes]" if len(body) > limit else ""
            self._emit(["Response Body: " + body[:limit].decode("utf-8", "replace") + more])

    def _emit(self, lines: list[str]) -> None:
        now_s = self._now_s()
        stamp = time.strftime("I%m%d %H:%M:%S", time.localtime(now_s)) + f".{int(now_s % 1 * 1e6):06d}"
        self._write("".join(f"{stamp} kdns] {safe_text(line)}\n" for line in lines))


def _header_lines(headers: Headers) -> list[str]:
    shown: Mapping[bool, Callable[[str], str]] = {True: _masked, False: str}
    return [f"    {name}: {shown[name.lower() in _SECRET](value)}" for name, value in headers]


def _masked(value: str) -> str:
    scheme, blank, _ = value.partition(" ")
    return f"{scheme} <masked>" if blank else "<masked>"

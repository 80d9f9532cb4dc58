"""The body of a response as it comes, at full speed, until its end, a break, or `close` from any thread."""

from __future__ import annotations


class Stream:
    """An open response. One thread reads; any thread may close it, which wakes a blocked read."""

    def read1(self, n: int = 65536) -> bytes:
        """Up to `n` bytes as soon as there are any; b"" is the orderly end, or after `close`.

        The first call sends the request, so it raises what an answer may be (ForbiddenError, NotFoundError,
        ...): a kubelet sends no headers before the first line of a log, and only a Stream can be closed
        while it waits for them. Raises ClusterError when the connection broke in the middle.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Ends the stream; may be called more than once."""
        raise NotImplementedError

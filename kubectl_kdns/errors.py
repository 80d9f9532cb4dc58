"""One tree of errors, each with what failed, on what, the likely cause, and a command to try.

KdnsError                 could not run: exit status 3
├── UsageError            wrong flags or a wrong filter: exit status 2
│   └── FilterError       with the position of the mistake, for the caret
├── ConfigError           kubeconfig: not found, unreadable, no such context, a plugin that failed
├── ClusterError          the API server: unreachable, refused, not allowed
│   ├── ForbiddenError    401 and 403: with the RBAC rule that is missing
│   ├── NotFoundError     404
│   ├── ConflictError     409: somebody else changed the object
│   └── GoneError         410: the resource version is too old; list again
├── BackendError          a backend cannot work here: with the smallest fix
└── InputError            a file that cannot be read or is of no known kind
"""

from __future__ import annotations

from collections.abc import Sequence


class KdnsError(Exception):
    """`what` failed, on which object; `cause` and `hint` (a command or flag to try) are for the reader."""

    exit_status = 3

    def __init__(self, what: str, *, cause: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.hint = hint

    def __str__(self) -> str:
        text = self.what
        if self.cause:
            text += f": {self.cause}"
        if self.hint:
            text += f"\n{self.hint}" if self.hint.startswith("did you mean") else f"\nTry: {self.hint}"
        return text


class UsageError(KdnsError):
    exit_status = 2


class FilterError(UsageError):
    """A filter that does not parse or does not fit the fields; `position` counts characters of `source`."""

    def __init__(self, what: str, *, source: str, position: int, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.source = source
        self.position = position

    def __str__(self) -> str:
        line_start = self.source.rfind("\n", 0, self.position) + 1
        line = self.source[line_start:].split("\n", 1)[0].replace("\t", " ")
        column = self.position - line_start
        # Of a very long line only what is around the mistake: else the caret would be screens away.
        cut = max(0, column - 60) if len(line) > 120 else 0
        text = f"{self.what}\n  {line[cut : cut + 120]}\n  {' ' * (column - cut)}^"
        return f"{text}\n{self.hint}" if self.hint else text


class ConfigError(KdnsError):
    pass


class ClusterError(KdnsError):
    """`status` is the HTTP status, or 0 when no answer came."""

    def __init__(self, what: str, *, status: int = 0, cause: str = "", hint: str = "") -> None:
        super().__init__(what, cause=cause, hint=hint)
        self.status = status


class ForbiddenError(ClusterError):
    pass


class NotFoundError(ClusterError):
    pass


class ConflictError(ClusterError):
    pass


class GoneError(ClusterError):
    pass


class BackendError(KdnsError):
    pass


class InputError(KdnsError):
    pass


def did_you_mean(word: str, candidates: Sequence[str]) -> str:
    """`did you mean "x"?` for the nearest candidate, else an empty string."""
    import difflib

    near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""

"""A filter as an object: its canonical text, its tree, what it reads, and the function that decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from kubectl_kdns.fields import BY_PATH
from kubectl_kdns.filter.nodes import DIRECTORY_METHODS, Call, Expr, Field, to_text, walk
from kubectl_kdns.model import Client, Lookup, Message


class Environment(Protocol):
    """What only the directory knows; asked once for each record."""

    def labels_match(self, selector: str, client: Client) -> bool:
        """Whether the client is a pod whose labels match; see `kubectl_kdns.filter.selector`."""

    def backs_service(self, service: str, client: Client) -> bool:
        """Whether the client is a pod behind the Service: "cart" of its own namespace, or "shop/cart"."""


@dataclass(frozen=True)
class Filter:
    """A checked filter; `source` is its canonical text, `expr` is None (and `source` "") for everything."""

    source: str
    expr: Expr | None

    @cached_property
    def fields(self) -> frozenset[str]:
        """The paths that it reads."""
        return frozenset(
            node.path for node in walk(self.expr) if isinstance(node, Field) and node.path in BY_PATH
        )

    @cached_property
    def needs_directory(self) -> bool:
        """Whether it reads what is named from the Kubernetes API after an event was read."""
        return any(BY_PATH[path].directory for path in self.fields) or self.asks_directory

    @cached_property
    def asks_directory(self) -> bool:
        """Whether it has one of the methods that ask the Environment: `hasLabels`, `backs`."""
        return any(isinstance(node, Call) and node.method in DIRECTORY_METHODS for node in walk(self.expr))

    def compile(self, env: Environment | None = None) -> Callable[[Lookup | Message], bool]:
        """The function that decides. Raises UsageError if it asks the directory and `env` is None."""
        if self.expr is None:
            return _accept_all
        from kubectl_kdns.filter.compile import compile_filter

        return compile_filter(self.expr, env)


def parse_filter(source: str) -> Filter:
    """A filter from its text; blank text selects everything. Raises FilterError with the position."""
    if not source.strip():
        return Filter("", None)
    from kubectl_kdns.filter.check import check
    from kubectl_kdns.filter.parser import parse

    expr = parse(source)
    check(expr, source)
    return Filter(to_text(expr), expr)


def _accept_all(_record: Lookup | Message) -> bool:
    return True

"""`kubectl kdns hubble policy`: which flags go together, and what they ask for."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_kdns.cli.groups import SelectionOptions, StreamOptions
from kubectl_kdns.cli.hubble import PolicyOptions, change_request
from kubectl_kdns.errors import UsageError


def asked(apply: bool = True, for_: str = "10m", **options: Any) -> Any:
    names = PolicyOptions.FLAGS
    policy = PolicyOptions(apply=apply, **{k: v for k, v in options.items() if k in names})
    selection = SelectionOptions(
        **{"namespace": ("shop",), **{k: v for k, v in options.items() if k not in names}}
    )
    return change_request(policy, selection, StreamOptions(for_=for_))


def test_what_apply_asks_for() -> None:
    change = asked(selector="app=web", to=("coredns",), yes=True)
    assert (change.backend, change.lasts_ns, change.yes, change.dry_run) == ("hubble", 600 * 10**9, True, "")
    assert change.settings == {"namespace": "shop", "selector": "app=web", "to": ("coredns",)}
    assert asked(for_="", dry_run="server").dry_run == "server"
    assert asked(dry_run="none").dry_run == ""
    assert asked(apply=False, for_="") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"namespace": ()}, "for one namespace"),
        ({"namespace": ("a", "b")}, "for one namespace"),
        ({"all_namespaces": True}, "for one namespace"),
        ({"targets": ("deploy/cart",)}, "by their labels"),
        ({"for_": ""}, "--apply needs --for"),
        ({"dry_run": "maybe"}, "client or server"),
        ({"apply": False}, "--for goes with --apply"),
        ({"apply": False, "for_": "", "yes": True}, "--yes goes with --apply"),
        ({"apply": False, "for_": "", "dry_run": "client"}, "--dry-run goes with --apply"),
    ],
)
def test_what_does_not_fit_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        asked(**options)

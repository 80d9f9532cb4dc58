"""The Corefile edit: the log goes on in every server block, and comes out without a trace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_coredns.corefile import CorefileError, parse_corefile
from kdns_coredns.switch import SwitchState, diff, state_of_json, with_log, without_log
from kubectl_kdns.errors import BackendError

KUBEADM = """.:53 {
    errors
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    reload
}
"""


PLUGINS = ["errors", "log", "log . {\n class denial\n }", "whoami # x", "cache 30", ""]
QUOTED = '"{remote} {name} \\"{type}\\""'


def test_class_error_is_three_lines_at_the_top() -> None:
    changed = with_log(KUBEADM, ["error"], "ab12")
    assert changed == KUBEADM.replace(
        ".:53 {\n",
        ".:53 {\n    log . { # kdns:ab12\n        class error # kdns:ab12\n    } # kdns:ab12\n",
    )
    assert parse_corefile(changed).blocks[0].log_rules[0].classes == ("error",)
    assert without_log(changed, "ab12") == KUBEADM


@pytest.mark.parametrize(
    ("corefile", "classes", "line"),
    [
        (KUBEADM, ["all"], "log . #"),
        (KUBEADM, ["success", "denial", "error"], "log . #"),
        (". {\n    log . {\n        class denial\n    }\n}\n", ["error"], "class denial error"),
        (f". {{\n  log . {QUOTED} {{\n class error\n }}\n}}", ["all"], f"log . {QUOTED} #"),
        (". {\n  log {combined}\n}\n", ["all"], "log . #"),
        (". { # a comment\n  errors\n}\n", ["all"], "log . #"),
    ],
)  # fmt: skip
def test_what_is_there_is_kept_and_widened(corefile: str, classes: list[str], line: str) -> None:
    changed = with_log(corefile, classes, "s1")
    assert line in changed
    first = parse_corefile(changed).blocks[0].log_rules[0]
    assert first.names == (".",)
    assert without_log(changed, "s1") == corefile


@pytest.mark.parametrize(
    ("corefile", "classes"),
    [
        (". {\n  log\n}\n", ["all"]),
        (". {\n  log\n}\n", ["error"]),
        (". {\n  log . {\n class error denial\n }\n}\n", ["error"]),
        ("(snip) {\n  log\n}\n. {\n  import snip\n}\n", ["error"]),
    ],
)
def test_a_log_that_is_on_is_left_alone(corefile: str, classes: list[str]) -> None:
    assert with_log(corefile, classes, "s1") == corefile


def test_every_server_block_gets_it_and_only_ours_comes_out() -> None:
    two = "a.test:53 {\n  errors\n}\n\nb.test:53 {\n  log\n}\nc.test {\n  whoami\n}\n"
    changed = with_log(two, ["all"], "s1")
    assert changed.count("# kdns:s1") == 2
    edited = changed.replace("whoami", "whoami\n  log b.test # kdns:other")
    assert without_log(edited, "s1") == two.replace("whoami", "whoami\n  log b.test # kdns:other")


@pytest.mark.parametrize("corefile", [".:53\nerrors\n", ". { errors\n}\n"])
def test_what_cannot_be_edited_by_lines_is_refused(corefile: str) -> None:
    with pytest.raises(BackendError, match="cannot be edited by lines"):
        with_log(corefile, ["all"], "s1")


def test_a_broken_corefile_is_refused() -> None:
    with pytest.raises(CorefileError):
        with_log(".:53 {\n errors\n", ["all"], "s1")


def test_state_survives_json_and_foreign_annotations_are_none() -> None:
    state = SwitchState("s", "u", "h", 1, "2", "a", "b", "Corefile", "old\n", "new\n")
    assert state_of_json(state.to_json()) == state
    for text in ("", "{}", "[]", "nonsense", '{"session": 1}'):
        assert state_of_json(text) is None


def test_the_diff_shows_what_comes() -> None:
    changed = with_log(KUBEADM, ["all"], "s1")
    assert "+    log . # kdns:s1" in diff(KUBEADM, changed, "x")
    assert diff(KUBEADM, KUBEADM, "x") == ""


@given(
    st.lists(st.sampled_from(PLUGINS), max_size=5),
    st.sets(st.sampled_from(["all", "success", "denial", "error"]), min_size=1),
    st.sampled_from(["", "# top\n", "(s) {\n  errors\n}\n"]),
)  # fmt: skip
def test_undoing_gives_the_old_text_byte_for_byte(plugins: list[str], classes: set[str], head: str) -> None:
    corefile = head + ".:53 {\n" + "".join(f"  {p}\n" for p in plugins) + "}"
    changed = with_log(corefile, sorted(classes), "cafe")
    assert without_log(changed, "cafe") == corefile
    rules = parse_corefile(changed).blocks[0].log_rules
    assert (set(classes) - {"all"}) <= set(rules[0].classes) or "all" in rules[0].classes

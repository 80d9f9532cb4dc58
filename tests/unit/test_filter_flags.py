"""Flags become one expression: every flag, every form of target, and what is wrong usage."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_kdns.cli.groups import SelectionOptions
from kubectl_kdns.dns.tables import RCODES, TYPES
from kubectl_kdns.errors import FilterError, UsageError
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.filter.flags import FilterFlags, flags_expression
from kubectl_kdns.model import HOPS, RESPONSE_CLASSES, SIDES, STATUSES, Client, Dns, Lookup, Server, Workload
from support.filter_flags import flags_of, golden_cases


def outcome(line: str) -> str:
    try:
        return flags_expression(flags_of(line)) or "(everything)"
    except UsageError as error:
        return f"error: {error}"


def test_flags() -> None:
    cases = golden_cases("filter_flags.txt")
    assert {line: outcome(line) for line in cases} == cases


def test_the_golden_file_has_every_flag() -> None:
    cases = golden_cases("filter_flags.txt")
    names = set(FilterFlags.__struct_fields__)
    assert {name for line in cases for name in names if getattr(flags_of(line), name)} == names
    assert sum(expected.startswith("error: ") for expected in cases.values()) > 30


@pytest.mark.parametrize(
    "kinds",
    [
        "po pod pods Pod",
        "deploy deployment deployments deployments.apps deployment.v1.apps Deployment",
        "ds daemonset daemonsets daemonset.apps",
        "sts statefulset statefulsets",
        "rs replicaset replicasets",
        "rc replicationcontroller replicationcontrollers",
        "job jobs jobs.batch",
        "cj cronjob cronjobs",
        "ro rollout rollouts rollouts.argoproj.io",
        "svc service services",
        "no node nodes",
    ],
)
def test_kinds_have_kubectls_names(kinds: str) -> None:
    for form in ("{}/cart", "--to {}/cart"):
        assert len({flags_expression(flags_of(form.format(kind))) for kind in kinds.split()}) == 1


def test_a_replica_sets_pods_are_found_by_name() -> None:
    accept = parse_filter(flags_expression(FilterFlags(targets=("rs/cart-5d8f7",)))).compile()
    pods = [
        "cart-5d8f7-x2x9z",
        "cart-5d8f7",
        "cart-5d8f7-x2x9z-1",
        "cart-5d8f7a-x2x9z",
        "cart-5d8f7-web-x2x9z",
    ]
    assert [accept(Lookup(client=Client(pod=pod))) for pod in pods] == [True, False, False, False, False]


def test_a_job_of_a_cron_job_is_found() -> None:
    accept = parse_filter(flags_expression(FilterFlags(targets=("job/backup-28",)))).compile()
    assert accept(Lookup(client=Client(pod="x", workload=Workload("Job", "backup-28"))))
    assert accept(Lookup(client=Client(pod="backup-28-x2x9z", workload=Workload("CronJob", "backup"))))
    assert accept(Lookup(client=Client(pod="backup-28-0-x2x9z", workload=Workload("CronJob", "backup"))))
    assert not accept(Lookup(client=Client(pod="backup-29-x2x9z", workload=Workload("CronJob", "backup"))))
    assert not accept(Lookup(client=Client(pod="backup-28-x2x9z", workload=Workload("Deployment", "backup"))))


def test_a_mistake_in_an_expression_keeps_its_caret() -> None:
    with pytest.raises(FilterError) as caught:
        flags_expression(FilterFlags(namespace=("shop",), filter=("late", "late ||")))
    assert (caught.value.source, caught.value.position) == ("late ||", 7)


def test_failed() -> None:
    accept = parse_filter(flags_expression(FilterFlags(failed=True))).compile()

    def lookup(status: str, rcode: str | None = None) -> Lookup:
        return Lookup(status=status, dns=Dns(rcode=rcode) if rcode else Dns())

    assert [accept(lookup(status)) for status in STATUSES] == [False, True, True, True, True]
    assert accept(lookup("answered", "SERVFAIL"))
    assert not accept(lookup("answered", "NOERROR"))
    assert not accept(Lookup())


def test_excluding_keeps_what_is_unknown() -> None:
    accept = parse_filter(flags_expression(FilterFlags(rcode=("!NXDOMAIN",), to=("!coredns",)))).compile()
    assert accept(Lookup(status="unanswered"))
    assert accept(Lookup(dns=Dns(rcode="NOERROR"), server=Server(kind="external")))
    assert not accept(Lookup(dns=Dns(rcode="NXDOMAIN")))
    assert not accept(Lookup(server=Server(kind="coredns")))


def test_all_names_and_numbers_are_accepted() -> None:
    for flag, names in (("type", TYPES), ("rcode", RCODES)):
        for number, name in names.items():
            for text in (name, name.lower(), str(number), f"{flag}{number}"):
                assert flags_expression(FilterFlags(**{flag: (text,)})) == f'dns.{flag} == "{name}"'


def test_all_values_of_closed_sets_are_accepted() -> None:
    for flag, path, values in (
        ("hop", "hop", HOPS),
        ("side", "side", SIDES),
        ("status", "status", STATUSES),
        ("response_class", "dns.response_class", RESPONSE_CLASSES),
    ):
        choices = ", ".join(f'"{value}"' for value in values)
        flags = FilterFlags(**{flag: (",".join(values).upper(),)})
        assert flags_expression(flags) == f"{path} in [{choices}]"


def test_the_command_line_has_these_flags() -> None:
    names = set(SelectionOptions.FLAGS)
    assert set(FilterFlags.__struct_fields__) == names - {"all_namespaces", "explain_filter"}


value_texts = st.one_of(
    st.text("abA*?.!~,/-\\ (=:1\udcff", max_size=8),
    st.sampled_from(
        ["deploy/a", "svc/b", "10.0.0.1", "coredns", "SERVFAIL", "!A", "error", "client", "late"]
    ),
)
any_flags = st.builds(
    FilterFlags,
    **{
        field.name: st.booleans()
        if field.default is False
        else st.sampled_from(["", "1s", "a=b"])
        if field.default == ""
        else st.lists(value_texts, max_size=1).map(tuple)
        for field in msgspec.structs.fields(FilterFlags)
    },
)


@settings(max_examples=150, deadline=None)
@given(any_flags, st.sampled_from(FilterFlags.__struct_fields__))
def test_any_flags_are_an_expression_or_refused(flags: FilterFlags, kept: str) -> None:
    only = FilterFlags(**{kept: getattr(flags, kept)})
    for one in (flags, only):
        try:
            text = flags_expression(one)
        except UsageError as error:
            text = "" if error.what else "a UsageError must say what is wrong"
        assert parse_filter(text).source == text

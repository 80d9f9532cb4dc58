"""When a followed log was rotated: told once, with the span in which lines may be missing."""

from __future__ import annotations

import pytest

from kdns_coredns import rotation
from kdns_coredns.rotation import RotationWatch
from support.coredns_log import START_NS, stamped


def watch_of(*times_ns: int) -> RotationWatch:
    watch = RotationWatch()
    for time_ns in times_ns:
        watch.passed(stamped(START_NS + time_ns, "x").encode(), START_NS + time_ns)
    return watch


@pytest.mark.parametrize(
    ("passed", "first", "gap"),
    [
        ([], 5, None),
        ([10, 20], 5, None),  # the file that the stream began in
        ([10, 20], 10, None),
        ([10, 20, 30], 25, (20, 25)),
        ([10, 20, 30], 30, (20, 30)),
        ([10, 20], 25, None),  # nothing of that file has come yet
    ],
)
def test_gap(passed: list[int], first: int, gap: tuple[int, int] | None) -> None:
    found = watch_of(*passed).gap(START_NS + first)
    assert found == (gap and (START_NS + gap[0], START_NS + gap[1]))


def test_each_rotation_is_told_once() -> None:
    watch = watch_of(10, 20, 30, 40)
    assert watch.gap(START_NS + 20) == (START_NS + 10, START_NS + 20)
    assert watch.gap(START_NS + 20) is None
    assert watch.gap(START_NS + 40) == (START_NS + 30, START_NS + 40)


def test_a_file_that_is_accounted_for_is_no_gap() -> None:
    watch = watch_of(10, 20)
    watch.begins_at(START_NS + 30)
    watch.passed(stamped(START_NS + 40, "x").encode(), START_NS + 40)
    assert watch.gap(START_NS + 30) is None


def test_it_is_asked_after_some_lines_and_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watch_of(10)
    assert not watch.is_due()
    monkeypatch.setattr(rotation, "ASK_AFTER_BYTES", 1)
    assert not watch.is_due()
    monkeypatch.setattr(rotation, "ASK_EVERY_S", 0.0)
    assert watch.is_due()
    assert watch.gap(START_NS) is None
    assert not watch.is_due()  # nothing has come since

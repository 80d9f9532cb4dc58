"""Times as text and back, exact to the nanosecond, whatever was made before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from kubectl_kdns.times import NS_PER_S, format_time, parse_time

times_ns = st.integers(-NS_PER_S, 253_402_300_800 * NS_PER_S - 1)
near_ns = st.integers(-3 * NS_PER_S, 3 * NS_PER_S)


@given(st.lists(times_ns, max_size=5))
@example([0, -1, NS_PER_S - 1, NS_PER_S, 1])
def test_any_order_of_times(times: list[int]) -> None:
    for time_ns in times:
        second, rest_ns = divmod(time_ns, NS_PER_S)
        date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
        assert format_time(time_ns) == f"{date:%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}Z"
        assert parse_time(format_time(time_ns)) == time_ns


@given(st.lists(near_ns, min_size=2, max_size=5))
def test_texts_sort_as_times_do(offsets: list[int]) -> None:
    times = [1_795_428_000 * NS_PER_S + offset for offset in offsets]
    assert sorted(map(format_time, times)) == list(map(format_time, sorted(times)))

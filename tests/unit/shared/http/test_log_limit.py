"""A flood of lines is one line and a count."""

from driftline_shared.http.log_limit import LogLimit


def test_the_first_at_once_then_one_in_a_while() -> None:
    now_s = 5.0
    limit = LogLimit(60.0, lambda: now_s)
    assert [limit.allow() for _ in range(4)] == [0, None, None, None]
    now_s += 60.0
    assert [limit.allow(), limit.allow()] == [3, None]

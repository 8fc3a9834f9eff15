"""Which runs tables need, and who takes which."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from driftline_lab.baselines.reference import REFERENCE
from driftline_lab.experiments.making.orders import Order, Quarters, next_order
from driftline_lab.experiments.plan import Plan


def order(key: str, *, table: str = "accuracy", material: str = "0") -> Order:
    return Order(
        key=key, table=table, title=key, material=material, plan=Plan(), baseline=REFERENCE
    )


def test_a_process_stays_with_the_tokens_it_has() -> None:
    waiting = [order("a"), order("b", material="1"), order("c", material="2")]
    assert next_order(waiting, "2", {"0"}).key == "c"
    # It has none of these: it takes what nobody else has, and shares where all are taken.
    assert next_order(waiting, "", {"0"}).key == "b"
    assert next_order(waiting, "", {"0", "1", "2"}).key == "a"


ORDERS = st.lists(
    st.builds(
        lambda table, material: order("x", table=f"t{table}", material=str(material)),
        st.integers(0, 2),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=12,
).map(
    lambda found: [
        replace(each, key=str(number))
        for number, each in enumerate(sorted(found, key=lambda one: one.table))
    ]
)


@given(ORDERS, st.integers(1, 4))
def test_every_run_is_taken_once_and_the_first_table_first(waiting: list[Order], num: int) -> None:
    left, taken, has = list(waiting), [], [""] * num
    while left:
        for me in range(num):
            if left:
                found = next_order(left, has[me], set(has) - {has[me]})
                left.remove(found)
                has[me] = found.material
                taken.append(found)
    assert sorted(each.key for each in taken) == sorted(each.key for each in waiting)
    assert [each.table for each in taken] == [each.table for each in waiting]


def test_a_run_says_its_quarters_once() -> None:
    said: list[str] = []
    quarters = Quarters("night", said.append)
    for share in (0.1, 0.3, 0.3, 0.8, 0.9, 1.0):
        quarters(share)
    assert said == ["night: 25 %", "night: 75 %"]

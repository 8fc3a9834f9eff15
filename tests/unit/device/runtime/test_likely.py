"""The most likely tokens of a step, and their texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from driftline_device.runtime.likely import LEAST_LOG_P, LikelyIds, likely_ids, likely_steps

LOGITS = hnp.arrays(
    np.float32,
    st.integers(2, 60),
    elements=st.floats(-30, 30, width=32).map(lambda x: round(x * 2) / 2),
)


@given(LOGITS, st.integers(0, 20))
def test_they_are_the_best_in_order_and_the_first_is_what_is_written(
    logits: np.ndarray, num: int
) -> None:
    found = likely_ids(logits, num)
    assert len(found.ids) == len(set(found.ids)) == min(max(1, num), len(logits))
    assert found.ids[0] == np.argmax(logits)
    p = np.exp(logits.astype(np.float64) - logits.max())
    log_p = np.log(p / p.sum())
    np.testing.assert_allclose(found.log_p, log_p[found.ids], atol=1e-4)
    assert list(found.log_p) == sorted(found.log_p, reverse=True)
    assert found.log_p[-1] >= np.sort(log_p)[-len(found.ids)] - 1e-4


def test_logits_that_are_no_numbers_give_some_token() -> None:
    assert len(likely_ids(np.full(5, np.nan, np.float32), 3).ids) == 3


PIECES = {0: b"</s>", 1: b" a", 2: b"b", 3: "é".encode()[:1], 4: "é".encode()[1:]}


def decode(ids: Sequence[int]) -> str:
    text = b"".join(PIECES[each] for each in ids if each).decode("utf-8", "replace")
    return text.rstrip("\N{REPLACEMENT CHARACTER}").strip()


def name(token: int) -> str:
    return f"<{token}>"


def step(*ids: int, log_p: float = -1.0) -> LikelyIds:
    return LikelyIds(ids=np.asarray(ids), log_p=np.full(len(ids), log_p, np.float32))


@given(st.lists(st.integers(1, 4), max_size=6), st.booleans())
def test_texts_joined_are_the_answer(ids: list[int], ends: bool) -> None:
    written = [*ids, 0] if ends else ids
    steps = [step(token, 0, 1) for token in written]
    made = likely_steps(written, steps, ends=ends, num=2, decode=decode, name=name)
    joined = "".join(each.written.text for each in made)
    # Where a byte never became a character, decoding what follows it may begin anew.
    assert decode(written) == joined or "\N{REPLACEMENT CHARACTER}" in decode(written)
    assert [each.ends for each in made] == [False] * len(ids) + [True] * ends


def test_what_is_no_text_has_its_name() -> None:
    (one, two) = likely_steps(
        [3, 4], [step(3, 2, 0), step(4, 1)], ends=False, num=3, decode=decode, name=name
    )
    assert [each.text for each in one.likely] == ["<3>", "b", "<0>"]
    assert [each.is_name for each in one.likely] == [True, False, True]
    assert (one.written.text, two.written.text) == ("", "é")
    assert len(two.likely) == 2


def test_a_probability_of_zero_is_a_finite_number() -> None:
    (one,) = likely_steps(
        [1], [step(1, log_p=-math.inf)], ends=False, num=0, decode=decode, name=name
    )
    assert (one.written.log_p, one.likely) == (LEAST_LOG_P, ())
